"""A database of its own for every test, with an outbox and an app that writes into it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from logsync.core.position import LogIdentity
from logsync.settings import Settings
from logsync.sources.contract import Change, Fact, Ledger
from logsync.sources.postgres import PostgresLog, setup
from logsync.sources.postgres.declared import names_of
from tests.waiting import PATIENCE

OUTBOX = """
CREATE SCHEMA IF NOT EXISTS logsync;
CREATE TABLE logsync.outbox (
    id text PRIMARY KEY, type text NOT NULL, key bytea NOT NULL, value bytea, headers json NOT NULL,
    time timestamptz NOT NULL, number bigint
);
"""
PUT = "INSERT INTO logsync.outbox (id, type, key, value, headers, time) VALUES (%s, 'paid', %s, %s, %s, now())"
LOG = LogIdentity("cluster", "topic", "id", 1)
Db = psycopg.Connection[Any]


class Shop:
    """A database, the app's connection to it, and origins that read it."""

    def __init__(self, settings: Settings, name: str) -> None:
        parts = urlsplit(settings.postgres.get_secret_value())
        self.url = urlunsplit(parts._replace(path=f"/{name}"))
        self.settings = settings.model_copy(update={"postgres": SecretStr(self.url)})
        self.name = name
        self.db = self.connect()
        self.opened: list[PostgresLog] = []

    def connect(self, **more: Any) -> Db:
        """One more connection of the app."""
        return psycopg.connect(self.url, autocommit=True, options="-c search_path=public", **more)

    def put(self, *ids: str, db: Db | None = None) -> None:
        """Events into the outbox, in one transaction."""
        with (db or self.db).transaction():
            for id_ in ids:
                (db or self.db).execute(PUT, (id_, b"k", id_.encode(), json.dumps([["ce_id", id_]])))

    def origin(self, *, made: bool = True, **declared: Any) -> PostgresLog:
        """Of the shop's outbox, or as declared; created unless ``made`` is false, and not opened."""
        origin = PostgresLog(self.url, **(declared or {"outbox": True}))
        self.opened.append(origin)
        if made:
            self.create(origin)
        return origin

    def create(self, origin: PostgresLog, name: str = "") -> None:
        db, stream = origin.connect(name or self.name, self.settings)
        try:
            setup.create(db, stream, name or self.name, origin.declared)
        finally:
            stream.close()
            db.close()

    def adopt(self, origin: PostgresLog) -> None:
        """As a person does who was told that the slot is gone."""
        origin.manager().adopt(self.name, self.settings, Ledger(LOG, "0001-", {}, 9, 1), "the slot is gone")

    def open(self, origin: PostgresLog, timeout: float = 30.0) -> PostgresLog:
        """Opened, once whoever was there before has let go."""
        origin.close()
        settings = self.settings.model_copy(update={"store_timeout": timeout})
        wait_for(lambda: self.reader() is None)
        origin.open(self.name, settings)
        return origin

    def reader(self) -> int | None:
        """Who reads the slot."""
        found = self.db.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", (names_of(self.name).slot,)
        ).fetchone()
        return found and found[0]

    def left(self) -> int:
        """Rows in the outbox."""
        found = self.db.execute("SELECT count(*) FROM logsync.outbox").fetchone()
        assert found
        return int(found[0])


def take(origin: PostgresLog, count: int, limit: int = 1000) -> tuple[list[Fact], str]:
    """So many facts at least, and on to the end of their transaction; and that end."""
    facts: list[Fact] = []
    until, end = monotonic() + PATIENCE, None
    while len(facts) < count or end is None:
        assert monotonic() < until, f"{len(facts)} facts of {count}"
        portion = origin.take(limit, 1.0)
        facts += portion.facts
        end = portion.end
    return facts, end


def ids(facts: Sequence[Fact]) -> list[str | None]:
    return [fact.id for fact in facts]


def rows(facts: Sequence[Fact]) -> list[tuple[str, Any]]:
    """What the facts say of tables: kind and the new row, or the old one of a delete."""
    changes = [fact.of for fact in facts]
    assert all(isinstance(change, Change) for change in changes), changes
    return [(change.kind, change.new or change.old) for change in changes if isinstance(change, Change)]


def confirm(origin: PostgresLog, facts: Sequence[Fact], end: str) -> None:
    """As a relay does: the ledger first."""
    origin.keep(Ledger(LOG, facts[-1].at, {0: (len(facts), None)}), [fact.id for fact in facts if fact.id])
    origin.confirm(end)


def wait_for(what: Callable[[], bool], keep: Callable[[], object] = lambda: None) -> None:
    """Until it is true; ``keep`` is called meanwhile."""
    until = monotonic() + PATIENCE
    while not what():
        assert monotonic() < until
        keep()


@pytest.fixture
def shop(settings: Settings, unique: str) -> Iterator[Shop]:
    dsn = settings.postgres.get_secret_value()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {unique}")
    shop = Shop(settings, unique)
    shop.db.execute(OUTBOX)
    yield shop
    for origin in shop.opened:
        origin.close()
    shop.db.close()
    with psycopg.connect(make_conninfo(dsn), autocommit=True) as admin:
        mine = "FROM pg_replication_slots WHERE database = %s"
        admin.execute(f"SELECT pg_terminate_backend(active_pid) {mine} AND active_pid IS NOT NULL", (unique,))
        wait_for(lambda: admin.execute(f"SELECT {mine} AND active_pid IS NOT NULL", (unique,)).fetchone() is None)
        admin.execute(f"SELECT pg_drop_replication_slot(slot_name) {mine}", (unique,))
        admin.execute(f"DROP DATABASE {unique} WITH (FORCE)")


@pytest.fixture
def new_id() -> Callable[[], str]:
    return lambda: uuid.uuid4().hex
