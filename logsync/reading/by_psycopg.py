"""A connection of psycopg 3. Imported with the first one that is given."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import tuple_row

from logsync.reading.lines import Ask, Facts, Row

_NOTES: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def facts(connection: Any) -> Facts:
    return Facts("postgresql", _NOTES.setdefault(connection, {}))


class _Line:
    """Not on the app's own cursor, which may be read later, nor on one of its kind: a RawCursor binds otherwise."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection, self.facts = connection, facts(connection)

    def ask(self, ask: Ask) -> Row:
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            (row,) = cursor.execute(ask.statement.encode(), ask.parameters).fetchall()
        return row


class _AsyncLine:
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection, self.facts = connection, facts(connection)

    async def ask(self, ask: Ask) -> Row:
        async with psycopg.AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(ask.statement.encode(), ask.parameters)
            (row,) = await cursor.fetchall()
        return row


def line(given: psycopg.Connection[Any] | psycopg.Cursor[Any]) -> _Line:
    return _Line(given.connection if isinstance(given, psycopg.Cursor) else given)


async def line_async(given: psycopg.AsyncConnection[Any] | psycopg.AsyncCursor[Any]) -> _AsyncLine:
    return _AsyncLine(given.connection if isinstance(given, psycopg.AsyncCursor) else given)
