"""One small app per kind of connection: it asks where a sink is, and for rows, in transactions of its own.

All have the same methods, also those that never wait for an event loop, so that a test is written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.reading import Seen, seen_on, seen_on_async, wait_on, wait_on_async
from tests.integration.outbox.apps import engine, url, with_django

ORDERS = "SELECT order_id FROM public.orders ORDER BY order_id"


class App:
    """What a connection of one kind can do; ``given`` is what logsync gets."""

    def __init__(self, given: Any, execute: Callable[[str], Any], end: Callable[[], Any]) -> None:
        self.given, self._execute, self._end = given, execute, end

    async def seen(self, receipts: Any, sink: Sink, **options: Any) -> Seen:
        return seen_on(self.given, receipts, sink, **options)

    async def wait(self, receipts: Any, sink: Sink, **options: Any) -> Seen:
        return wait_on(self.given, receipts, sink, **options)

    async def run(self, statement: str) -> Any:
        return self._execute(statement)

    async def orders(self) -> list[str]:
        return [row[0] for row in (await self.run(ORDERS)).fetchall()]

    async def end(self) -> None:
        """The transaction ends, and another one may begin."""
        self._end()


class AsyncApp(App):
    async def seen(self, receipts: Receipt, sink: Sink, **options: Any) -> Seen:
        return await seen_on_async(self.given, receipts, sink, **options)

    async def wait(self, receipts: Receipt, sink: Sink, **options: Any) -> Seen:
        return await wait_on_async(self.given, receipts, sink, **options)

    async def run(self, statement: str) -> Any:
        return await self._execute(statement)

    async def orders(self) -> list[str]:
        found = await self.run(ORDERS)
        rows = await found.fetchall() if isinstance(found, psycopg.AsyncCursor) else found.fetchall()
        return [row[0] for row in rows]

    async def end(self) -> None:
        await self._end()


Open = Callable[[str], AbstractAsyncContextManager[App]]


def _psycopg(*, cursor: bool = False, pipeline: bool = False, autocommit: bool = False) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        # The app's cursors and rows are of its own kinds.
        kinds: Any = {"cursor_factory": psycopg.RawCursor} if cursor else {}
        async with AsyncExitStack() as stack:
            connection = stack.enter_context(psycopg.connect(dsn, autocommit=autocommit, **kinds))
            if pipeline:
                stack.enter_context(connection.pipeline())
            given = stack.enter_context(connection.cursor()) if cursor else connection
            yield App(given, lambda statement: connection.execute(statement.encode()), connection.commit)

    return opened


def _psycopg_async(*, cursor: bool = False, autocommit: bool = False) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        connected = psycopg.AsyncConnection.connect(dsn, autocommit=autocommit)
        async with await connected as connection, connection.cursor() as own:
            given = own if cursor else connection
            yield AsyncApp(given, lambda statement: connection.execute(statement.encode()), connection.commit)

    return opened


def _core(**options: Any) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        with engine(dsn) as found, found.execution_options(**options).connect() as connection:
            yield App(connection, lambda statement: connection.execute(sa.text(statement)), connection.commit)

    return opened


def _session(*, scoped: bool = False) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        with engine(dsn) as found:
            make = orm.sessionmaker(found)
            session: Any = orm.scoped_session(make) if scoped else make()
            try:
                yield App(session, lambda statement: session.execute(sa.text(statement)), session.commit)
            finally:
                session.close()

    return opened


def _core_async(driver: str, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        found = aio.create_async_engine(url(dsn, driver), poolclass=NullPool, **options)
        async with found.connect() as connection:
            yield AsyncApp(connection, lambda statement: connection.execute(sa.text(statement)), connection.commit)
        await found.dispose()

    return opened


def _session_async(driver: str, *, scoped: bool = False) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        found = aio.create_async_engine(url(dsn, driver), poolclass=NullPool)
        make = aio.async_sessionmaker(found)
        session: Any = aio.async_scoped_session(make, asyncio.current_task) if scoped else make()
        try:
            yield AsyncApp(session, lambda statement: session.execute(sa.text(statement)), session.commit)
        finally:
            await session.close()
            await found.dispose()

    return opened


def _django(*, alias: str = "default", autocommit: bool = False) -> Open:
    @asynccontextmanager
    async def opened(dsn: str) -> AsyncIterator[App]:
        with with_django(dsn, *({alias} - {"default"})):
            from django.db import connection, connections

            given = connection if alias == "default" else connections[alias]
            given.set_autocommit(autocommit)

            def execute(statement: str) -> Any:
                cursor = given.cursor()
                cursor.execute(statement)
                return cursor

            yield App(given, execute, given.commit)
            given.rollback()

    return opened


APPS: dict[str, Open] = {
    "psycopg connection": _psycopg(),
    "psycopg cursor": _psycopg(cursor=True),
    "psycopg pipeline": _psycopg(pipeline=True),
    "psycopg async": _psycopg_async(),
    "psycopg async cursor": _psycopg_async(cursor=True),
    "sqlalchemy core": _core(),
    "sqlalchemy session": _session(),
    "sqlalchemy scoped_session": _session(scoped=True),
    "sqlalchemy core, async": _core_async("psycopg"),
    "sqlalchemy core, asyncpg": _core_async("asyncpg"),
    "sqlalchemy session, async": _session_async("psycopg"),
    "sqlalchemy session, asyncpg": _session_async("asyncpg"),
    "sqlalchemy async_scoped_session": _session_async("asyncpg", scoped=True),
    "django": _django(),
    "django alias": _django(alias="shop"),
}
AUTOCOMMIT: dict[str, Open] = {
    "psycopg": _psycopg(autocommit=True),
    "psycopg async": _psycopg_async(autocommit=True),
    "sqlalchemy": _core(isolation_level="AUTOCOMMIT"),
    "sqlalchemy, asyncpg": _core_async("asyncpg", isolation_level="AUTOCOMMIT"),
    "django": _django(autocommit=True),
}
