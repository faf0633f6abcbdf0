"""Who creates what, and when: G6."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from logsync.core.book import Book
from logsync.core.position import LogIdentity, Position
from logsync.errors import ConfigError
from logsync.settings import Settings
from logsync.stores.postgres import Postgres, Upsert
from logsync.stores.postgres.schema import SinkSchema
from logsync.testing.store_contract.making import parks, retries
from logsync.testing.store_contract.making import waiting as entry
from tests.waiting import PATIENCE

from .conftest import Bench


@pytest.fixture
def base(bench: Bench) -> Iterator[Bench]:
    """A database of its own, in which nobody has ever opened a store, and a role that may create nothing in it."""
    name, role = f"{bench.name}_base", f"{bench.name}_worker"
    bench.db.execute(f"CREATE DATABASE {name}")
    bench.db.execute(f"CREATE ROLE {role} LOGIN")
    dsn = bench.dsn.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=public") as db:
        bench.dsn, shared, bench.db = dsn, bench.db, db
        yield bench
        bench.db = shared
    for store in bench.stores:
        store.close()
    bench.db.execute(f"DROP DATABASE {name} WITH (FORCE)")
    bench.db.execute(f"DROP ROLE {role}")


def worker(bench: Bench) -> str:
    return bench.dsn.replace("logsync@", f"{bench.name}_worker@")


def test_workers_that_start_at_once_create_the_schema_once(base: Bench, tmp_path: Path) -> None:
    path = tmp_path / "schema.sql"
    path.write_text(
        f"CREATE TABLE IF NOT EXISTS {base.name} (id int);\n-- 100 %s; COMMIT\nINSERT INTO {base.name} VALUES (1);\n"
    )
    errors: list[Exception] = []
    barrier = threading.Barrier(4, timeout=PATIENCE)

    def start() -> None:
        store = Postgres(base.dsn, schema=path, tables=[base.name])
        barrier.wait()
        try:
            store.open(base.name, base.settings)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)
        store.close()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert base.rows("SELECT count(*) FROM logsync.applied_schema") == [(1,)]
    assert base.rows() == [(1,)]


def test_a_role_without_the_right_to_create_works_on_what_was_printed_for_it(base: Bench) -> None:
    sql = f"CREATE TABLE IF NOT EXISTS {base.name} (id int PRIMARY KEY);"
    with pytest.raises(ConfigError, match="permission denied") as caught:
        base.store(dsn=worker(base), schema=sql)
    assert "`logsync schema print SINK`" in str(caught.value)
    assert base.rows("SELECT to_regnamespace('logsync')") == [(None,)]

    printed = Postgres(schema=sql).schema()
    for _ in range(2):  # it may be run again
        base.db.execute(printed.encode())
    role = f"{base.name}_worker"
    base.db.execute(f"GRANT USAGE ON SCHEMA logsync TO {role}")
    base.db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA logsync, public TO {role}")
    base.db.execute(f"GRANT TRUNCATE ON {base.name} TO {role}")
    store = base.store(dsn=worker(base), schema=sql)
    base.apply(store, [Upsert(base.name, {"id": 1})])
    store.apply(parks(store.positions()[0], entry(1), to=2))
    store.apply(retries(store.positions()[0], still_parked=[entry(1)._replace(attempts=2)]))
    store.apply(retries(store.positions()[0], 1))
    assert store.sequences(0) == {}
    assert store.holds_data()
    store.wipe(base.book())
    assert not store.holds_data()

    with pytest.raises(ConfigError, match="permission denied") as caught:
        base.store(dsn=worker(base), schema=sql + f"ALTER TABLE {base.name} ADD IF NOT EXISTS n int;")
    assert "logsync schema print" in str(caught.value)


def test_a_changed_schema_is_applied_when_the_worker_starts_again(base: Bench) -> None:
    sql = f"CREATE TABLE IF NOT EXISTS {base.name} (id int PRIMARY KEY);"
    base.store(dsn=base.dsn, schema=sql)
    store = base.store(dsn=base.dsn, schema=sql + f"ALTER TABLE {base.name} ADD IF NOT EXISTS n int;")
    base.apply(store, [Upsert(base.name, {"id": 1}, {"n": 2})])
    assert base.rows() == [(1, 2)]


# What versions before parking created.
EARLIER = """
CREATE SCHEMA logsync;
CREATE TABLE logsync.position (sink text NOT NULL, partition int NOT NULL, epoch bigint NOT NULL,
    next_offset bigint NOT NULL, last_offset bigint, last_id text, leader_epoch int, PRIMARY KEY (sink, partition));
CREATE TABLE logsync.book (sink text PRIMARY KEY, revision bigint NOT NULL, body jsonb NOT NULL);
CREATE TABLE logsync.applied_schema (hash text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
"""


def test_a_database_that_an_earlier_version_made_is_brought_up_to_date_and_keeps_its_positions(base: Bench) -> None:
    base.db.execute(EARLIER)
    schema = SinkSchema(None)
    base.db.execute("INSERT INTO logsync.applied_schema (hash) VALUES (%s)", (schema.hash(),))
    book = Book(sink=base.name, environment="test", log=LogIdentity("cluster", "topic", "id", 1))
    base.db.execute("INSERT INTO logsync.book VALUES (%s, 1, %s)", (base.name, book.dump()))
    base.db.execute("INSERT INTO logsync.position VALUES (%s, 0, 1, 42, 41, 'id-41', 3)", (base.name,))
    base.db.execute(f"GRANT USAGE ON SCHEMA logsync TO {base.name}_worker")
    with pytest.raises(ConfigError, match="schema print"):
        base.store(dsn=worker(base), tables=[])

    store = base.store(dsn=base.dsn, tables=[])
    assert store.read_book() == book
    assert store.positions() == {0: Position(0, 42, 1, 41, "id-41", 3)}
    store.apply(parks(store.positions()[0], entry(42), to=43))
    store.apply(retries(store.positions()[0], 42))
    assert store.positions()[0].place == (1, 43, 1)


def test_a_sink_s_new_schema_does_not_stop_the_sinks_beside_it(base: Bench) -> None:
    """Altering logsync's own tables would wait for every transaction that writes them, and make others wait."""
    base.store(dsn=base.dsn, tables=[])
    with psycopg.connect(base.dsn) as busy:
        busy.execute("UPDATE logsync.position SET epoch = epoch; DELETE FROM logsync.parked")
        base.store(timeout=60.0, dsn=base.dsn, schema=f"CREATE TABLE IF NOT EXISTS public.{base.name} (id int);")


def test_a_schema_that_fails_leaves_nothing_behind(base: Bench) -> None:
    with pytest.raises(ConfigError, match="SQLSTATE 42601"):
        base.store(dsn=base.dsn, schema="CREATE TABLE half (); CREATE TABEL x ();")
    assert base.rows("SELECT to_regclass('half'), to_regnamespace('logsync')") == [(None, None)]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("schema.sql", r"pass Path\('schema.sql'\)"),
        (Path("/nowhere/schema.sql"), "cannot read the sink's schema"),
        ("CREATE TABLE x (); COMMIT;", "COMMIT"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(settings: Settings, schema: str | Path, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Postgres(schema=schema).open("sink", settings)


def test_wipe_takes_what_the_sink_owns_and_nothing_else(bench: Bench) -> None:
    parent, other = bench.table("id int PRIMARY KEY"), bench.table("id int", bench.name + "_other")
    child = bench.table(f"id int REFERENCES {parent}", bench.name + "_child")
    store = bench.store(tables=[parent, child, "table_that_does_not_exist"])
    assert not store.holds_data()
    bench.db.execute(f"INSERT INTO {parent} VALUES (1); INSERT INTO {child} VALUES (1); INSERT INTO {other} VALUES (1)")
    assert store.holds_data()
    store.wipe(bench.book())
    assert not store.holds_data()
    assert bench.rows(f"SELECT * FROM {other}") == [(1,)]


def test_tables_named_like_logsync_s_own_are_the_sink_s(base: Bench) -> None:
    """The role is called logsync too, so that Postgres itself would look into schema logsync first."""
    sql = "CREATE TABLE IF NOT EXISTS book (id int PRIMARY KEY, title text)"
    for _ in range(2):
        store = base.store(dsn=base.dsn, schema=sql, tables=["book"])
    base.apply(store, [Upsert("book", {"id": 1}, {"title": "x"})])
    assert base.rows("SELECT * FROM public.book") == [(1, "x")]
    store.wipe(base.book())
    assert store.read_book()
