"""Events that stand in an outbox and that no stream tells are found by their ids, whatever the database's encoding."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from logsync.outbox import Outbox
from logsync.settings import Settings
from logsync.sources.contract import Fact
from logsync.sources.postgres import PostgresLog
from tests.unit import shop

pytestmark = pytest.mark.servers("postgres")
ODD = "Zoë-1"


@pytest.fixture(params=["UTF8", "LATIN1", "SQL_ASCII"])
def origin(settings: Settings, unique: str, request: pytest.FixtureRequest) -> Iterator[tuple[PostgresLog, str]]:
    given = settings.postgres.get_secret_value()
    dsn = given.rsplit("/", 1)[0] + f"/{unique}"
    with psycopg.connect(given, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {unique} TEMPLATE template0 LOCALE 'C' ENCODING '{request.param}'".encode())
        made = PostgresLog(dsn, outbox=True)
        yield made, dsn
        made.close()
        made.manager().drop(unique, settings)
        admin.execute(f"DROP DATABASE {unique} WITH (FORCE)".encode())


def put(dsn: str, event_id: str) -> None:
    with psycopg.connect(dsn, client_encoding="UTF8") as app:
        Outbox(shop.log).append(app, shop.OrderPlaced(order="o", cents=1), id=event_id)


def test_what_the_slot_tells_is_not_put_there_again(
    origin: tuple[PostgresLog, str], settings: Settings, unique: str
) -> None:
    made, dsn = origin
    manager = made.manager()
    assert not any("before" in line for line in manager.create(unique, settings))
    put(dsn, ODD)
    put(dsn, "plain")
    assert not any("before" in line for line in manager.create(unique, settings))
    assert [fact.id for fact in taken(made, unique, settings)] == [ODD, "plain"]


def test_what_no_slot_tells_is_put_there_again_once(
    origin: tuple[PostgresLog, str], settings: Settings, unique: str
) -> None:
    made, dsn = origin
    manager = made.manager()
    manager.create(unique, settings)
    put(dsn, ODD)
    manager.drop(unique, settings)
    assert any("1 events" in line for line in manager.create(unique, settings))
    assert not any("before" in line for line in manager.create(unique, settings))
    assert [fact.id for fact in taken(made, unique, settings)] == [ODD]


def taken(origin: PostgresLog, source: str, settings: Settings) -> list[Fact]:
    origin.open(source, settings)
    facts = list[Fact]()
    end = origin.now()
    while True:
        portion = origin.take(100, 0.2)
        facts += portion.facts
        if portion.end is not None and portion.end >= end:
            return facts
