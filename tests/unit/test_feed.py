"""`feed` refuses what production refuses, parks what production parks, and says so in the same words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from logsync import Event, Sink
from logsync.core.store import Store
from logsync.errors import ConfigError, HandlerError, WriteRejected
from logsync.stores.opensearch import IndexDoc, OpenSearch, UpdateDoc
from logsync.stores.postgres import Delete, Increment, Postgres, Sql, Upsert
from logsync.stores.redis import ExpireAt, HIncr, HSet, Incr, Redis, SAdd, Set, ZAdd
from logsync.testing import feed
from tests.unit.shop import OrderCancelled, OrderPlaced, log

DDL = """
-- what the shop sells
CREATE TABLE IF NOT EXISTS orders (
    "order" text PRIMARY KEY, cents bigint NOT NULL DEFAULT 0, note varchar(20), at timestamptz,
    tags text[], data jsonb DEFAULT '{"a, b": (1)}', price numeric(10, 2) CHECK (price > 0),
    CONSTRAINT one UNIQUE (note, at), CHECK (cents > 0)
);
CREATE UNIQUE INDEX ON orders (note);
ALTER TABLE orders ADD COLUMN IF NOT EXISTS late boolean DEFAULT false, ADD COLUMN later real;
CREATE TABLE shop.totals (name text PRIMARY KEY, n bigint) PARTITION BY HASH (name);
CREATE TABLE copies (LIKE orders);
"""
KEY = {"order": "a"}


class Size(Enum):
    SMALL = 1


def of(store: Store, write: object, **options: Any) -> Sink:
    sink = Sink("db", log, store, **options)
    sink.on(OrderPlaced)(lambda event: write)
    return sink


def postgres(ddl: str = DDL, tables: tuple[str, ...] = ()) -> Postgres:
    return Postgres(schema=ddl, tables=tables)


def redis() -> Redis:
    return Redis(prefix="shop:")


def opensearch() -> OpenSearch:
    return OpenSearch(indices={"orders": {"mappings": {"properties": {}}}})


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REFUSED: list[tuple[Callable[[], Store], object, str]] = [
    (postgres, Increment("orders", KEY, {"cents": 0.5}), "found float"),
    (postgres, Increment("orders", KEY, {"cents": True}), "found bool"),
    (postgres, Increment("orders", KEY, {"price": Decimal("NaN")}), "finite"),
    (postgres, Delete("orders", {}), "empty key"),
    (postgres, Upsert("orders", {"order": None}), "is None"),
    (postgres, Upsert("orders", KEY, {"order": "b"}), "in the key and in the values"),
    (postgres, Upsert("orders", KEY, {"note": OrderCancelled(order="a")}), "OrderCancelled"),
    (postgres, Upsert("orders", KEY, {"note": Size}), "EnumType"),
    (postgres, Upsert("orders", KEY, {"note": "a\0b"}), "NUL"),
    (postgres, Upsert("orders", KEY, {"data": {"a": {1, 2}}}), "column data"),
    (postgres, Upsert("orders", KEY, {"data": {1, 2}}), "column data"),
    (postgres, Upsert("orders", KEY, {"note": object()}), "object"),
    (postgres, Sql("UPDATE orders SET cents = %(n)s", {}), "without its parameter n"),
    (postgres, Sql("COMMIT"), "COMMIT"),
    (redis, Set("a", NOON), "datetime"),  # type: ignore[arg-type]
    (redis, Set("a", 0.5), "float"),  # type: ignore[arg-type]
    (redis, Set("a", True), "bool"),
    (redis, Set("a", None), "NoneType"),  # type: ignore[arg-type]
    (redis, Set("a", "b", expire_at=datetime(2026, 1, 1)), "timezone-aware"),  # noqa: DTZ001
    (redis, ExpireAt("a", datetime(2026, 1, 1)), "timezone-aware"),  # noqa: DTZ001
    (redis, HSet("a", {"b": OrderCancelled(order="a")}), "OrderCancelled"),  # type: ignore[dict-item]
    (redis, HSet("a", {1: "b"}), "int"),  # type: ignore[dict-item]
    (redis, HIncr("a", {"b": 0.5}), "float"),  # type: ignore[dict-item]
    (redis, Incr("a", Decimal(1)), "Decimal"),  # type: ignore[arg-type]
    (redis, SAdd("a", "abc"), "tuple"),  # type: ignore[arg-type]
    (redis, ZAdd("a", {"b": 2**60}), "expected"),
    (redis, Set(b"a", "b"), "bytes"),  # type: ignore[arg-type]
    (opensearch, IndexDoc("order", "a", {}), "expected an index"),
    (opensearch, IndexDoc("orders", "", {}), "document id"),
    (opensearch, IndexDoc("orders", "a", {"b": {1, 2}}), "set"),
    (opensearch, IndexDoc("orders", "a", {"b": float("nan")}), "JSON"),
    (opensearch, IndexDoc("orders", "a", {"b": OrderCancelled(order="a")}), "OrderCancelled"),
    (opensearch, UpdateDoc("orders", "a", add={"n": 0.5}), "integer"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("store", "write", "words"), REFUSED)
def test_what_the_store_refuses_is_refused(store: Callable[[], Store], write: object, words: str) -> None:
    with pytest.raises(WriteRejected, match=words) as caught:
        feed(of(store(), write), OrderPlaced(order="a", cents=1))
    assert (caught.value.partition, caught.value.offset) == (0, 0)
    parked = feed(of(store(), write, on_error="park"), OrderPlaced(order="a", cents=1)).parked
    assert [(entry.error, entry.offset) for entry in parked] == [("WriteRejected", 0)]


UNFIT: list[tuple[Callable[[], Store], object, str]] = [
    (postgres, Upsert("order", KEY), "no table order in"),
    (postgres, Upsert("Orders", KEY), "no table Orders in"),
    (postgres, Upsert("orders", KEY, {"colour": 1}), "no column colour"),
    (postgres, Upsert("orders", {"Order": 1}), "no column Order"),
    (postgres, Upsert("shop.orders_", KEY), "no table shop.orders_"),
    (postgres, Upsert("totals", {"name": 1}, {"m": 1}), "table totals has no column m"),
    (postgres, Increment("orders", KEY, {"note": 1}), "a counter must be"),
    (postgres, Increment("orders", KEY, {"later": 1}), "a counter must be"),
]


@pytest.mark.parametrize(("store", "write", "words"), UNFIT)
def test_tables_that_do_not_fit_the_handlers_are_no_events_fault(
    store: Callable[[], Store], write: object, words: str
) -> None:  # G7
    for options in ({}, {"on_error": "park"}):
        with pytest.raises(ConfigError, match=words) as caught:
            feed(of(store(), write, **options), OrderPlaced(order="a", cents=1))
        assert "logsync schema print" in str(caught.value)


TAKEN: list[tuple[Callable[[], Store], object]] = [
    (postgres, Upsert("orders", KEY, {"note": "x", "at": NOON, "tags": ["a", None], "data": {"a": [1]}, "late": True})),
    (postgres, Upsert("orders", KEY, {"price": Decimal("1.5"), "later": 0.5, "data": [1], "note": None})),
    (postgres, Upsert("public.orders", KEY, {"cents": 1})),
    (postgres, Upsert("shop.totals", {"name": "a"}, {"n": 1})),
    (postgres, Upsert("copies", {"whatever": "it has"}, {"is": "not known"})),
    (postgres, Increment("orders", KEY, {"cents": 1, "price": Decimal("0.25")})),
    (postgres, Delete("orders", KEY)),
    (postgres, Sql("UPDATE anything SET n = %(n)s WHERE s LIKE 'a%%'", {"n": 1})),
    (lambda: postgres("SELECT make_tables()"), Upsert("anything", KEY)),
    (lambda: postgres("CREATE TABLE a (b int)", ("elsewhere",)), Upsert("elsewhere", KEY)),
    (lambda: postgres("CREATE TABLE a (b int); ALTER TABLE a RENAME b TO c"), Upsert("a", {"c": 1})),
    (lambda: postgres("CREATE VIEW v AS SELECT 1; CREATE TABLE a (b int)"), Upsert("v", KEY)),
    (lambda: postgres("CREATE TABLE a AS SELECT 1 AS b"), Upsert("a", {"b": 1})),
    (lambda: postgres("DO $$ BEGIN CREATE TABLE x (y int); END $$"), Upsert("x", KEY)),
    (lambda: postgres('CREATE TABLE "Odd Name" ("a""b" int, c double precision[])'), Upsert("Odd Name", {'a"b': 1})),
    (Postgres, Upsert("orders", KEY, {"day": date(2026, 1, 1), "at": time(1), "id": UUID(int=1)})),
    (Postgres, Upsert("anything", KEY, {"data": {"a": 1}, "list": [1, 2], "bytes": b"x"})),
    (redis, HSet("a", {"b": 1, "c": b"d"})),
    (redis, Set("a", "b", expire_at=NOON)),
    (opensearch, IndexDoc("orders", "a", {"at": NOON, "price": Decimal(1), "tags": ["a"]})),
    (opensearch, UpdateDoc("orders", "a", {"b": 1}, {"n": 1})),
]  # fmt: skip


@pytest.mark.parametrize(("store", "write"), TAKEN)
def test_what_the_store_may_take_is_taken(store: Callable[[], Store], write: object) -> None:
    assert not feed(of(store(), write), OrderPlaced(order="a", cents=1)).parked


def test_a_sink_that_parks_parks_with_every_later_event_of_the_key() -> None:
    sink = Sink("db", log, postgres(), on_error={HandlerError: "park"})

    @sink.on(OrderPlaced)
    def placed(event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", {"order": event.data.order}, {"cents": 100 // event.data.cents})

    @sink.on(OrderCancelled)
    def cancelled(event: Event[OrderCancelled]) -> Delete:
        return Delete("orders", {"order": event.data.order})

    events = [OrderPlaced(order="a", cents=0), OrderPlaced(order="b", cents=5), OrderCancelled(order="a")]
    content = feed(sink, *events)
    assert content.tables["orders"] == [{"order": "b", "cents": 20}]
    assert [(entry.offset, entry.sequence, entry.error) for entry in content.parked] == [
        (0, "a", "HandlerError"),
        (2, "a", ""),
    ]
    assert "ZeroDivisionError" in content.parked[0].message


def test_a_log_of_several_partitions_wants_a_word_about_overwrites() -> None:
    def sink(**options: Any) -> Sink:
        return of(postgres(), Upsert("orders", KEY), **options)

    events: list[BaseModel] = [OrderPlaced(order=str(n), cents=1) for n in range(9)]
    with pytest.raises(ConfigError, match="per-key"):
        feed(sink(), *events, partitions=3)
    assert feed(sink(order="per-key"), *events, partitions=3).row("orders", order="a")


def test_settings_of_the_environment_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGSYNC_BATCH_RECORDS", "none")
    assert feed(of(postgres(), Upsert("orders", KEY)), OrderPlaced(order="a", cents=1)).row("orders", order="a")
