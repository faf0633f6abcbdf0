"""Waiting for events in several stores at once, for the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.errors import LogsyncError
from logsync.reading import Seen, Views
from logsync.settings import Settings


def wait(
    receipts: Sequence[Receipt], sinks: Sequence[Sink], settings: Settings, *, timeout: float, searchable: bool
) -> list[Seen]:
    """For each sink the answer about the receipt that is furthest from applied, within ``timeout`` seconds for all.

    Raises what ``Views.wait`` raises; mended by a command, it names the sink as the command line does.
    """

    async def one(views: Views, sink: Sink) -> Seen:
        try:
            return await views.seen(receipts, sink.name, timeout=timeout, searchable=searchable)
        except LogsyncError as error:
            raise sink.addressed(error) from None

    async def each() -> list[Seen]:
        with Views(*sinks, settings=settings) as views:
            return await asyncio.gather(*(one(views, sink) for sink in sinks))

    return asyncio.run(each())
