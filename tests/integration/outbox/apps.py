"""One small app per kind of connection: it writes an order and appends its event, in one transaction of its own.

``at`` is called before and after the commit: a test raises there, looks from outside, or kills the process that
``python -m tests.integration.outbox.apps KIND DSN ORDER`` is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from logsync import Log
from logsync.outbox import Outbox

log = Log("test.orders")
At = Callable[[str], None]


@log.event("order.placed", key="order_id")
class OrderPlaced(BaseModel):
    order_id: str
    cents: int


outbox = Outbox(log)
BEFORE, AFTER = "before commit", "after commit"
# The business write of all apps: an order, and a counter that is there already.
SQL = "INSERT INTO public.orders VALUES (%s, %s)", "UPDATE public.totals SET cents = cents + %s"


class Base(orm.DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = {"schema": "public"}  # noqa: RUF012
    id: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    cents: orm.Mapped[int]


def placed(order: str) -> OrderPlaced:
    return OrderPlaced(order_id=order, cents=5)


def write(execute: Callable[..., object], order: str) -> None:
    execute(SQL[0], (order, 5))
    execute(SQL[1], (5,))


def url(dsn: str, driver: str = "psycopg") -> str:
    return dsn.replace("postgresql://", f"postgresql+{driver}://")


def psycopg_connection(dsn: str, order: str, at: At) -> None:
    with psycopg.connect(dsn) as connection:
        write(connection.execute, order)
        outbox.append(connection, placed(order))
        at(BEFORE)
    at(AFTER)


def psycopg_cursor(dsn: str, order: str, at: At) -> None:
    """The cursor is in the middle of something else, and stays there."""
    with psycopg.connect(dsn, cursor_factory=psycopg.RawCursor) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 7")
        outbox.append(cursor, placed(order))
        assert cursor.fetchall() == [(7,)]
        cursor.execute("INSERT INTO public.orders VALUES ($1, $2)", (order, 5))
        at(BEFORE)
        connection.commit()
        at(AFTER)


def psycopg_transaction(dsn: str, order: str, at: At) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            write(connection.execute, order)
            outbox.append(connection, placed(order))
            at(BEFORE)
        at(AFTER)


def psycopg_pipeline(dsn: str, order: str, at: At) -> None:
    with psycopg.connect(dsn) as connection:
        with connection.pipeline():
            write(connection.execute, order)
            outbox.append(connection, placed(order))
        at(BEFORE)
    at(AFTER)


def psycopg_async(dsn: str, order: str, at: At) -> None:
    async def app() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute(SQL[0], (order, 5))
            await outbox.append_async(connection, placed(order))
            at(BEFORE)
        at(AFTER)

    asyncio.run(app())


def psycopg_async_cursor(dsn: str, order: str, at: At) -> None:
    async def app() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection, connection.cursor() as cursor:
            await cursor.execute(SQL[0], (order, 5))
            await outbox.append_async(cursor, placed(order))
            at(BEFORE)
            await connection.commit()
            at(AFTER)

    asyncio.run(app())


@contextmanager
def engine(dsn: str, driver: str = "psycopg") -> Iterator[sa.Engine]:
    found = sa.create_engine(url(dsn, driver), poolclass=NullPool)
    yield found
    found.dispose()


def sqlalchemy_core(dsn: str, order: str, at: At) -> None:
    with engine(dsn) as found:
        with found.begin() as connection:
            connection.execute(sa.insert(Order).values(id=order, cents=5))
            outbox.append(connection, placed(order))
            at(BEFORE)
        at(AFTER)


def sqlalchemy_session(dsn: str, order: str, at: At) -> None:
    with engine(dsn) as found, orm.Session(found) as session:
        session.add(Order(id=order, cents=5))
        outbox.append(session, placed(order))
        at(BEFORE)
        session.commit()
        at(AFTER)


def sqlalchemy_scoped_session(dsn: str, order: str, at: At) -> None:
    """What Flask-SQLAlchemy calls ``db.session``."""
    with engine(dsn) as found:
        session = orm.scoped_session(orm.sessionmaker(found))
        try:
            session.add(Order(id=order, cents=5))
            outbox.append(session, placed(order))
            at(BEFORE)
            session.commit()
        finally:
            session.remove()
        at(AFTER)


def _with_engine(dsn: str, driver: str, app: Callable[[aio.AsyncEngine], Awaitable[None]]) -> None:
    async def run() -> None:
        found = aio.create_async_engine(url(dsn, driver), poolclass=NullPool)
        try:
            await app(found)
        finally:
            await found.dispose()

    asyncio.run(run())


def _core_async(driver: str) -> Callable[[str, str, At], None]:
    def run(dsn: str, order: str, at: At) -> None:
        async def app(found: aio.AsyncEngine) -> None:
            async with found.begin() as connection:
                await connection.execute(sa.insert(Order).values(id=order, cents=5))
                await outbox.append_async(connection, placed(order))
                at(BEFORE)
            at(AFTER)

        _with_engine(dsn, driver, app)

    return run


def _session_async(driver: str, *, scoped: bool = False) -> Callable[[str, str, At], None]:
    def run(dsn: str, order: str, at: At) -> None:
        async def app(found: aio.AsyncEngine) -> None:
            make = aio.async_sessionmaker(found)
            session = aio.async_scoped_session(make, asyncio.current_task) if scoped else make()
            try:
                session.add(Order(id=order, cents=5))
                await outbox.append_async(session, placed(order))
                at(BEFORE)
                await session.commit()
            finally:
                await session.close()
            at(AFTER)

        _with_engine(dsn, driver, app)

    return run


@contextmanager
def with_django(dsn: str, *more: str) -> Iterator[None]:
    """Django with this database as its default, and under the aliases ``more``."""
    import django
    from django.conf import settings
    from django.db import connections

    if not settings.configured:
        settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    at = urlsplit(dsn)
    database = {
        "ENGINE": "django.db.backends.postgresql", "HOST": at.hostname, "PORT": at.port, "USER": at.username,
        "PASSWORD": at.password or "", "NAME": at.path.strip("/"),
    }  # fmt: skip
    connections.settings = connections.configure_settings({name: dict(database) for name in ("default", *more)})
    try:
        yield
    finally:
        for name in ("default", *more):
            connections[name].close()
            del connections[name]


def django_default(dsn: str, order: str, at: At) -> None:
    from django.db import connection, transaction

    with with_django(dsn):
        with transaction.atomic():
            with connection.cursor() as cursor:
                write(cursor.execute, order)
            outbox.append(connection, placed(order))
            at(BEFORE)
        at(AFTER)


def django_alias(dsn: str, order: str, at: At) -> None:
    from django.db import connections, transaction

    with with_django(dsn, "shop"):
        with transaction.atomic(using="shop"):
            with connections["shop"].cursor() as cursor:
                write(cursor.execute, order)
            outbox.append(connections["shop"], placed(order))
            at(BEFORE)
        at(AFTER)


APPS: dict[str, Callable[[str, str, At], None]] = {
    "psycopg connection": psycopg_connection,
    "psycopg cursor": psycopg_cursor,
    "psycopg transaction()": psycopg_transaction,
    "psycopg pipeline": psycopg_pipeline,
    "psycopg async": psycopg_async,
    "psycopg async cursor": psycopg_async_cursor,
    "sqlalchemy core": sqlalchemy_core,
    "sqlalchemy session": sqlalchemy_session,
    "sqlalchemy scoped_session": sqlalchemy_scoped_session,
    "sqlalchemy core, async": _core_async("psycopg"),
    "sqlalchemy core, asyncpg": _core_async("asyncpg"),
    "sqlalchemy session, async": _session_async("psycopg"),
    "sqlalchemy session, asyncpg": _session_async("asyncpg"),
    "sqlalchemy async_scoped_session": _session_async("asyncpg", scoped=True),
    "django": django_default,
    "django alias": django_alias,
}


def main(kind: str, dsn: str, order: str, die: str) -> None:
    def at(step: str) -> None:
        if step == die:
            print(step, "confluent_kafka" in sys.modules, flush=True)
            time.sleep(10_000)

    APPS[kind](dsn, order, at)


if __name__ == "__main__":
    main(*sys.argv[1:])
