"""What the server refuses: which error, which event, and that nothing of the plan is there. # G1"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from logsync.core.write import Write
from logsync.errors import ConfigError, WriteRejected
from logsync.stores.postgres import Delete, Increment, Sql, Upsert

from .conftest import Bench

COLUMNS = (
    "id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', n bigint NOT NULL DEFAULT 0 CHECK (n < 100), f float8, "
    "email varchar(9) UNIQUE, money numeric(10,2), start int DEFAULT 7, j jsonb, "
    "later int UNIQUE DEFERRABLE INITIALLY DEFERRED, path jsonpath, query tsquery"
)
T = "the_table"
SECRET = "s3cret" * 50

REFUSED: list[tuple[str, Write, str]] = [
    ("second unique index", Upsert(T, {"id": 2}, {"email": "taken"}), "constraint .*email.* 23505"),
    ("deferred constraint", Upsert(T, {"id": 2}, {"later": 1}), "constraint .*later.* 23505"),
    ("NULL in NOT NULL", Upsert(T, {"id": 2}, {"name": None}), "column name, .*23502"),
    ("CHECK", Increment(T, {"id": 2}, {"n": 100}), "constraint .*n_check.* 23514"),
    ("not a number", Upsert(T, {"id": 2}, {"n": "many"}), "22P02"),
    ("a fraction for bigint", Upsert(T, {"id": 2}, {"n": 1.5}), "22P02"),
    ("out of range", Upsert(T, {"id": 2**31}, {}), "22003"),
    ("too long", Upsert(T, {"id": 2}, {"email": "0123456789"}), "22001"),
    ("a secret in a long text", Upsert(T, {"id": SECRET}, {}), "22P02"),
    ("NUL", Upsert(T, {"id": 2}, {"name": "a\0b"}), "NUL"),
    ("half a character", Upsert(T, {"id": 2}, {"name": "\ud800"}), "surrogates"),
    ("a parameter is missing", Sql("SELECT %(x)s::int"), "x"),
    ("a value that no parameter can be", Sql("SELECT %(x)s", {"x": object()}), "cannot adapt"),
    ("a value without a stated form", Upsert(T, {"id": 2}, {"name": {1, 2}}), "type set"),
    ("not JSON", Upsert(T, {"id": 2}, {"j": {"x": object()}}), "JSON"),
    ("no jsonpath", Upsert(T, {"id": 2}, {"path": "$.["}), "jsonpath.* 42601"),
    ("no tsquery", Upsert(T, {"id": 2}, {"query": "a b &"}), "tsquery.* 42601"),
    ("a type that no cast leads to", Sql(f"UPDATE {T} SET n = %(n)s", {"n": [1]}), "42804"),
    ("an operator for no such type", Sql(f"UPDATE {T} SET n = n + %(n)s", {"n": [1]}), "42883"),
    ("a table that an earlier event made", Sql(f"CREATE TABLE {T} ()"), "42P07"),
    ("an empty key", Delete(T, {}), "empty key"),
    ("a key without a value", Upsert(T, {"id": None}, {}), "key column id is None"),
    ("a key column among the values", Upsert(T, {"id": 2}, {"id": 3}), "stands in the key and in the values"),
    ("adding a float", Increment(T, {"id": 2}, {"n": 0.5}), "expected int or Decimal, found float"),  # type: ignore[dict-item]
    ("adding a bool", Increment(T, {"id": 2}, {"n": True}), "expected int or Decimal, found bool"),
    ("adding NaN", Increment(T, {"id": 2}, {"money": Decimal("NaN")}), "finite"),
    ("adding cents to an int", Increment(T, {"id": 2}, {"n": Decimal("0.5")}), "keeps 0 digits"),
    ("adding more digits than it keeps", Increment(T, {"id": 2}, {"money": Decimal("0.005")}), "keeps 2 digits"),
    ("division by zero", Sql("SELECT 1/0"), "22012"),
    ("a trigger's own words", Sql("DO $$ BEGIN RAISE EXCEPTION 'not today'; END $$"), "not today.*P0001"),
    ("COPY from a client that sends nothing", Sql(f"COPY {T} FROM STDIN"), ""),
]


def rename(write: Any, table: str) -> Write:
    if isinstance(write, Sql):
        return Sql(write.statement.replace(T, table), write.params)
    return type(write)(table, *(getattr(write, name) for name in write.__slots__[1:]))


@pytest.mark.parametrize("name", [name for name, _, _ in REFUSED])
def test_a_refused_write_names_its_event_and_leaves_nothing(bench: Bench, name: str) -> None:
    _, bad, words = next(row for row in REFUSED if row[0] == name)
    table = bench.table(COLUMNS)
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"email": "taken", "later": 1})])
    before = bench.rows()
    good: list[list[Write]] = [[Upsert(table, {"id": i}, {"n": i})] for i in range(10, 30)]
    events = [*good[:13], [Upsert(table, {"id": 9}), rename(bad, table)], *good[13:], [rename(bad, table)]]
    with pytest.raises(WriteRejected, match=f"(?s){words}") as caught:
        bench.apply(store, *events)
    assert caught.value.offset == 1 + 13
    assert "s3cret" * 40 not in str(caught.value)
    assert (bench.rows(), bench.position()) == (before, 1)
    bench.apply(store, *good[:13])  # the store goes on as if nothing had happened
    assert bench.position() == 14


UNFIT: list[tuple[str, Write, str]] = [
    ("no such column", Upsert(T, {"id": 2}, {"nope": 1}), "has no column nope"),
    ("no such key column", Delete(T, {"nope": 1}), "has no column nope"),
    ("no such column in SQL", Sql(f"UPDATE {T} SET nope = 1"), "42703"),
    ("bad SQL", Sql("UPDAET x"), "42601"),
    ("bad SQL in a function", Sql("DO $$ BEGIN EXECUTE 'UPDAET x'; END $$"), "42601"),
    ("an aggregate where none can be", Sql(f"SELECT name FROM {T} HAVING n > 0"), "42803"),
    ("no such type", Sql("SELECT 1::nope"), "42704"),
    ("a column that the server fills", Upsert(T, {"id": 2}, {"twice": 1}), "428C9"),
    ("a key that is DEFERRABLE", Upsert(T, {"later": 2}, {"id": 2}), "55000"),
    ("adding to a float", Increment(T, {"id": 2}, {"f": 1}), "column f is double precision"),
    ("adding to a text", Increment(T, {"id": 2}, {"name": 1}), "column name is text"),
    ("adding to a column that starts at 7", Increment(T, {"id": 2}, {"start": 1}), "DEFAULT 7"),
]


@pytest.mark.parametrize("name", [name for name, _, _ in UNFIT])
def test_tables_and_statements_that_do_not_fit_are_no_events_fault(bench: Bench, name: str) -> None:  # G7
    """With parking, each of these would set the whole log aside."""
    _, bad, words = next(row for row in UNFIT if row[0] == name)
    table = bench.table(COLUMNS + ", twice bigint GENERATED ALWAYS AS (n * 2) STORED")
    store = bench.store()
    with pytest.raises(ConfigError, match=words) as caught:
        bench.apply(store, [Upsert(table, {"id": 1})], [rename(bad, table)])
    assert "found by the event at offset 1" in str(caught.value)
    assert "logsync schema print" in str(caught.value)
    assert (bench.rows(), bench.position()) == ([], 0)
    bench.apply(store, [Upsert(table, {"id": 1})])  # the store goes on as if nothing had happened
    assert bench.position() == 1


def test_a_bulk_that_is_refused_although_every_write_is_fine_is_carried_out_in_log_order(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, email text UNIQUE")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"email": "a"})], [Upsert(table, {"id": 2}, {"email": "b"})])
    bench.apply(
        store,
        [Upsert(table, {"id": 3}, {"email": "c"})],
        [Delete(table, {"id": 2}), Upsert(table, {"id": 1}, {"email": "b"}), Upsert(table, {"id": 4}, {"email": "a"})],
    )
    assert bench.rows() == [(1, "b"), (3, "c"), (4, "a")]
    assert bench.position() == 4


def test_deferred_constraints_hold_for_events_and_not_for_single_writes(bench: Bench) -> None:
    parent = bench.table("id int PRIMARY KEY", bench.name + "_p")
    child = bench.table(
        f"id int PRIMARY KEY, p int REFERENCES {parent} DEFERRABLE INITIALLY DEFERRED, email text UNIQUE", bench.name
    )
    store = bench.store(tables=[child, parent], ordered=[child, parent])
    bench.apply(store, [Upsert(child, {"id": 1}, {"p": 1, "email": "a"}), Upsert(parent, {"id": 1})])
    orphan = [Upsert(child, {"id": 3}, {"p": 99})]
    with pytest.raises(WriteRejected, match="23503") as caught:
        bench.apply(
            store, [Upsert(child, {"id": 2}, {"p": 2}), Upsert(parent, {"id": 2})], orphan, [Upsert(parent, {"id": 4})]
        )
    assert caught.value.offset == 2
    assert bench.rows() == [(1, 1, "a")]


def test_a_table_altered_while_the_worker_runs_is_looked_at_again(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n int")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"n": 1})])
    bench.db.execute(f"ALTER TABLE {table} ADD t text, ALTER n TYPE bigint")
    bench.apply(store, [Upsert(table, {"id": 2}, {"n": 2**40, "t": "x"})])
    assert bench.rows() == [(1, 1, None), (2, 2**40, "x")]


def test_what_the_whole_sink_lacks_is_a_matter_of_setting_up(bench: Bench) -> None:
    table = bench.table("id int, n int")
    store = bench.store()
    role = f"{bench.name}_reader"
    bench.db.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA logsync TO {role}")
    bench.db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA logsync TO {role}")
    reader = bench.store(dsn=bench.dsn.replace("logsync@", f"{role}@"))
    cases = [
        (store, Upsert("missing_table", {"id": 1}), "there is no table missing_table"),
        (store, Sql("SELECT * FROM missing_table"), "missing_table.* 42P01"),
        (store, Upsert(table, {"id": 1}), "ON CONFLICT.* 42P10"),
        (reader, Delete(table, {"id": 1}), "permission denied for table.* 42501"),
    ]
    for which, write, words in cases:
        with pytest.raises(ConfigError, match=words) as caught:
            bench.apply(which, [Delete(table, {"id": 5})] if which is store else [], [write])
        assert "offset 1" in str(caught.value)
        assert "logsync schema print" in str(caught.value)
    with pytest.raises(ConfigError, match=r"ON CONFLICT.* 42P10"):  # also where many rows go together
        bench.apply(store, [Upsert(table, {"id": n}, {"n": n}) for n in range(200)])
    assert bench.position() == 0
    bench.db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
