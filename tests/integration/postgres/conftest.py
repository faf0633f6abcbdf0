"""A sink of its own for every test, in the one real Postgres of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.postgres import Postgres


def plan_of(start: Position, *events: list[Write]) -> Plan:
    """A plan with one event per list of writes, at the offsets that follow ``start``."""
    pairs = [(offset, write) for offset, writes in enumerate(events, start.next_offset) for write in writes]
    end = start._replace(next_offset=start.next_offset + len(events), releases=0)
    return Plan(start, end, [write for _, write in pairs], [offset for offset, _ in pairs])


class Bench:
    """One sink's store, a plain connection beside it, and the position in between."""

    def __init__(self, settings: Settings, name: str, db: psycopg.Connection[Any]) -> None:
        self.settings = settings
        self.name = name
        self.db = db
        self.dsn = settings.postgres.get_secret_value()
        self.stores: list[Postgres] = []

    def store(self, *, timeout: float = 30.0, dsn: str | None = None, **options: Any) -> Postgres:
        """A store of this sink, opened. The first one also gets a book and a position at 0."""
        options.setdefault("tables", [self.name])
        store = Postgres(dsn, **options)
        self.stores.append(store)
        store.open(self.name, self.settings.model_copy(update={"store_timeout": timeout}))
        if store.read_book() is None:
            log = LogIdentity("cluster", "topic", "id", 1)
            store.write_book(Book(sink=self.name, environment="test", log=log), positions=[Position(0, 0)])
        return store

    def table(self, columns: str, name: str = "") -> str:
        name = name or self.name
        self.db.execute(f"CREATE TABLE {name} ({columns})")
        return name

    def rows(self, query: str = "") -> list[tuple[Any, ...]]:
        return self.db.execute(query or f"SELECT * FROM {self.name} ORDER BY 1").fetchall()

    def apply(self, store: Postgres, *events: list[Write]) -> None:
        store.apply(plan_of(store.positions()[0], *events))

    def book(self) -> Book:
        found = self.stores[-1].read_book()
        assert found
        return found

    def position(self) -> int:
        row = self.db.execute("SELECT next_offset FROM logsync.position WHERE sink = %s", (self.name,)).fetchone()
        assert row
        return int(row[0])


def waits(bench: Bench) -> list[int]:
    """The offsets of what is parked, as a new worker finds them."""
    return [found.offset for found in bench.store().parked(0)]


@pytest.fixture
def db(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    # The role of the test servers is called logsync as well: see SEARCH_PATH in transaction.py.
    where = {"options": "-c search_path=public"}
    with psycopg.connect(settings.postgres.get_secret_value(), autocommit=True, **where) as connection:
        yield connection


@pytest.fixture
def bench(settings: Settings, unique: str, db: psycopg.Connection[Any]) -> Iterator[Bench]:
    bench = Bench(settings, unique, db)
    yield bench
    for store in bench.stores:
        store.close()


@pytest.fixture
def with_dsn(settings: Settings) -> Callable[[str], Settings]:
    return lambda dsn: settings.model_copy(update={"postgres": SecretStr(dsn)})
