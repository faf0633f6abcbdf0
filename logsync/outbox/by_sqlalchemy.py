"""Rows into the transaction of a connection or session of SQLAlchemy, which binds for its driver.

Imported with the first one that is given. SQLAlchemy does its own waiting: what is for asyncio runs the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio

from logsync.errors import ConfigError
from logsync.outbox import refusals
from logsync.outbox.rows import COLUMNS, Row


def insert(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Raises ConfigError for another kind of database, and in autocommit."""
    if connection.dialect.name != "postgresql":
        refusals.another_database(connection.dialect.name)
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        refusals.alone("take a connection whose isolation_level is not AUTOCOMMIT")
    values = [one._asdict() for one in rows]
    connection.execute(_statement(), values[0] if len(values) == 1 else values)


def insert_in_session(session: orm.Session | orm.scoped_session[Any], rows: Sequence[Row]) -> None:
    """On the connection of an ORM session, in its transaction. A scoped_session stands for the one of this thread.

    What the session has not written yet is written first, unless the app has autoflush off: the lock on these rows is
    what orders two requests, and an event that was put down before it would be ordered by nothing.
    """
    found = session() if isinstance(session, orm.scoped_session) else session
    if found.autoflush:
        found.flush()
    insert(found.connection(), rows)


async def insert_async(connection: aio.AsyncConnection, rows: Sequence[Row]) -> None:
    """``insert`` for asyncio."""
    await connection.run_sync(insert, rows)


async def insert_in_session_async(
    session: aio.AsyncSession | aio.async_scoped_session[Any], rows: Sequence[Row]
) -> None:
    """``insert_in_session`` for asyncio."""
    found = session() if isinstance(session, aio.async_scoped_session) else session
    await found.run_sync(insert_in_session, rows)


@cache
def _statement() -> sa.TextClause:
    """Typed, because asyncpg asks for each parameter's type and SQLAlchemy's drivers are told it as a cast."""
    if sa.__version__.startswith(("0.", "1.")):  # there a Connection without begin() commits every INSERT by itself
        raise ConfigError(f"SQLAlchemy {sa.__version__} is installed; expected 2.0 or later", fix="install a newer one")
    text, raw, moment = sa.Text(), sa.LargeBinary(), sa.DateTime(timezone=True)
    types: tuple[Any, ...] = (text, text, raw, raw, text, moment)
    sql = f"INSERT INTO logsync.outbox ({COLUMNS}) VALUES (:id, :type, :key, :value, CAST(:headers AS json), :time)"
    return sa.text(sql).bindparams(*(sa.bindparam(name, type_=of) for name, of in zip(Row._fields, types, strict=True)))
