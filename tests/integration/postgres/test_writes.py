"""What each write does to real rows, alone and together with others in one plan (docs/writes-postgres.md)."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from logsync.core.write import Write
from logsync.stores.postgres import Delete, Increment, Sql, Upsert, statements
from tests.waiting import PATIENCE

from .conftest import Bench
from .watching import busy, in_bulk_only, until


def random_write(rng: random.Random, table: str) -> Write:
    key = {"id": rng.randint(1, 6)}
    some = rng.sample(
        [("n", rng.randint(-9, 9)), ("m", rng.choice([None, 7])), ("t", rng.choice("xyz"))], rng.randint(0, 3)
    )
    match rng.randint(0, 6):
        case 0 | 1:
            return Upsert(table, key, dict(some))
        case 2 | 3:
            return Increment(table, key, {"n": rng.randint(-5, 5)})
        case 4:
            return Increment(table, key, {"n": 1, "m": rng.choice([2, Decimal("0.25")])})
        case 5:
            return Delete(table, {"t": rng.choice("xyz")})
        case _:
            return Delete(table, key)


@pytest.fixture(params=["few", "many"])
def as_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test once with the statement for few rows, and once as if two rows were many."""
    monkeypatch.setattr(statements, "_MANY", 2 if request.param == "many" else 1_000)


@pytest.mark.usefixtures("as_many")
@pytest.mark.parametrize("seed", range(3))
def test_a_plan_in_bulk_leaves_the_rows_that_plans_of_one_write_leave(bench: Bench, seed: int) -> None:
    shape = "id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, m numeric, t text DEFAULT 'none'"
    bulk, single = bench.table(shape, bench.name + "_bulk"), bench.table(shape, bench.name + "_single")
    store = bench.store(tables=[bulk, single])
    rng = random.Random(seed)
    for _ in range(5):
        state = rng.getstate()
        writes = [random_write(rng, bulk) for _ in range(30)]
        bench.apply(store, *[[write] for write in writes])
        rng.setstate(state)
        for write in [random_write(rng, single) for _ in range(30)]:
            bench.apply(store, [write])
        assert bench.rows(f"SELECT * FROM {bulk} ORDER BY id") == bench.rows(f"SELECT * FROM {single} ORDER BY id")


def test_columns_that_a_write_does_not_name_keep_what_they_hold(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, a text, b text")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"a": "1"}), Upsert(table, {"id": 2}, {"b": "2"})])
    bench.apply(store, [Upsert(table, {"id": 2}, {"a": "1"}), Upsert(table, {"id": 1}, {"b": "2"})])
    assert bench.rows() == [(1, "1", "2"), (2, "1", "2")]


@pytest.mark.usefixtures("as_many")
def test_a_row_that_is_there_is_updated_although_it_could_not_be_inserted_like_this(bench: Bench) -> None:
    """NOT NULL and CHECK hold for the row that results, not for the columns that the write happens to name."""
    table = bench.table("id int PRIMARY KEY, name text NOT NULL, stock int NOT NULL DEFAULT 0 CHECK (stock >= 0)")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": i}, {"name": "x", "stock": 5}) for i in (1, 2)])
    bench.apply(store, [Increment(table, {"id": i}, {"stock": -2}) for i in (1, 2)])
    bench.apply(store, [Upsert(table, {"id": 1}, {"stock": 1})], [Upsert(table, {"id": 2})])
    assert bench.rows() == [(1, "x", 1), (2, "x", 3)]


def test_delete_takes_every_row_of_its_key_in_log_order(bench: Bench) -> None:
    table = bench.table("basket int, line int, sku text, PRIMARY KEY (basket, line)")
    store = bench.store()

    def paid(basket: int, *skus: str) -> list[Write]:
        return [Upsert(table, {"basket": basket, "line": i}, {"sku": sku}) for i, sku in enumerate(skus)]

    bench.apply(store, paid(1, "a", "b"), paid(2, "c"), [Delete(table, {"basket": 1})], paid(1, "d"), paid(3, "e"))
    assert bench.rows(f"SELECT * FROM {table} ORDER BY 1, 2") == [(1, 0, "d"), (2, 0, "c"), (3, 0, "e")]


@pytest.mark.usefixtures("as_many")
def test_every_kind_of_value_arrives_alone_as_in_bulk(bench: Bench) -> None:
    table = bench.table(
        "id int PRIMARY KEY, s text, b bool, f float8, d numeric(10,2), y bytea, u uuid, day date, at timestamptz, "
        "len interval, j jsonb, ints int[], texts text[], v varchar(5), c char(4)"
    )
    store = bench.store()
    nasty = 'NULL {"a,b"} \\ \n\t\r é \U0001f600 %s %% \'"'
    row: dict[str, Any] = {
        "s": nasty,
        "b": True,
        "f": float("inf"),
        "d": Decimal("1.25"),
        "y": b"\x00\xff\\",
        "u": uuid.UUID(int=7),
        "day": date(2026, 2, 3),
        "at": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "len": timedelta(days=-1, microseconds=5),
        "j": {"k": [1, None, nasty.replace("\x00", "")]},
        "ints": [1, None, 3],
        "texts": [nasty, "", "NULL"],
        "v": "abcde",
        "c": "ab",
    }
    empty = dict.fromkeys(row)
    bench.apply(store, [Upsert(table, {"id": 1}, row)])
    bench.apply(
        store, [Upsert(table, {"id": 2}, row)], [Upsert(table, {"id": 3}, empty)], [Upsert(table, {"id": 4}, row)]
    )
    one, two, three, four = bench.rows()
    assert one[1:] == two[1:] == four[1:] == (*list(row.values())[:-1], "ab  ")
    assert set(three[1:]) == {None}


@pytest.mark.usefixtures("as_many")
def test_names_are_taken_as_they_are_written(bench: Bench) -> None:
    table = bench.table('"Key %s" int PRIMARY KEY, "select" int, "a""b" text', f'"{bench.name} %s"')
    name = table.strip('"')
    store = bench.store(tables=[name])
    for n in (1, 2):
        bench.apply(store, [Increment(name, {"Key %s": i}, {"select": n}) for i in range(n)])
        bench.apply(store, [Upsert(name, {"Key %s": i}, {'a"b': "x"}) for i in range(n)])
    assert bench.rows(f"SELECT * FROM {table} ORDER BY 1") == [(0, 3, "x"), (1, 2, "x")]


@pytest.mark.usefixtures("as_many")
@pytest.mark.parametrize(
    ("kind", "one", "same", "n"),
    [
        ("int", 1, "1", 2),
        ("char(3)", "ab", "ab ", 2),
        ("uuid", str(uuid.UUID(int=10)), str(uuid.UUID(int=10)).upper(), 2),
        ("varchar(2)", "ab", "ab ", 7),  # as in SQL, it matches nothing until it is stored, cut to length
        ("date", "2026-01-02", "Jan 2 2026", 2),
        ("numeric(4,1)", Decimal("1.01"), Decimal("1.02"), 7),
    ],
)
def test_keys_that_only_the_server_knows_to_be_equal_take_effect_in_log_order(
    bench: Bench, kind: str, one: Any, same: Any, n: int
) -> None:
    table = bench.table(f"k {kind} PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    bench.apply(
        store,
        [Upsert(table, {"k": one}, {"n": 5})],
        [Delete(table, {"k": same})],
        [Increment(table, {"k": one}, {"n": 1})],
        [Increment(table, {"k": same}, {"n": 1})],
    )
    assert [row[1] for row in bench.rows()] == [n]


def test_a_sum_of_numerics_keeps_every_digit(bench: Bench) -> None:
    table = bench.table("k text PRIMARY KEY, n numeric NOT NULL DEFAULT 0")
    store = bench.store()
    parts = [Decimal("1e40"), Decimal("1e-40"), Decimal("0.1"), Decimal("-1e40")]
    bench.apply(store, *[[Increment(table, {"k": "a"}, {"n": part})] for part in parts])
    assert bench.rows() == [("a", Decimal("0.1" + "0" * 38 + "1"))]


def test_ordered_tables_may_have_foreign_keys_and_second_unique_indexes(bench: Bench) -> None:
    parent = bench.table("id int PRIMARY KEY, email text UNIQUE", bench.name + "_z")
    child = bench.table(f"id int PRIMARY KEY, parent int REFERENCES {parent} (id)", bench.name + "_a")
    store = bench.store(tables=[child, parent], ordered=[parent, child])
    bench.apply(
        store,
        [Upsert(parent, {"id": 1}, {"email": "x"})],
        [Upsert(child, {"id": 1}, {"parent": 1})],
        [Delete(child, {"id": 1})],
        [Delete(parent, {"id": 1})],
        [Upsert(parent, {"id": 2}, {"email": "x"})],
        [Upsert(child, {"id": 1}, {"parent": 2})],
    )
    assert bench.rows(f"SELECT * FROM {parent}") == [(2, "x")]
    assert bench.rows(f"SELECT * FROM {child}") == [(1, 2)]


def test_declared_parents_are_written_before_their_children(bench: Bench) -> None:
    parent = bench.table("id int PRIMARY KEY", bench.name + "_z")
    child = bench.table(f"id int PRIMARY KEY, parent int REFERENCES {parent} (id)", bench.name + "_a")
    store = bench.store(tables=[parent, child])
    seen = in_bulk_only(store)
    bench.apply(
        store, [Upsert(child, {"id": i}, {"parent": i}) for i in (1, 2)] + [Upsert(parent, {"id": i}) for i in (1, 2)]
    )
    bench.apply(store, [Delete(parent, {"id": 1})], [Delete(child, {"id": 1})])
    assert bench.rows(f"SELECT * FROM {child}") == [(2, 2)]
    assert seen == []


@pytest.mark.parametrize(("change", "left"), [("UPDATE {} SET n = n + 5", 6), ("DELETE FROM {}", 1)])
def test_counters_are_taken_in_one_order_and_see_what_they_waited_for(bench: Bench, change: str, left: int) -> None:
    """S2: two workers that meet wait for each other's first common row, and then hold none that the other has."""
    table = bench.table("k int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    # So large that the planner would like to read it whole, in the order in which it was filled.
    bench.db.execute(f"INSERT INTO {table} SELECT generate_series(3000, 1, -1)")
    bench.db.execute(f"ANALYZE {table}")
    store = bench.store()
    keys = range(2000, 1000, -1)
    with psycopg.connect(bench.dsn) as other, ThreadPoolExecutor() as pool:
        other.execute(f"{change.format(table)} WHERE k = 1500")
        done = pool.submit(bench.apply, store, [Increment(table, {"k": k}, {"n": 1}) for k in keys])
        until(busy(bench, f"MERGE%{table}"))
        bench.db.execute(f"SELECT FROM {table} WHERE k > 1500 FOR UPDATE NOWAIT")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            bench.db.execute(f"SELECT FROM {table} WHERE k = 1499 FOR UPDATE NOWAIT")
        other.commit()
        done.result(PATIENCE)
    expected = [(k, 1 if k in keys else 0) for k in range(1, 3001) if k != 1500]
    assert bench.rows(f"SELECT * FROM {table} WHERE k != 1500 ORDER BY 1") == expected
    assert bench.rows(f"SELECT n FROM {table} WHERE k = 1500") == [(left,)]


def test_a_row_that_another_worker_inserts_at_the_same_moment_is_counted_once_by_each(bench: Bench) -> None:  # S2
    table = bench.table("k int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    with psycopg.connect(bench.dsn) as other, ThreadPoolExecutor() as pool:
        other.execute(f"INSERT INTO {table} VALUES (2, 5)")
        done = pool.submit(bench.apply, store, [Increment(table, {"k": k}, {"n": 1}) for k in (1, 2, 3)])
        until(busy(bench, f"MERGE%{table}"))
        other.commit()
        done.result(PATIENCE)
    assert bench.rows() == [(1, 1), (2, 6), (3, 1)]
    assert bench.position() == 1


def test_the_server_s_relaxed_settings_do_not_reach_a_sink(bench: Bench) -> None:
    """I4: with synchronous_commit off, COMMIT returns before the writes are durable."""
    table = bench.table("id int PRIMARY KEY, setting text, at timestamptz")
    relaxed = "-c synchronous_commit=off -c timezone=Asia/Tokyo -c default_transaction_isolation=serializable"
    store = bench.store(dsn=f"{bench.dsn}?options={relaxed.replace(' ', '%20').replace('=', '%3D')}")
    names = ("synchronous_commit", "TimeZone", "transaction_isolation", "statement_timeout", "lock_timeout")
    bench.apply(
        store,
        [Sql(f"INSERT INTO {table} VALUES ({i}, current_setting('{name}'))") for i, name in enumerate(names)]
        + [Upsert(table, {"id": 9}, {"at": datetime(2026, 1, 1)})],  # noqa: DTZ001
    )
    assert [row[1] for row in bench.rows()[:5]] == ["on", "UTC", "read committed", "24s", "15s"]
    assert bench.rows()[-1][2] == datetime(2026, 1, 1, tzinfo=UTC)


def test_while_the_server_works_the_worker_does_something_else(bench: Bench) -> None:  # F1
    table, slices = bench.table("id int PRIMARY KEY"), list[int]()
    store = bench.store()

    def work() -> bool:
        slices.append(1)
        return len(slices) < 10

    store.meanwhile = work
    store.open(bench.name, bench.settings)
    slices.clear()
    bench.apply(store, [Upsert(table, {"id": 1}, {}), Sql("SELECT pg_sleep(0.2)")])
    assert len(slices) >= 10
    assert bench.rows(f"SELECT id FROM {table}") == [(1,)]
