"""What would break the promise is refused by name; what the database refuses is the driver's own error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import orm
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from logsync import AppendRejected, ConfigError, Envelope
from logsync.outbox import DDL
from tests.integration.outbox.apps import Order, engine, log, outbox, placed, url, with_django
from tests.integration.outbox.conftest import Shop

EVENT = placed("o1")
ALONE = "the event would commit by itself"


@contextmanager
def refused(shop: Shop, match: str = ALONE) -> Iterator[None]:
    """A ConfigError, and nothing in the table."""
    with pytest.raises(ConfigError, match=match):
        yield
    assert shop.records() == []


def test_psycopg_in_autocommit_and_in_no_transaction_is_refused(shop: Shop) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        with refused(shop):
            outbox.append(connection, EVENT)
        with refused(shop), connection.cursor() as cursor:
            outbox.append_many(cursor, [EVENT])
        with connection.transaction():
            outbox.append(connection, EVENT)
        assert len(shop.records()) == 1


def test_psycopg_in_a_transaction_that_was_begun_by_hand_is_taken(shop: Shop) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        connection.execute("BEGIN")
        outbox.append(connection, EVENT)
        connection.execute("ROLLBACK")
        assert shop.records() == []


def test_a_pipeline_in_autocommit_is_taken_once_it_is_known_that_a_transaction_has_begun(shop: Shop) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection, connection.pipeline() as pipeline:
        with refused(shop):
            outbox.append(connection, EVENT)
        connection.execute("SELECT 1")
        with refused(shop):
            outbox.append(connection, EVENT)
        with connection.transaction():
            pipeline.sync()
            outbox.append(connection, EVENT)
    assert len(shop.records()) == 1


def test_async_psycopg_in_autocommit_is_refused(shop: Shop) -> None:
    async def app() -> None:
        async with await psycopg.AsyncConnection.connect(shop.dsn, autocommit=True) as connection:
            with refused(shop):
                await outbox.append_async(connection, EVENT)
            async with connection.transaction():
                assert len(await outbox.append_many_async(connection, [EVENT, placed("o2")])) == 2
        assert len(shop.records()) == 2

    asyncio.run(app())


def test_sqlalchemy_in_autocommit_is_refused(shop: Shop) -> None:
    with engine(shop.dsn) as found:
        alone = found.execution_options(isolation_level="AUTOCOMMIT")
        with alone.connect() as connection, refused(shop):
            outbox.append(connection, EVENT)
        with orm.Session(alone) as session, refused(shop):
            outbox.append(session, EVENT)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sqlalchemy_in_autocommit_is_refused(shop: Shop, driver: str) -> None:
    async def app() -> None:
        found = aio.create_async_engine(url(shop.dsn, driver), poolclass=NullPool, isolation_level="AUTOCOMMIT")
        async with found.connect() as connection:
            with refused(shop):
                await outbox.append_async(connection, EVENT)
        async with aio.AsyncSession(found) as session:
            with refused(shop):
                await outbox.append_async(session, EVENT)
        await found.dispose()

    asyncio.run(app())


def test_django_outside_of_atomic_is_refused(shop: Shop) -> None:
    from django.db import connection, connections, transaction

    with with_django(shop.dsn, "other"):
        with refused(shop):
            outbox.append(connection, EVENT)
        with transaction.atomic(), refused(shop):  # the transaction of another alias
            outbox.append(connections["other"], EVENT)
        transaction.set_autocommit(False)
        outbox.append(connection, EVENT)
        transaction.rollback()
        assert shop.records() == []
        transaction.set_autocommit(True)
        with transaction.atomic():
            outbox.append_many(connection, [EVENT, placed("o2")])
            transaction.set_rollback(True)
        assert shop.records() == []


def test_a_second_event_with_the_id_of_one_that_waits_is_refused_by_the_primary_key(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as connection:
        assert outbox.append(connection, EVENT, id="evt_1") == "evt_1"
        connection.commit()
        with pytest.raises(psycopg.errors.UniqueViolation):
            outbox.append(connection, EVENT, id="evt_1")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            outbox.append(connection, EVENT)
        connection.rollback()
    with engine(shop.dsn) as found, found.begin() as core, pytest.raises(IntegrityError):
        outbox.append(core, EVENT, id="evt_1")
    assert len(shop.records()) == 1


def test_a_read_only_transaction_gives_the_driver_s_error(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as connection:
        connection.read_only = True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            outbox.append(connection, EVENT)


def test_a_closed_connection_gives_the_driver_s_error(shop: Shop) -> None:
    connection = psycopg.connect(shop.dsn, autocommit=True)
    connection.close()
    with pytest.raises(psycopg.OperationalError):
        outbox.append(connection, EVENT)


def test_an_event_that_is_refused_leaves_the_transaction_as_it_was(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as connection:
        with pytest.raises(AppendRejected):
            outbox.append_many(connection, [EVENT, Envelope(EVENT, id="")])
        outbox.append(connection, EVENT)
        connection.commit()
    assert [event.data for event in shop.events(log)] == [EVENT]


def test_a_role_with_the_rights_at_the_head_of_the_ddl_can_append(shop: Shop) -> None:
    shop.db.execute(f"CREATE ROLE {shop.role}".encode())
    try:
        with psycopg.connect(shop.dsn) as connection:
            connection.execute(f"SET ROLE {shop.role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                outbox.append(connection, EVENT)
            connection.rollback()
            shop.db.execute(f"GRANT USAGE ON SCHEMA logsync TO {shop.role}".encode())
            shop.db.execute(f"GRANT INSERT ON logsync.outbox TO {shop.role}".encode())
            connection.execute(f"SET ROLE {shop.role}".encode())
            outbox.append(connection, EVENT)
            connection.commit()
    finally:
        shop.db.execute(f"DROP OWNED BY {shop.role}".encode())
        shop.db.execute(f"DROP ROLE {shop.role}".encode())
    assert len(shop.records()) == 1


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_headers_and_values_survive_a_database_of_another_encoding(shop: Shop, encoding: str) -> None:
    name = f"{shop.role}_{encoding.lower()}"
    shop.db.execute(f"CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0".encode())
    try:
        with psycopg.connect(shop.dsn.rsplit("/", 1)[0] + f"/{name}", autocommit=True) as db:
            there = Shop(db.info.dsn, db)
            db.execute(DDL.encode())
            with db.transaction():
                outbox.append(db, placed("日本"), headers={"tenant": "ключ\0"})
            (event,) = there.events(log)
            assert event.data == placed("日本")
            assert dict(event.headers)["tenant"] == "ключ\0".encode()
    finally:
        shop.db.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_what_a_session_has_not_written_yet_is_written_before_its_event(shop: Shop) -> None:
    with engine(shop.dsn) as found, orm.Session(found) as session:
        order = Order(id="o1", cents=5)
        session.add(order)
        with session.no_autoflush:
            outbox.append(session, EVENT)
            assert order in session.new, "as the app wants it"
        outbox.append(session, EVENT)
        assert order not in session.new


def test_many_events_keep_their_order_and_what_is_said_beside_them(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as connection:
        ids = outbox.append_many(
            connection, [placed("o1"), Envelope(placed("o2"), headers={"a": "b"}), (placed("o3"), {"c": "d"})]
        )
    assert ids == sorted(ids)
    found = shop.events(log)
    assert [(event.id, event.data.order_id) for event in found] == list(zip(ids, ("o1", "o2", "o3"), strict=True))
    assert [dict(event.headers).get("a") for event in found] == [None, b"b", None]
