"""A database of a test's own that a sink fills, offset by offset, as the test says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg

from logsync.core.book import Book
from logsync.core.event import Record
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.receipt import Receipt
from logsync.settings import Settings
from logsync.stores.postgres import Postgres
from logsync.writes.rows import Upsert
from tests.unit.shop import make_sink

TABLES = """
CREATE TABLE IF NOT EXISTS public.orders (order_id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS public.totals (name text PRIMARY KEY, n int);
"""
ENVIRONMENT = "default"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = LogIdentity("c", "test.shop", "id", 2)


def receipt(offset: int, **changes: object) -> Receipt:
    return Receipt(f"event-{offset}", "test.shop", 1, offset, "id", "order.placed")._replace(**changes)  # type: ignore[arg-type]


def waiting(offset: int, event_id: str = "") -> Parked:
    record = Record(1, offset, b"key", b"value", [])
    return Parked(
        1, offset, "key", event_id or f"event-{offset}", "order.placed", "HandlerError", "no", NOON, NOON, 1, record
    )


class Followed:
    """The sink ``db`` in one database. It begins at offset 0 of both partitions of its log."""

    def __init__(self, dsn: str, settings: Settings) -> None:
        self.dsn, self.settings = dsn, settings
        self.store = Postgres(dsn, schema=TABLES, tables=["orders"])
        self.sink = make_sink(self.store)
        self.book = Book(sink="db", environment=ENVIRONMENT, log=LOG, handled=self.sink.handled)

    def begin(self) -> None:
        self.store.open("db", self.settings)
        self.store.write_book(self.book, positions=[Position(0, 0), Position(1, 0)])

    def apply(self, to: int, *, parked: Sequence[Parked] = ()) -> None:
        """Up to offset ``to`` of partition 1: an order for each event but the parked ones."""
        start = self.store.positions()[1]
        aside = {entry.offset for entry in parked}
        offsets = [offset for offset in range(start.next_offset, to) if offset not in aside]
        end = start._replace(next_offset=to, releases=0)
        writes = [Upsert("orders", {"order_id": f"order-{offset}"}, {}) for offset in offsets]
        self.store.apply(Plan(start, end, writes, offsets, parked=list(parked)))

    def write(self, **changes: object) -> None:
        """The next revision of the book."""
        self.book = self.book.next(**changes)
        self.store.write_book(self.book)


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """The address of a database of its own, below ``server``."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        admin.execute(f"ALTER DATABASE {name} SET search_path = public".encode())
        try:
            yield server.rsplit("/", 1)[0] + f"/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
