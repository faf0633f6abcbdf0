"""A table that cannot keep what a position claims is refused, also when it becomes one under a running worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from logsync.core.inspection import Severity
from logsync.core.write import Write
from logsync.errors import ConfigError, LogsyncError, StoreUnavailable, WriteRejected
from logsync.stores.postgres import Delete, Increment, Postgres, Sql, Upsert
from tests.waiting import PATIENCE

from .conftest import Bench
from .watching import busy, until

ROWS = "(id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0)"
REFUSED = {
    "unlogged": (f"CREATE UNLOGGED TABLE {{t}} {ROWS}", "is UNLOGGED: a crash empties it.*SET LOGGED"),
    "view": (f"CREATE TABLE {{t}}_base {ROWS}; CREATE VIEW {{t}} AS SELECT * FROM {{t}}_base", "found a view"),
    "materialized": ("CREATE MATERIALIZED VIEW {t} AS SELECT 1 AS id", "found a materialized view"),
    "foreign": (
        "CREATE EXTENSION IF NOT EXISTS file_fdw; CREATE SERVER {t}_server FOREIGN DATA WRAPPER file_fdw;"
        "CREATE FOREIGN TABLE {t} (id int) SERVER {t}_server OPTIONS (filename '/dev/null')",
        "found a foreign table",
    ),
    "sequence": ("CREATE SEQUENCE {t}", "found a sequence"),
    "partition": (
        "CREATE TABLE {t} (id int PRIMARY KEY, n bigint) PARTITION BY LIST (id);"
        "CREATE UNLOGGED TABLE {t}_1 PARTITION OF {t} DEFAULT",
        "keeps rows in .*_1, which is UNLOGGED",
    ),
    "child": (f"CREATE TABLE {{t}} {ROWS}; CREATE UNLOGGED TABLE {{t}}_1 () INHERITS ({{t}})", "keeps rows in .*_1"),
    "rule": (
        f"CREATE TABLE {{t}} {ROWS}; CREATE RULE gone AS ON DELETE TO {{t}} DO INSTEAD NOTHING",
        "has the rule gone.*a trigger instead",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("declared", [True, False])
def test_what_cannot_keep_rows_and_position_together_is_refused_by_name(
    bench: Bench, kind: str, declared: bool
) -> None:
    ddl, words = REFUSED[kind]
    bench.db.execute(ddl.format(t=bench.name))
    with pytest.raises(ConfigError, match=f"(?s){bench.name} .*{words}"):
        bench.apply(bench.store(tables=[bench.name] if declared else []), [Upsert(bench.name, {"id": 1})])
    assert bench.rows("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == [(0,)]


def test_doctor_tells_of_such_a_table_before_a_worker_does(bench: Bench) -> None:
    bench.table("id int PRIMARY KEY")
    bench.store().close()
    bench.db.execute(f"ALTER TABLE {bench.name} SET UNLOGGED")
    seen = Postgres(tables=[bench.name]).inspect(bench.name, bench.settings)
    assert [finding.check for finding in seen.findings if finding.severity >= Severity.WARNING] == ["postgres.tables"]
    assert seen.positions


def test_a_temporary_table_is_neither_written_to_nor_in_the_way_of_another(bench: Bench) -> None:
    store = bench.store(tables=[])
    temporary = Sql(f"CREATE TEMPORARY TABLE {bench.name} {ROWS}")
    bench.apply(store, [temporary])
    with pytest.raises(ConfigError, match="is temporary"):
        bench.apply(store, [Upsert(bench.name, {"id": 1})])
    bench.table("id int PRIMARY KEY")
    bench.apply(store, [Upsert(bench.name, {"id": 1})])
    assert bench.rows() == [(1,)]


@pytest.mark.parametrize(
    "policy", ["", "CREATE POLICY p ON {t} USING (id > 5)", "CREATE POLICY p ON {t} FOR SELECT USING (true)"]
)
def test_rows_that_a_policy_hides_are_not_passed_over_in_silence(bench: Bench, policy: str) -> None:
    table, role = bench.table("id int PRIMARY KEY, n int"), f"{bench.name}_worker"
    bench.db.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; {policy.format(t=table)}")
    bench.db.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA logsync TO {role}")
    bench.db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA logsync, public TO {role}")
    try:
        store = bench.store(tables=[], dsn=bench.dsn.replace("logsync@", f"{role}@"))
        with pytest.raises(ConfigError, match=f"(?s)hides rows of table {table}.*BYPASSRLS"):
            bench.apply(store, [Upsert(table, {"id": 1})])
        bench.db.execute(f"CREATE POLICY everything ON {table} USING (true)")
        store.close()
        bench.apply(bench.store(dsn=bench.dsn.replace("logsync@", f"{role}@")), [Upsert(table, {"id": 1})])
        assert bench.rows() == [(1, None)]
    finally:
        bench.db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_logsync_s_own_tables_must_survive_a_crash_as_well(bench: Bench) -> None:
    base = f"{bench.name}_base"
    bench.db.execute(f"CREATE DATABASE {base}")
    dsn = bench.dsn.rsplit("/", 1)[0] + f"/{base}"
    try:
        bench.store(dsn=dsn, tables=[]).close()
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("ALTER TABLE logsync.parked SET UNLOGGED")
        with pytest.raises(ConfigError, match=r"logsync\.parked is UNLOGGED"):
            bench.store(dsn=dsn, tables=[])
    finally:
        bench.db.execute(f"DROP DATABASE {base} WITH (FORCE)")


ALTERED: dict[str, tuple[str, type[LogsyncError], str]] = {
    "unlogged": ("ALTER TABLE {t} SET UNLOGGED", ConfigError, "UNLOGGED"),
    "real": ("ALTER TABLE {t} ALTER n TYPE real", ConfigError, "column n is real"),
    "scale": ("ALTER TABLE {t} ALTER m TYPE numeric(9,0)", WriteRejected, "keeps 0 digits"),
    "default": ("ALTER TABLE {t} ALTER n SET DEFAULT 5", ConfigError, "DEFAULT 5"),
    "rule": ("CREATE RULE gone AS ON DELETE TO {t} DO INSTEAD NOTHING", ConfigError, "rule gone"),
    "dropped": ("ALTER TABLE {t} DROP COLUMN n", ConfigError, "no column n"),
    "renamed": ("ALTER TABLE {t} RENAME TO {t}_old", ConfigError, "no table"),
    "again": (f"DROP TABLE {{t}}; CREATE TABLE {{t}} {ROWS}", ConfigError, "dropped and made again.*rebuild"),
    "no index": ("ALTER TABLE {t} DROP CONSTRAINT {t}_pkey", ConfigError, "42P10"),
}


@pytest.mark.parametrize("change", ALTERED)
def test_what_alter_table_breaks_under_a_running_worker_is_noticed_before_anything_is_lost(
    bench: Bench, change: str
) -> None:
    ddl, error, words = ALTERED[change]
    table = bench.table("id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, m numeric(9,2) DEFAULT 0")
    store = bench.store()
    plan: list[list[Write]] = [[Increment(table, {"id": k}, {"n": 1, "m": Decimal("0.25")})] for k in range(3)]
    bench.apply(store, *plan)
    bench.db.execute(ddl.format(t=table))
    with pytest.raises(error, match=f"(?s){words}"):
        bench.apply(store, *plan)
    assert bench.position() == 3


def test_an_altered_table_is_written_to_as_it_is_now(bench: Bench) -> None:
    """New triggers, foreign keys and defaults under a running worker put its writes into the log's order."""
    a, b = bench.table("id int PRIMARY KEY, x int", bench.name), bench.table("id int, n serial", bench.name + "_b")
    store = bench.store(tables=[a, b])
    bench.apply(store, [Upsert(a, {"id": n}, {"x": 0}) for n in range(3)])
    bench.db.execute(
        f"CREATE FUNCTION {a}_fn() RETURNS trigger LANGUAGE plpgsql AS "
        f"'BEGIN INSERT INTO {b} (id) VALUES (NEW.id); RETURN NEW; END'"
    )
    bench.db.execute(f"CREATE TRIGGER seen BEFORE UPDATE ON {a} FOR EACH ROW EXECUTE FUNCTION {a}_fn()")
    bench.apply(store, *[[Upsert(a, {"id": n}, {"x": n})] for n in (2, 0, 1, 2)])
    assert bench.rows(f"SELECT id FROM {b} ORDER BY n") == [(2,), (0,), (1,), (2,)]
    bench.db.execute(f"DROP TRIGGER seen ON {a}")
    child = bench.table(f"id int PRIMARY KEY, up int REFERENCES {a} ON DELETE CASCADE", bench.name + "_c")
    bench.apply(
        store,
        [Upsert(a, {"id": 7}), Upsert(child, {"id": 1}, {"up": 7})],
        [Delete(a, {"id": 7})],
        [Upsert(a, {"id": 7})],
    )
    assert bench.rows(f"SELECT * FROM {child}") == []


def test_a_table_altered_while_a_plan_is_on_its_way_is_looked_at_again(bench: Bench) -> None:
    """ALTER TABLE wins the lock: the plan, made for the old table, waits behind it."""
    table = bench.table("id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0")
    store = bench.store()
    plan: list[Write] = [Increment(table, {"id": k}, {"n": 1}) for k in range(3)]
    bench.apply(store, plan)
    errors: list[Exception] = []

    def run() -> None:
        try:
            bench.apply(store, plan)
        except LogsyncError as error:
            errors.append(error)

    with psycopg.connect(bench.dsn) as other:
        other.execute(f"ALTER TABLE public.{table} SET UNLOGGED")
        thread = threading.Thread(target=run)
        thread.start()
        until(busy(bench, f"%{table}%"))
        other.commit()
        thread.join(PATIENCE)
    assert "UNLOGGED" in str(errors[0])
    assert (bench.rows(), bench.position()) == ([(0, 1), (1, 1), (2, 1)], 1)


def test_what_changes_nothing_about_a_table_stops_nobody(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0")
    store = bench.store()
    plan: list[Write] = [Increment(table, {"id": k}, {"n": 1}) for k in range(200)]
    bench.apply(store, plan)
    looks = reads(store)
    for ddl in (f"VACUUM FREEZE {table}", f"ANALYZE {table}", f"CREATE INDEX ON {table} (n)", f"REINDEX TABLE {table}"):
        bench.db.execute(ddl)
        bench.apply(store, plan)
    assert looks == []
    for ddl in (f"VACUUM FULL {table}", f"GRANT SELECT ON {table} TO PUBLIC", f"ALTER TABLE {table} ADD t text"):
        bench.db.execute(ddl)
        bench.apply(store, plan)
    assert len(looks) == 3
    assert bench.rows(f"SELECT DISTINCT n FROM {table}") == [(8,)]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE IF NOT EXISTS {t}_2 PARTITION OF {t} FOR VALUES FROM (100) TO (200)",
        "ALTER TABLE {t} ADD COLUMN IF NOT EXISTS m int",
        "CREATE OR REPLACE TRIGGER nothing BEFORE UPDATE ON {t} FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DO $$ BEGIN ALTER TABLE {t} ADD COLUMN n2 int; EXCEPTION WHEN duplicate_column THEN NULL; END $$",
    ],
)
def test_what_a_sink_itself_does_to_its_tables_is_no_alteration(bench: Bench, ddl: str) -> None:
    """A sink that makes a partition for what comes first in a month, say."""
    table = bench.name
    bench.db.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, n bigint) PARTITION BY RANGE (id)")
    bench.db.execute(f"CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES FROM (0) TO (100)")
    store = bench.store()
    made = Sql(ddl.format(t=table))
    wrong: list[Write] = [Increment(table, {"id": 1}, {"n": 0.5})]  # type: ignore[dict-item]
    bench.apply(store, [Increment(table, {"id": n}, {"n": 1}) for n in range(3)], [made])
    bench.apply(store, [made], *[[Increment(table, {"id": n}, {"n": 1})] for n in range(3)])
    bench.db.execute(f"CREATE TABLE IF NOT EXISTS {table}_2 PARTITION OF {table} FOR VALUES FROM (100) TO (200)")
    with pytest.raises(WriteRejected) as caught:
        bench.apply(store, [made], wrong)
    assert caught.value.offset == 7
    bench.apply(store, [made], [Upsert(table, {"id": 150}, {"n": 7})])
    assert bench.rows(f"SELECT id, n FROM {table} ORDER BY id") == [(0, 2), (1, 2), (2, 2), (150, 7)]


def test_a_table_that_is_altered_all_the_time_is_waited_for(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 0})])
    store._catalog.is_still = lambda answer: False  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="altered 5 times"):
        bench.apply(store, [Upsert(table, {"id": 1})])
    assert (bench.rows(), bench.position()) == ([(0,)], 1)


def reads(store: Postgres) -> list[Any]:
    """Notes every look at the catalog."""
    notes: list[Any] = []
    read: Callable[..., None] = store._catalog.read

    def noted(*given: Any) -> None:
        notes.append(given)
        read(*given)

    store._catalog.read = noted  # type: ignore[method-assign]
    return notes


@pytest.fixture(autouse=True)
def _no_statement_left_open(bench: Bench) -> Iterator[None]:
    yield
    for store in bench.stores:
        store.close()
