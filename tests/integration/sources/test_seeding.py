"""Rows that stood there before the source was made: each in its place among the changes of the app."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

import psycopg
import pytest

from logsync.errors import ConfigError
from logsync.sources.contract import Change, Fact, Unfit
from logsync.sources.postgres import PostgresLog
from logsync.sources.postgres.seed import Seeded, prefix_of, seed
from tests.integration.sources.conftest import Shop, take, wait_for


def seeding(shop: Shop, origin: PostgresLog, chunks: int | None = None, **options: int) -> list[Seeded]:
    """So many transactions of it, or all."""
    db, stream = origin.connect(shop.name, shop.settings)
    try:
        return list(islice(seed(db, shop.name, origin.declared, **options), chunks))
    finally:
        stream.close()
        db.close()


def view(facts: Iterable[Fact]) -> dict[object, object]:
    """The table, as one who follows the facts has it."""
    rows: dict[object, object] = {}
    for fact in facts:
        assert isinstance(fact.of, Change), fact
        if fact.of.old is not None:
            rows.pop(fact.of.old["id"], None)
        if fact.of.new is not None:
            rows[fact.of.new["id"]] = fact.of.new["n"]
    return rows


@pytest.fixture
def origin(shop: Shop) -> PostgresLog:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY, n int)")
    shop.db.execute("INSERT INTO people SELECT g, 0 FROM generate_series(1, 25) AS g")
    return shop.origin(capture=["people"])


def test_it_is_told_in_chunks_and_goes_on_where_it_was_stopped(shop: Shop, origin: PostgresLog) -> None:
    assert seeding(shop, origin, 1, chunk=10) == [Seeded("people", 10, False)]
    assert seeding(shop, origin, chunk=10) == [Seeded("people", 20, False), Seeded("people", 25, True)]
    assert seeding(shop, origin, chunk=10) == [Seeded("people", 25, True)]
    shop.open(origin)
    facts, _ = take(origin, 25)
    assert [fact.of.seeded for fact in facts if isinstance(fact.of, Change)] == [True] * 25
    assert view(facts) == dict.fromkeys(range(1, 26), 0)
    places = [fact.at for fact in facts]
    assert places == sorted(set(places))


def test_values_are_those_that_a_stream_tells(shop: Shop) -> None:
    shop.db.execute(
        'CREATE TABLE v (k text, "Key" int, a bool, b timestamptz, c bytea, d jsonb, e text[], f float8, g char(3), '
        'h int GENERATED ALWAYS AS ("Key" + 1) STORED, PRIMARY KEY ("Key", k))'
    )
    insert = """INSERT INTO v VALUES (%s, 1, true, '2026-01-01 12:00+02', '\\x00ff', '{"a": "ä\\"b"}',
                '{"x,y",NULL}', 0.1, 'a'), (%s, 2, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""
    shop.db.execute(insert, ("old", "old"))
    origin = shop.open(shop.origin(capture=["v"]))
    shop.db.execute(insert, ("new", "new"))
    seeding(shop, origin, chunk=1)
    facts, _ = take(origin, 6)
    changes = [fact.of for fact in facts if isinstance(fact.of, Change)]
    told = {(change.new["k"], change.new["Key"], change.seeded): change.new for change in changes if change.new}
    for key in (1, 2):
        assert told["new", key, False] == told["new", key, True]
        assert {**told["old", key, True], "k": "new"} == told["new", key, False]
    assert told["old", 1, True]["b"] == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert told["old", 1, True]["a"] is True


def test_a_view_equals_its_table_whatever_an_app_changes_meanwhile(shop: Shop, origin: PostgresLog) -> None:
    shop.open(origin)
    ends, rng = threading.Event(), random.Random(7)

    def change(db: psycopg.Connection[tuple[object, ...]]) -> None:
        while not ends.is_set():
            one, n = rng.randint(1, 40), rng.randint(1, 1000)
            with db.transaction():
                db.execute("DELETE FROM people WHERE id = %s", (rng.randint(1, 40),))
                db.execute("INSERT INTO people VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET n = excluded.n", (one, n))

    app = shop.connect()
    thread = threading.Thread(target=change, args=(app,))
    thread.start()
    try:
        while not seeding(shop, origin, 1, chunk=1)[-1].done:
            pass
    finally:
        ends.set()
        thread.join()
        app.close()
    end, facts, told = origin.now(), list[Fact](), list[str]()

    def follow() -> None:
        portion = origin.take(1000, 0.1)
        facts.extend(portion.facts)
        told.extend([portion.end] if portion.end else [])

    wait_for(lambda: bool(told) and told[-1] >= end, keep=follow)
    assert view(facts) == dict(shop.db.execute("SELECT id, n FROM people").fetchall())


def test_a_row_that_is_being_told_cannot_be_changed_before_it_stands_in_the_log(
    shop: Shop, origin: PostgresLog
) -> None:
    """Else a change that is committed first would be followed by what the row was before it."""
    shop.open(origin)
    seeding(shop, origin, 1, chunk=1)
    blocker, app = shop.connect(), shop.connect(application_name="app")
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def waiting(name: str) -> bool:
        return shop.db.execute(f"{waits} AND application_name LIKE %s", (name,)).fetchone() == (1,)

    seeds = threading.Thread(target=lambda: seeding(shop, origin))
    changes = threading.Thread(target=lambda: app.execute("UPDATE people SET n = 5 WHERE id = 2"))
    with blocker.transaction():
        blocker.execute("LOCK TABLE logsync.seed IN EXCLUSIVE MODE")  # the rows are read, and progress cannot be moved
        seeds.start()
        wait_for(lambda: waiting("logsync%"))
        changes.start()
        wait_for(lambda: waiting("app") or not changes.is_alive())
    for thread in (seeds, changes):
        thread.join()
    assert view(take(origin, 26)[0])[2] == 5
    blocker.close()
    app.close()


def test_messages_of_others_and_of_transactions_that_failed_are_no_facts(shop: Shop, origin: PostgresLog) -> None:
    shop.open(origin)
    prefix = prefix_of(shop.name)
    shop.db.execute("SELECT pg_logical_emit_message(true, 'somebody', 'x')")
    shop.db.execute("SELECT pg_logical_emit_message(false, %s, 'x')", (prefix,))
    with shop.db.transaction(force_rollback=True):
        shop.db.execute("SELECT pg_logical_emit_message(true, %s, 'x')", (prefix,))
    shop.db.execute("SELECT pg_logical_emit_message(true, %s, '{}')", (prefix,))
    shop.db.execute("INSERT INTO people VALUES (99, 1)")
    forged, inserted = take(origin, 2)[0]
    assert isinstance(forged.of, Unfit)
    assert isinstance(inserted.of, Change)


def test_a_table_without_a_primary_key_or_one_that_is_not_captured_is_refused(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE t (id int); ALTER TABLE t REPLICA IDENTITY FULL; CREATE TABLE paid (id int)")
    origin = shop.origin(capture=["t"], append_only=["paid"])
    with pytest.raises(ConfigError, match="primary key"):
        seeding(shop, origin)
    db, stream = origin.connect(shop.name, shop.settings)
    with pytest.raises(ConfigError, match="paid"):
        list(seed(db, shop.name, origin.declared, ["paid"]))
    stream.close()
    db.close()


def test_a_slot_that_is_made_anew_wants_the_rows_again(shop: Shop, origin: PostgresLog) -> None:
    assert seeding(shop, origin)[-1].done
    shop.db.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
    )
    shop.adopt(origin)
    shop.open(origin)
    assert seeding(shop, origin)[-1] == Seeded("people", 25, True)
    assert len(take(origin, 25)[0]) == 25
