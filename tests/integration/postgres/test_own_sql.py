"""Sql and InTransaction: what they see of the other writes, and what they may not do. # G2 G3"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from logsync.core.event import Event
from logsync.core.write import Write
from logsync.errors import HandlerError, WriteRejected
from logsync.stores.postgres import Increment, InTransaction, Sql, Upsert

from .conftest import Bench
from .watching import EVENT


def test_sql_sees_all_writes_before_it_and_none_after_it(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    double = Sql(f"UPDATE {table} SET n = n * %(by)s WHERE n %% 2 = 0 OR true", {"by": 2})
    bench.apply(
        store, [Increment(table, {"id": 1}, {"n": 1})], [double], [Increment(table, {"id": 1}, {"n": 1})], [double]
    )
    assert bench.rows() == [(1, 6)]


def test_sql_that_declares_its_tables_lets_the_others_wait(bench: Bench) -> None:
    one, two = bench.table("id int PRIMARY KEY, n int"), bench.table("id int PRIMARY KEY, n int", bench.name + "_two")
    store = bench.store(tables=[one, two])
    count = f"UPDATE {one} SET n = (SELECT count(*) FROM {two})"  # it looks at `two` and does not say so
    writes: list[Write] = [Upsert(one, {"id": 1}, {"n": -1}), Upsert(two, {"id": 1}, {"n": 1})]
    bench.apply(store, [*writes, Sql(count, touches=(one,))])
    assert bench.rows(f"SELECT n FROM {one}") == [(0,)]
    bench.apply(store, [Upsert(two, {"id": 2}, {"n": 1}), Sql(count, touches=(one, two))])
    assert bench.rows(f"SELECT n FROM {one}") == [(2,)]


def test_a_handler_in_the_transaction_reads_what_came_before_it(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    kept: list[Any] = []

    def carry(cursor: Any, event: Event[Any]) -> None:
        kept.append(cursor)
        (n,) = cursor.execute(f"SELECT n FROM {table} WHERE id = %(id)s", {"id": 1}).fetchone()
        assert cursor.columns == ["n"]
        cursor.execute(f"INSERT INTO {table} VALUES (%s, %s)", (n + 1, n))
        assert cursor.rowcount == 1

    bench.apply(
        store,
        [Increment(table, {"id": 1}, {"n": 4})],
        [InTransaction(carry, EVENT)],
        [Increment(table, {"id": 5}, {"n": 1})],
    )
    assert bench.rows() == [(1, 4), (5, 5)]
    with pytest.raises(Exception, match="after its InTransaction handler had returned"):
        kept[0].execute("SELECT 1")


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "rollback",
        " /* x */ -- y\n End",
        "BEGIN",
        "SAVEPOINT a",
        "SELECT 1; COMMIT",
        "SET synchronous_commit = off",
        "PREPARE TRANSACTION 'x'",
        "SELECT ';'; ROLLBACK",
        "",
    ],
)
def test_no_statement_of_a_sink_ends_the_transaction(bench: Bench, statement: str) -> None:
    table = bench.table("id int PRIMARY KEY")
    store = bench.store()

    def run(cursor: Any, event: Event[Any]) -> None:
        cursor.execute(statement)

    for write in (Sql(statement), InTransaction(run, EVENT)):
        with pytest.raises(WriteRejected) as caught:
            bench.apply(store, [Upsert(table, {"id": 1})], [write])
        assert caught.value.offset == 1
        assert (bench.rows(), bench.position()) == ([], 0)


def test_quoted_semicolons_and_words_are_no_statements(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, t text")
    store = bench.store()
    bench.apply(
        store,
        [Sql(f"INSERT INTO {table} VALUES (1, '; COMMIT'), (2, E'\\'; COMMIT') -- ; COMMIT")],
        [Sql(f"DO $x$ BEGIN INSERT INTO {table} VALUES (3, 'x'); END $x$ ; ")],
    )
    assert len(bench.rows()) == 3


def test_an_error_of_the_handler_is_its_own_and_names_the_event(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY")
    store = bench.store()

    def broken(cursor: Any, event: Event[Any]) -> None:
        cursor.execute(f"INSERT INTO {table} VALUES (7)")
        raise ValueError("cannot")

    with pytest.raises(HandlerError, match="broken raised ValueError: cannot") as caught:
        bench.apply(store, [Upsert(table, {"id": 1})], [InTransaction(broken, EVENT)])
    assert caught.value.offset == 1
    assert (bench.rows(), bench.position()) == ([], 0)


def test_a_handler_that_swallows_an_error_of_the_database_does_not_pass(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY")
    store = bench.store()

    def careless(cursor: Any, event: Event[Any]) -> None:
        with contextlib.suppress(Exception):
            cursor.execute("SELECT 1/0")

    with pytest.raises(WriteRejected, match="the handler caught an error"):
        bench.apply(store, [Upsert(table, {"id": 1})], [InTransaction(careless, EVENT)])
    assert (bench.rows(), bench.position()) == ([], 0)
