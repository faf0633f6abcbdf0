"""A connection or session of SQLAlchemy, which binds for its driver. Imported with the first one that is given.

A session is not flushed: what the app has not written yet is no matter of where the sink is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio

from logsync.reading.lines import Ask, Facts, Row


class _Line:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.facts = Facts(connection.dialect.name, connection.info)

    def ask(self, ask: Ask) -> Row:
        return self._connection.execute(_text(ask.statement, *ask.parameters), ask.parameters).one()


class _AsyncLine:
    def __init__(self, connection: aio.AsyncConnection) -> None:
        self._connection = connection
        self.facts = Facts(connection.dialect.name, connection.info)

    async def ask(self, ask: Ask) -> Row:
        return (await self._connection.execute(_text(ask.statement, *ask.parameters), ask.parameters)).one()


def line(connection: sa.Connection) -> _Line:
    return _Line(connection)


def line_in_session(session: orm.Session | orm.scoped_session[Any]) -> _Line:
    """A scoped_session stands for the one of this thread."""
    return _Line(session.connection())


async def line_async(connection: aio.AsyncConnection) -> _AsyncLine:
    return _AsyncLine(connection)


async def line_in_session_async(session: aio.AsyncSession | aio.async_scoped_session[Any]) -> _AsyncLine:
    return _AsyncLine(await session.connection())


@cache
def _text(statement: str, *names: str) -> sa.TextClause:
    """Typed, because asyncpg asks for each parameter's type and SQLAlchemy's drivers are told it as a cast."""
    text = sa.text(statement % {name: f":{name}" for name in names})
    return text.bindparams(*(sa.bindparam(name, type_=sa.Text()) for name in names))
