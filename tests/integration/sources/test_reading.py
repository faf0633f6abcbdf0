"""Facts come out of a real Postgres once, in the order of their commits, until they are confirmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

from logsync.core.codec import Encoded
from logsync.sources.contract import Change, Unfit
from tests.integration.sources.conftest import Shop, confirm, ids, rows, take, wait_for


def test_events_of_the_outbox_come_as_they_were_put_there(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1", "e2")
    facts, _ = take(origin, 2)
    assert ids(facts) == ["e1", "e2"]
    assert facts[0].of == Encoded(b"k", b"e1", [("ce_id", b"e1")])
    assert abs((datetime.now(UTC) - facts[0].time).total_seconds()) < 3600


def test_what_was_confirmed_is_never_read_again_and_what_was_not_is(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1", "e2")
    first, end = take(origin, 2)
    confirm(origin, first, end)
    shop.put("e3")
    shop.put("e4")
    second, _ = take(origin, 2)
    for _ in range(2):
        shop.open(origin)
        again, end = take(origin, 2)
        assert again == second
    confirm(origin, again, end)
    shop.put("e5")
    shop.open(origin)
    assert ids(take(origin, 1)[0]) == ["e5"]


def test_confirmed_events_leave_the_outbox_and_others_stay(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1")
    facts, end = take(origin, 1)
    shop.put("e2")
    confirm(origin, facts, end)
    assert shop.db.execute("SELECT id FROM logsync.outbox").fetchall() == [("e2",)]
    assert ids(take(origin, 1)[0]) == ["e2"]


def test_rows_that_were_there_before_the_source_was_made_are_not_read_and_the_outbox_is(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int)")
    shop.db.execute("INSERT INTO paid VALUES (1)")
    shop.put("before")
    origin = shop.open(shop.origin(outbox=True, append_only=["paid"]))
    shop.db.execute("INSERT INTO paid VALUES (2)")
    first, second = take(origin, 2)[0]
    assert first.id == "before"
    assert rows([second]) == [("insert", {"id": 2})]


def test_the_order_is_that_of_the_commits(shop: Shop) -> None:
    """Ids were given out, and rows written, in another one: what a cursor over them loses."""
    origin = shop.open(shop.origin())
    late = shop.connect()
    with late.transaction():
        shop.put("late", db=late)
        shop.put("early")
    shop.put("last")
    facts, _ = take(origin, 3)
    assert ids(facts) == ["early", "late", "last"]
    assert [fact.at for fact in facts] == sorted(fact.at for fact in facts)
    late.close()


def test_what_was_rolled_back_is_no_fact(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    with shop.db.transaction(force_rollback=True):
        shop.put("never")
    with shop.db.transaction():
        shop.put("kept")
        with shop.db.transaction(force_rollback=True):
            shop.put("savepoint")
    assert ids(take(origin, 1)[0]) == ["kept"]


def test_changes_of_a_table_are_told_with_values_in_python(shop: Shop) -> None:
    shop.db.execute(
        "CREATE TABLE people (id int PRIMARY KEY, name text, owes numeric, born date, tags text[], doc jsonb)"
    )
    origin = shop.open(shop.origin(capture=["people"]))
    shop.db.execute("""INSERT INTO people VALUES (1, 'ann', 1.10, '1999-12-31', '{a,NULL}', '{"a": [1]}')""")
    shop.db.execute("UPDATE people SET name = NULL")
    shop.db.execute("UPDATE people SET id = 2")
    shop.db.execute("DELETE FROM people")
    facts, _ = take(origin, 4)
    row = {
        "id": 1, "name": "ann", "owes": Decimal("1.10"), "born": datetime(1999, 12, 31).date(),  # noqa: DTZ001
        "tags": ["a", None], "doc": {"a": [1]},
    }  # fmt: skip
    assert rows(facts) == [
        ("insert", row),
        ("update", {**row, "name": None}),
        ("update", {**row, "name": None, "id": 2}),
        ("delete", {"id": 2}),
    ]
    assert [fact.of.old for fact in facts if isinstance(fact.of, Change)] == [None, {"id": 1}, {"id": 1}, {"id": 2}]
    assert {fact.id for fact in facts} == {None}


def test_settings_of_role_and_database_change_no_value(shop: Shop) -> None:
    for name, value in (
        *(("TimeZone", "Asia/Tokyo"), ("DateStyle", "SQL, DMY"), ("IntervalStyle", "iso_8601")),
        *(("bytea_output", "escape"), ("extra_float_digits", "-10"), ("xmlbinary", "hex")),
    ):
        shop.db.execute(f"ALTER DATABASE {shop.name} SET {name} = '{value}'")
    shop.db.execute("CREATE TABLE v (a timestamptz, b date, c interval, d bytea, e float8)")
    origin = shop.open(shop.origin(append_only=["v"]))
    shop.db.execute("INSERT INTO v VALUES ('2026-02-01 12:00+00', '2026-02-01', '-1 day 5 s', '\\x00ff', 0.1)")
    ((_, row),) = rows(take(origin, 1)[0])
    assert row == {
        "a": datetime(2026, 2, 1, 12, tzinfo=UTC),
        "b": datetime(2026, 2, 1).date(),  # noqa: DTZ001
        "c": "-1 days +00:00:05",
        "d": b"\x00\xff",
        "e": 0.1,
    }


def test_an_append_only_table_needs_no_key_and_tells_inserts_only(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (amount int)")
    origin = shop.open(shop.origin(append_only=["paid"]))
    shop.db.execute("INSERT INTO paid VALUES (1)")
    shop.db.execute("UPDATE paid SET amount = 2")
    shop.db.execute("DELETE FROM paid")
    shop.db.execute("TRUNCATE paid")
    shop.db.execute("INSERT INTO paid VALUES (3)")
    assert rows(take(origin, 2)[0]) == [("insert", {"amount": 1}), ("insert", {"amount": 3})]


def test_rows_of_partitions_are_rows_of_their_table(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    shop.db.execute("CREATE TABLE paid_1 PARTITION OF paid FOR VALUES FROM (0) TO (10)")
    origin = shop.open(shop.origin(capture=["paid"]))
    shop.db.execute("INSERT INTO paid VALUES (1)")
    shop.db.execute("CREATE TABLE paid_2 PARTITION OF paid FOR VALUES FROM (10) TO (20)")
    shop.db.execute("INSERT INTO paid VALUES (11)")
    facts, _ = take(origin, 2)
    assert rows(facts) == [("insert", {"id": 1}), ("insert", {"id": 11})]
    assert {fact.of.table for fact in facts if isinstance(fact.of, Change)} == {"paid"}


def test_a_copy_writes_many_rows_at_one_lsn_and_each_has_its_place(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int)")
    origin = shop.open(shop.origin(append_only=["paid"]))
    with shop.db.cursor().copy("COPY paid FROM STDIN") as copy:
        for n in range(500):
            copy.write_row((n,))
    facts, _ = take(origin, 500)
    assert [row["id"] for _, row in rows(facts)] == list(range(500))
    places = [fact.at for fact in facts]
    assert places == sorted(set(places))
    assert len({place.rpartition(".")[0] for place in places}) < len(places)
    shop.open(origin)
    assert [fact.at for fact in take(origin, 500)[0]] == places


def test_a_place_stays_what_it_is_when_a_table_joins_the_source(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int)")
    origin = shop.open(shop.origin())
    with shop.db.transaction():
        shop.db.execute("INSERT INTO paid VALUES (1)")
        shop.put("e1")
    before = take(origin, 1)[0][-1].at
    origin.close()
    wait_for(lambda: shop.reader() is None)
    wider = shop.open(shop.origin(outbox=True, append_only=["paid"]))
    assert take(wider, 1)[0][-1].at == before


def test_columns_that_are_added_and_dropped_in_the_middle_are_told_as_they_were(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
    origin = shop.open(shop.origin(capture=["people"]))
    shop.db.execute("INSERT INTO people VALUES (1, 'ann')")
    shop.db.execute("ALTER TABLE people ADD COLUMN age int DEFAULT 7")
    shop.db.execute("INSERT INTO people VALUES (2, 'bob', 8)")
    with shop.db.transaction():
        shop.db.execute("INSERT INTO people VALUES (3, 'eve', 9)")
        shop.db.execute("ALTER TABLE people DROP COLUMN name")
        shop.db.execute("INSERT INTO people VALUES (4, 10)")
    shop.db.execute("ALTER TABLE people RENAME TO folk")
    shop.db.execute("INSERT INTO folk VALUES (5, 11)")
    facts, _ = take(origin, 5)
    assert [row for _, row in rows(facts)] == [
        {"id": 1, "name": "ann"},
        {"id": 2, "name": "bob", "age": 8},
        {"id": 3, "name": "eve", "age": 9},
        {"id": 4, "age": 10},
        {"id": 5, "age": 11},
    ]


def test_a_large_value_that_an_update_left_alone_comes_from_the_whole_old_row_or_is_told_to_be_missing(
    shop: Shop,
) -> None:
    shop.db.execute("CREATE TABLE docs (id int PRIMARY KEY, body text, n int)")
    shop.db.execute("ALTER TABLE docs ALTER COLUMN body SET STORAGE EXTERNAL")
    origin = shop.open(shop.origin(capture=["docs"]))
    body = "x" * 100_000
    shop.db.execute("INSERT INTO docs VALUES (1, %s, 0)", (body,))
    shop.db.execute("UPDATE docs SET n = 1")
    shop.db.execute("ALTER TABLE docs REPLICA IDENTITY FULL")
    shop.db.execute("UPDATE docs SET n = 2")
    facts, _ = take(origin, 3)
    assert rows([facts[0], facts[2]]) == [
        ("insert", {"id": 1, "body": body, "n": 0}),
        ("update", {"id": 1, "body": body, "n": 2}),
    ]
    assert isinstance(facts[1].of, Unfit)
    assert "body" in facts[1].of.why


def test_a_truncate_is_told_at_its_place(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY)")
    origin = shop.open(shop.origin(capture=["people"]))
    shop.db.execute("INSERT INTO people VALUES (1)")
    shop.db.execute("TRUNCATE people")
    facts, _ = take(origin, 2)
    assert isinstance(facts[1].of, Unfit)
    assert "people" in facts[1].of.why


READER = """
import os, signal, sys
from logsync.settings import Settings
from logsync.sources.postgres import PostgresLog
from tests.integration.sources.conftest import confirm, take
origin = PostgresLog(sys.argv[1], outbox=True)
origin.open(sys.argv[2], Settings(_env_file=None))
facts, end = take(origin, 2)
confirm(origin, facts, end)
print("confirmed", flush=True)
take(origin, 1)
print("took", flush=True)
signal.pause()
"""


def test_a_reader_that_is_killed_leaves_what_it_did_not_confirm_to_the_next(shop: Shop) -> None:
    origin = shop.origin()
    shop.put("e1", "e2")
    child = subprocess.Popen(
        [sys.executable, "-c", READER, shop.url, shop.name], stdout=subprocess.PIPE, env=os.environ, text=True
    )
    try:
        assert child.stdout
        assert child.stdout.readline() == "confirmed\n"
        shop.put("e3")
        assert child.stdout.readline() == "took\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    shop.open(origin)
    kept = origin.ledger()
    facts, _ = take(origin, 1)
    assert ids(facts) == ["e3"]
    assert kept
    assert kept.floor < facts[0].at
