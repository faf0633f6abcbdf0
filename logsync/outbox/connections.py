"""Rows into the transaction of a connection, whichever library it is of.

What all of them share: the INSERT goes over the app's own connection, and is refused where it would commit by itself,
because then it stands without the app's rows, or they without it: a dual write again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logsync.connections import Ways
from logsync.outbox.rows import Row

_WAYS = Ways(
    "logsync.outbox", "insert",
    caller="append", usage="outbox.append{}(connection, event)",
    fix="give the connection on which the app writes the rows that the event is about",
)  # fmt: skip


def insert(connection: Any, rows: Sequence[Row]) -> None:
    """One INSERT for one row, one batch for several. Raises ConfigError, and else what the driver raises."""
    _WAYS.of(connection)(connection, rows)


async def insert_async(connection: Any, rows: Sequence[Row]) -> None:
    """The same for asyncio."""
    await _WAYS.of_async(connection)(connection, rows)
