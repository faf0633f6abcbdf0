"""However a log is cut into plans, the rows are the same: also where a write is felt in rows that it does not name."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.stores.postgres import Delete, Increment, Sql, Upsert

from .conftest import Bench
from .watching import in_bulk_only

Names = dict[str, str]


def tables(bench: Bench, copy: str, *ddl: str) -> Names:
    """Creates ``ddl`` with {a}, {b}, {c} as names of this copy."""
    names = {letter: f"{bench.name}_{copy}_{letter}" for letter in "abc"}
    for statement in ddl:
        bench.db.execute(statement.format(**names, **{f"{k}_fn": f"{v}_fn" for k, v in names.items()}))
    return names


def content(bench: Bench, names: Names, query: str = "") -> list[list[tuple[Any, ...]]]:
    return [
        bench.rows(query.format(name) if query else f"SELECT * FROM {name} ORDER BY 1")
        for name in names.values()
        if bench.rows(f"SELECT to_regclass('{name}')") != [(None,)]
    ]


def cut(bench: Bench, names: Names, events: list[list[Write]], size: int, **options: Any) -> None:
    existing = [name for name in names.values() if bench.rows(f"SELECT to_regclass('{name}')") != [(None,)]]
    store = bench.store(tables=existing, **options)
    for first in range(0, len(events), size):
        bench.apply(store, *events[first : first + size])


def same_for_every_cut(bench: Bench, ddl: list[str], events: Callable[[Names], list[list[Write]]]) -> Any:
    """Applies the events one per plan, three per plan and all at once; returns what the rows hold."""
    found = []
    for size in (1, 3, 1000):
        names = tables(bench, str(size), *ddl)
        cut(bench, names, events(names), size)
        found.append(content(bench, names))
    assert found[0] == found[1] == found[2]
    return found[0]


PARENT = "CREATE TABLE {a} (id int PRIMARY KEY, code text UNIQUE, x int)"
CHILD = "CREATE TABLE {b} (id int PRIMARY KEY, pid int DEFAULT 0 REFERENCES {a} %s, x int)"
GRANDCHILD = "CREATE TABLE {c} (id int PRIMARY KEY, pid int REFERENCES {b} ON DELETE CASCADE, x int)"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("action", ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE SET DEFAULT"])
def test_what_a_delete_carries_on_to_other_tables(bench: Bench, action: str, seed: int) -> None:
    def events(t: Names) -> list[list[Write]]:
        rng = random.Random(seed)
        made: list[list[Write]] = [[Upsert(t["a"], {"id": 0}, {"x": 0})]]
        for n in range(60):
            parent, child = rng.randint(1, 3), rng.randint(1, 5)
            made.append(
                rng.choice(
                    [
                        [Upsert(t["a"], {"id": parent}, {"x": n})],
                        [Delete(t["a"], {"id": parent})],
                        [Upsert(t["a"], {"id": parent}), Upsert(t["b"], {"id": child}, {"pid": parent, "x": n})],
                        [Upsert(t["b"], {"id": child}, {"pid": None}), Upsert(t["c"], {"id": n}, {"pid": child})],
                        [Increment(t["b"], {"id": child}, {"x": 1})],
                    ]
                )
            )
        return made

    parents, children, _ = same_for_every_cut(
        bench, [PARENT, CHILD.replace("DEFAULT 0", "DEFAULT 0") % action, GRANDCHILD], events
    )
    assert parents
    assert children


def test_a_tree_in_one_table(bench: Bench) -> None:
    ddl = ["CREATE TABLE {a} (id int PRIMARY KEY, up int REFERENCES {a} ON DELETE CASCADE, x int)"]

    def events(t: Names) -> list[list[Write]]:
        a = t["a"]
        return [
            [Upsert(a, {"id": 1}), Upsert(a, {"id": 2}, {"up": 1}), Upsert(a, {"id": 3}, {"up": 2})],
            [Delete(a, {"id": 1})],
            [Upsert(a, {"id": 1}, {"x": 1})],
            [Upsert(a, {"id": 3}, {"up": 1})],
            [Delete(a, {"id": 2})],
        ]

    assert same_for_every_cut(bench, ddl, events) == [[(1, None, 1), (3, 1, None)]]


@pytest.mark.parametrize("action", ["ON UPDATE CASCADE", "ON UPDATE SET NULL"])
def test_what_a_changed_value_carries_on_to_other_tables(bench: Bench, action: str) -> None:
    ddl = [PARENT, f"CREATE TABLE {{b}} (id int PRIMARY KEY, code text REFERENCES {{a}} (code) {action})"]

    def events(t: Names) -> list[list[Write]]:
        return [
            [Upsert(t["a"], {"id": 1}, {"code": "one"}), Upsert(t["b"], {"id": 1}, {"code": "one"})],
            [Upsert(t["a"], {"id": 1}, {"code": "two"})],
            [Upsert(t["a"], {"id": 1}, {"code": "one"})],
            [Upsert(t["b"], {"id": 2}, {"code": "one"}), Upsert(t["a"], {"id": 1}, {"x": 5})],
        ]

    expected = {"ON UPDATE CASCADE": [(1, "one"), (2, "one")], "ON UPDATE SET NULL": [(1, None), (2, "one")]}
    assert same_for_every_cut(bench, ddl, events)[1] == expected[action]


def test_a_delete_that_reaches_a_table_through_one_that_the_sink_does_not_write(bench: Bench) -> None:
    def events(t: Names) -> list[list[Write]]:
        return [
            [
                Upsert(t["a"], {"id": 1}),
                Sql(f"INSERT INTO {t['b']} VALUES (7, 1)"),
                Upsert(t["c"], {"id": 1}, {"p": 7}),
            ],
            [Delete(t["a"], {"id": 1})],
            [Upsert(t["a"], {"id": 1}), Sql(f"INSERT INTO {t['b']} VALUES (7, 1)")],
            [Upsert(t["c"], {"id": 1}, {"p": 7})],
        ]

    ddl = [
        "CREATE TABLE {a} (id int PRIMARY KEY)",
        "CREATE TABLE {b} (id int PRIMARY KEY, p int REFERENCES {a} ON DELETE CASCADE)",
        "CREATE TABLE {c} (id int PRIMARY KEY, p int REFERENCES {b} ON DELETE CASCADE)",
    ]
    assert same_for_every_cut(bench, ddl, events)[2] == [(1, 7)]


AUDIT = [
    "CREATE TABLE {a} (id int PRIMARY KEY, x int)",
    "CREATE TABLE {b} (id int PRIMARY KEY, x int)",
    "CREATE TABLE {c} (n serial PRIMARY KEY, what text, seen bigint)",
    "CREATE FUNCTION {a_fn}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
    "INSERT INTO {c} (what, seen) SELECT TG_OP, count(*) FROM {b}; RETURN coalesce(NEW, OLD); END $f$",
]


@pytest.mark.parametrize("when", ["AFTER INSERT OR UPDATE OR DELETE", "BEFORE DELETE", "AFTER UPDATE"])
def test_a_trigger_sees_every_write_at_its_place(bench: Bench, when: str) -> None:
    ddl = [*AUDIT, f"CREATE TRIGGER audit {when} ON {{a}} FOR EACH ROW EXECUTE FUNCTION {{a_fn}}()"]

    def events(t: Names) -> list[list[Write]]:
        rng = random.Random(7)
        made: list[list[Write]] = []
        for n in range(80):
            table, key = t[rng.choice("ab")], {"id": rng.randint(1, 4)}
            made.append(
                [rng.choice([Upsert(table, key, {"x": n}), Delete(table, key), Increment(table, key, {"x": 1})])]
            )
        return made

    assert same_for_every_cut(bench, ddl, events)[2]


def test_a_trigger_of_a_partition_counts_as_the_table_s(bench: Bench) -> None:
    ddl = [
        "CREATE TABLE {a} (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)",
        "CREATE TABLE {a}_low PARTITION OF {a} FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE {b} (id int PRIMARY KEY, x int)",
        "CREATE TABLE {c} (n serial PRIMARY KEY, what text, seen bigint)",
        AUDIT[-1],
        "CREATE TRIGGER audit AFTER UPDATE ON {a}_low FOR EACH ROW EXECUTE FUNCTION {a_fn}()",
    ]

    def events(t: Names) -> list[list[Write]]:
        return [[Upsert(t["a"], {"id": 1}, {"x": n}), Upsert(t["b"], {"id": n})] for n in range(5)]

    assert [row[2] for row in same_for_every_cut(bench, ddl, events)[2]] == [1, 2, 3, 4]


def test_rows_that_two_names_mean(bench: Bench) -> None:
    ddl = [
        "CREATE TABLE {a} (id int PRIMARY KEY, x int) PARTITION BY RANGE (id)",
        "CREATE TABLE {a}_low PARTITION OF {a} FOR VALUES FROM (0) TO (10)",
    ]

    def events(t: Names) -> list[list[Write]]:
        a = t["a"]
        return [
            [Upsert(a, {"id": 1}, {"x": 1}), Upsert(f"public.{a}", {"id": 2}, {"x": 1})],
            [Delete(f"{a}_low", {"id": 1}), Delete(a, {"id": 2})],
            [Upsert(f"public.{a}", {"id": 1}, {"x": 2}), Upsert(f"{a}_low", {"id": 2}, {"x": 3})],
            [Increment(f"{a}_low", {"id": 1}, {"x": 5}), Sql(f"UPDATE {a} SET x = x * 2", touches=(a,))],
        ]

    assert same_for_every_cut(bench, ddl, events) == [[(1, 14), (2, 6)]]


@pytest.mark.parametrize("kind", ["serial", "int GENERATED BY DEFAULT AS IDENTITY", "int DEFAULT {a_fn}()"])
def test_numbers_that_the_server_draws_follow_the_log(bench: Bench, kind: str) -> None:
    ddl = [
        "CREATE FUNCTION {a_fn}() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN (SELECT count(*) FROM {a}); END $f$",
        f"CREATE TABLE {{a}} (id int PRIMARY KEY, x int, n {kind})",
    ]

    def events(t: Names) -> list[list[Write]]:
        return [[Upsert(t["a"], {"id": n}, {"x": n})] for n in (5, 3, 9, 1, 3)]

    (rows,) = same_for_every_cut(bench, ddl, events)
    assert [row[0] for row in sorted(rows, key=lambda row: row[2])] == [5, 3, 9, 1]


def test_a_sql_sees_what_other_tables_do_to_those_that_it_touches(bench: Bench) -> None:
    ddl = [PARENT, CHILD % "ON DELETE CASCADE", "CREATE TABLE {c} (id int PRIMARY KEY, n int)"]

    def events(t: Names) -> list[list[Write]]:
        count = f"INSERT INTO {t['c']} SELECT %(id)s, count(*) FROM {t['b']}"
        return [
            [Upsert(t["a"], {"id": 1}), Upsert(t["b"], {"id": 1}, {"pid": 1})],
            [Sql(count, {"id": 1}, touches=(t["b"], t["c"]))],
            [Delete(t["a"], {"id": 1})],
            [Sql(count, {"id": 2}, touches=(t["b"], t["c"]))],
            [Upsert(t["a"], {"id": 1}), Upsert(t["b"], {"id": 1}, {"pid": 1})],
            [Sql(f"DELETE FROM {t['a']}", touches=(t["a"],))],
            [Upsert(t["a"], {"id": 1}, {"x": 1})],
        ]

    assert same_for_every_cut(bench, ddl, events) == [[(1, None, 1)], [], [(1, 1), (2, 0)]]


def test_a_sql_that_touches_a_view_lets_everything_go_first(bench: Bench) -> None:
    ddl = ["CREATE TABLE {a} (id int PRIMARY KEY, x int)", "CREATE TABLE {b} (id int PRIMARY KEY, n int)"]

    def events(t: Names) -> list[list[Write]]:
        bench.db.execute(f"CREATE VIEW {t['a']}_view AS SELECT * FROM {t['a']}")
        view = f"{t['a']}_view"
        count = Sql(f"INSERT INTO {t['b']} SELECT 1, count(*) FROM {view}", touches=(view, t["b"]))
        return [[Upsert(t["a"], {"id": 1})], [count]]

    assert same_for_every_cut(bench, ddl, events)[1] == [(1, 1)]


def test_a_foreign_key_costs_nothing_until_something_is_carried_on(bench: Bench) -> None:
    names = tables(bench, "fast", PARENT, CHILD % "ON DELETE CASCADE ON UPDATE CASCADE")
    store = bench.store(tables=[names["a"], names["b"]])
    seen = in_bulk_only(store)
    statements: list[str] = []
    assert store._link
    run = store._link.run
    store._link.run = lambda cursors, batch: (statements.extend(s for s, _ in batch), run(cursors, batch))[1]  # type: ignore[method-assign]
    bench.apply(
        store,
        *[[Upsert(names["b"], {"id": n}, {"pid": n}), Upsert(names["a"], {"id": n}, {"x": n})] for n in range(50)],
        *[[Delete(names["b"], {"id": n})] for n in range(10)],
    )
    assert seen == []
    assert len([sql for sql in statements if names["a"] in sql or names["b"] in sql]) == 3
    assert len(bench.rows(f"SELECT * FROM {names['b']}")) == 40


def test_a_table_whose_triggers_see_one_row_only_is_written_in_bulk_if_its_author_says_so(bench: Bench) -> None:
    ddl = [
        "CREATE TABLE {a} (id int PRIMARY KEY, x int, twice int)",
        "CREATE FUNCTION {a_fn}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.twice := NEW.x * 2; RETURN NEW; END'",
        "CREATE TRIGGER twice BEFORE INSERT OR UPDATE ON {a} FOR EACH ROW EXECUTE FUNCTION {a_fn}()",
    ]
    names = tables(bench, "bulk", *ddl)
    store = bench.store(tables=[names["a"]], unordered=[names["a"]])
    writes: list[Write] = [Upsert(names["a"], {"id": n}, {"x": n}) for n in range(5)]
    assert len([*store._writer.steps(writes)]) == 1
    bench.apply(store, writes)
    assert bench.rows(f"SELECT * FROM {names['a']} ORDER BY 1") == [(n, n, n * 2) for n in range(5)]
    with pytest.raises(ConfigError, match="a list of names"):
        bench.store(unordered=names["a"])
