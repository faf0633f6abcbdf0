"""The same as ``connections``, for asyncio. SQLAlchemy waits by itself, so its part is the one of ``connections``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logsync.outbox.connections import INSERT, by_session, by_sqlalchemy, check_psycopg, is_a, not_taken
from logsync.outbox.rows import Row


async def insert(connection: Any, rows: Sequence[Row]) -> None:
    """One INSERT for one row, one batch for several. Raises ConfigError, and else what the driver raises."""
    if is_a(connection, "psycopg", "AsyncConnection", "AsyncCursor"):
        await _by_psycopg(connection, rows)
    elif is_a(connection, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        await connection.run_sync(by_sqlalchemy, rows)
    elif is_a(connection, "sqlalchemy.ext.asyncio", "AsyncSession", "async_scoped_session"):
        scoped = is_a(connection, "sqlalchemy.ext.asyncio", "async_scoped_session")
        await (connection() if scoped else connection).run_sync(by_session, rows)
    else:
        not_taken(connection, "append_async")


async def _by_psycopg(given: Any, rows: Sequence[Row]) -> None:
    import psycopg
    from psycopg.rows import tuple_row

    connection = given.connection if isinstance(given, psycopg.AsyncCursor) else given
    check_psycopg(connection)
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        if len(rows) == 1:
            await cursor.execute(INSERT, rows[0])
        else:
            await cursor.executemany(INSERT, rows)
