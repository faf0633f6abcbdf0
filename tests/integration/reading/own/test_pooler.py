"""Behind PgBouncer in transaction mode each transaction may get another session of the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from logsync.errors import ConfigError
from logsync.reading import Seen, State
from tests.faults.pgbouncer import PgBouncer, shared
from tests.integration.outbox.apps import url
from tests.waiting import PATIENCE

from .apps import App, AsyncApp, Open
from .followed import ENVIRONMENT, Followed, receipt

pytestmark = pytest.mark.servers("postgres")


@asynccontextmanager
async def through_psycopg(dsn: str) -> AsyncIterator[App]:
    """As psycopg has to be set behind this pooler: it prepares nothing."""
    with psycopg.connect(dsn, prepare_threshold=None) as connection:
        yield App(connection, lambda statement: connection.execute(statement.encode()), connection.commit)


@asynccontextmanager
async def in_autocommit(dsn: str) -> AsyncIterator[App]:
    with psycopg.connect(dsn, prepare_threshold=None, autocommit=True) as connection:
        yield App(connection, lambda statement: connection.execute(statement.encode()), connection.commit)


@asynccontextmanager
async def through_sqlalchemy(dsn: str) -> AsyncIterator[App]:
    engine = aio.create_async_engine(
        url(dsn), poolclass=NullPool, connect_args={"prepare_threshold": None}
    )  # asyncpg prepares every statement, which this version of the pooler loses
    async with engine.connect() as connection:
        yield AsyncApp(connection, lambda statement: connection.execute(sa.text(statement)), connection.commit)
    await engine.dispose()


KINDS: dict[str, Open] = {
    "psycopg": through_psycopg,
    "psycopg, autocommit": in_autocommit,
    "sqlalchemy, async": through_sqlalchemy,
}


@pytest.fixture
def pooler(begun: Followed) -> Iterator[PgBouncer]:
    with shared(begun.dsn) as pooler:
        yield pooler


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logsync.reading.own.own_environment", lambda: ENVIRONMENT)


@pytest.mark.parametrize("opened", KINDS.values(), ids=KINDS)
def test_answers_and_rows_are_right_in_sessions_that_are_shared(
    begun: Followed, pooler: PgBouncer, opened: Open
) -> None:
    async def does(app: App) -> None:
        for n in range(20):
            assert await app.seen(receipt(n), begun.sink) == Seen(State.BEHIND, "db", events=1)
            begun.apply(n + 1)
            await app.end()
            assert await app.seen(receipt(n), begun.sink) == Seen(State.APPLIED, "db")
            assert len(await app.orders()) == n + 1
            await app.end()
        await app.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # the stranger has left another one behind
        worker = threading.Timer(0.1, begun.apply, [21])
        worker.start()
        assert (await app.wait(receipt(20), begun.sink, timeout=PATIENCE)).state is State.APPLIED
        worker.join()

    async def main() -> None:
        async with opened(pooler.url) as app:
            await does(app)

    asyncio.run(main())


def test_waiting_in_a_frozen_snapshot_is_refused_there_too(begun: Followed, pooler: PgBouncer) -> None:
    async def main() -> None:
        async with through_psycopg(pooler.url) as app:
            await app.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with pytest.raises(ConfigError, match="REPEATABLE READ"):
                await app.wait(receipt(0), begun.sink, timeout=PATIENCE)

    asyncio.run(main())
