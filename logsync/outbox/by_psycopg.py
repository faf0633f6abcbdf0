"""Rows into the transaction of a connection of psycopg 3. Imported with the first one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from logsync.outbox import refusals
from logsync.outbox.rows import INSERT, Row

# In a pipeline that has not been answered yet (ACTIVE) nobody can tell whether a transaction has begun.
_ALONE = (TransactionStatus.IDLE, TransactionStatus.ACTIVE)


def insert(given: psycopg.Connection[Any] | psycopg.Cursor[Any], rows: Sequence[Row]) -> None:
    """Not on the app's own cursor, which may be read later, nor on one of its kind: a RawCursor binds otherwise."""
    connection = given.connection if isinstance(given, psycopg.Cursor) else given
    _check(connection)
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    if len(rows) == 1:
        cursor.execute(INSERT, rows[0])
    else:
        cursor.executemany(INSERT, rows)


async def insert_async(given: psycopg.AsyncConnection[Any] | psycopg.AsyncCursor[Any], rows: Sequence[Row]) -> None:
    """The same for asyncio."""
    connection = given.connection if isinstance(given, psycopg.AsyncCursor) else given
    _check(connection)
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    if len(rows) == 1:
        await cursor.execute(INSERT, rows[0])
    else:
        await cursor.executemany(INSERT, rows)


def _check(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    if connection.autocommit and connection.pgconn.transaction_status in _ALONE:
        refusals.alone("put both writes into `with connection.transaction():`, or connect without autocommit")
