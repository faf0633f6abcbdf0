"""Appending from asyncio: the same client, and nothing that blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from time import monotonic

from pydantic import BaseModel

from logsync.appending import prepare
from logsync.core.log import Log
from logsync.core.receipt import Receipt
from logsync.errors import AppendOutcomeUnknown, AppendRejected
from logsync.log.producer import Producer
from logsync.log.sending import AppendClient, Pending
from logsync.settings import Settings


class AsyncProducer:
    """Appends to one log from one event loop. Use it in the app's lifespan: ``async with AsyncProducer(log)``."""

    def __init__(self, log: Log, *, settings: Settings | None = None) -> None:
        """Raises ConfigError for settings that would break the promise. Opens nothing."""
        self._producer = Producer(log, settings=settings)
        self._opening: asyncio.Task[AppendClient] | None = None

    async def append(
        self,
        event: BaseModel,
        *,
        id: str | None = None,
        time: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Append one event. Returns when all in-sync replicas have it; see ``Producer.append``.

        If the call is cancelled while it waits, the event may be in the log or may still reach it, and nobody is told:
        shield the call if that matters.
        """
        deadline = monotonic() + (self._producer.settings.append_timeout if timeout is None else timeout)
        event_id, _, encoded, kind = prepare(self._producer.log, event, headers, id, time)
        client = await self._client(deadline)
        loop = asyncio.get_running_loop()
        reported = asyncio.Event()

        def done(_: Pending) -> None:  # on the client's thread
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(reported.set)

        number = client.partition(encoded.key)
        pending = Pending(event_id, encoded, number, client.ends[number], done, type=kind)
        client.send(pending)
        client.reports.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline - monotonic()):
                await reported.wait()
        return client.receipt(pending)

    async def retry(self, error: AppendOutcomeUnknown, timeout: float | None = None) -> Receipt:
        """``error.retry(timeout)`` without blocking the event loop."""
        return await asyncio.to_thread(error.retry, timeout)

    async def _client(self, deadline: float) -> AppendClient:
        client = self._producer.open_client
        if client is not None:
            return client
        # One thread opens for all that wait; each waits until its own deadline at most.
        if self._opening is None or self._opening.done():
            limit = monotonic() + self._producer.settings.append_timeout
            self._opening = asyncio.create_task(asyncio.to_thread(self._producer.client, limit))
            self._opening.add_done_callback(_seen)
        try:
            async with asyncio.timeout(deadline - monotonic()):
                return await asyncio.shield(self._opening)
        except TimeoutError:
            raise AppendRejected("nothing was sent: Kafka did not answer in time", fix="try again later") from None

    async def close(self, timeout: float | None = None) -> None:
        """Wait up to ``timeout`` seconds for appends under way, then end; see ``Producer.close``."""
        await asyncio.to_thread(self._producer.close, timeout)

    async def __aenter__(self) -> AsyncProducer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _seen(opening: asyncio.Task[AppendClient]) -> None:
    """Everybody who waited may have given up: then nobody else looks at the error."""
    if not opening.cancelled():
        opening.exception()
