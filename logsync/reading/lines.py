"""Ask over a connection of the app's own, whichever library it is of: the app's transaction goes on as it was.

A line takes one statement and returns its one row. What to ask, and when, is said by a generator, the same for threads
and for asyncio; only ``run`` and ``run_async`` wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping, MutableMapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol, TypeVar

from logsync.connections import Ways

_WAYS = Ways(
    "logsync.reading", "line",
    caller="seen_on", usage="seen_on{}(connection, receipts, sink)",
    fix="give the connection on which the app asks for the rows that the event is about",
)  # fmt: skip


class Ask(NamedTuple):
    """One statement, whose row is sent back."""

    statement: str
    """With parameters as ``%(name)s``."""
    parameters: Mapping[str, str] = {}


class Facts(NamedTuple):
    """What is known of a connection before it is asked anything."""

    database: str
    """The kind of database: ``postgresql``."""
    notes: MutableMapping[Any, Any]
    """Whatever was learned of what lies behind the connection; it ends with the connection."""


Row = Sequence[Any]
T = TypeVar("T")
Steps = Generator[Ask | float, Row | None, T]
"""Yields what to ask, or how many seconds to wait, and returns what that comes to."""


class Line(Protocol):
    """A connection of one library."""

    facts: Facts

    def ask(self, ask: Ask, /) -> Row: ...


class AsyncLine(Protocol):
    """A connection of one library, of asyncio."""

    facts: Facts

    async def ask(self, ask: Ask, /) -> Row: ...


def line(connection: Any) -> Line:
    """Raises ConfigError for what is no connection that logsync knows."""
    found: Line = _WAYS.of(connection)(connection)
    return found


async def line_async(connection: Any) -> AsyncLine:
    """The same for asyncio."""
    found: AsyncLine = await _WAYS.of_async(connection)(connection)
    return found


def run(steps: Steps[T], over: Line) -> T:
    """What the generator returns. An error of the driver ends it and is raised as it is."""
    row: Row | None = None
    with closing(steps):
        while True:
            try:
                step = steps.send(row)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Ask):
                row = over.ask(step)
            else:
                time.sleep(step)
                row = None


async def run_async(steps: Steps[T], over: AsyncLine) -> T:
    """The same for asyncio."""
    row: Row | None = None
    with closing(steps):
        while True:
            try:
                step = steps.send(row)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Ask):
                row = await over.ask(step)
            else:
                await asyncio.sleep(step)
                row = None
