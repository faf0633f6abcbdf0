"""What a source does not begin with, and what makes it halt: by name, and with the command that mends it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreUnavailable
from logsync.sources.contract import Ledger
from logsync.sources.postgres import PostgresLog
from logsync.sources.postgres.declared import names_of
from logsync.sources.postgres.stream import Stream
from tests.integration.sources.conftest import LOG, Shop, confirm, ids, rows, take, wait_for


def refused(call: Callable[[], object], *words: str, kind: type[LogsyncError] = ConfigError) -> None:
    """By an error that says all of this, in its message or in what mends it."""
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    assert caught.value.fix or kind is StoreUnavailable


def slot(shop: Shop) -> str:
    return names_of(shop.name).slot


def inserts(shop: Shop) -> str:
    return names_of(shop.name).inserts


def drop_slot(shop: Shop) -> None:
    shop.db.execute("SELECT pg_drop_replication_slot(%s)", (slot(shop),))


# To create one


def test_a_table_that_is_not_there(shop: Shop) -> None:
    refused(lambda: shop.origin(append_only=["nothing"]), "nothing", "create it")


@pytest.mark.parametrize(
    ("ddl", "what"),
    [
        ("CREATE VIEW t AS SELECT 1 AS id", "a view"),
        ("CREATE UNLOGGED TABLE t (id int)", "unlogged"),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS id", "a view"),
    ],
)
def test_what_leaves_nothing_in_the_log(shop: Shop, ddl: str, what: str) -> None:
    shop.db.execute(ddl)
    refused(lambda: shop.origin(append_only=["t"]), "t is", what)


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (id int)",
        "CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY NOTHING",
        "CREATE TABLE t (id int) PARTITION BY RANGE (id); CREATE TABLE u PARTITION OF t FOR VALUES FROM (0) TO (9)",
    ],
)
def test_changes_of_a_table_without_replica_identity(shop: Shop, ddl: str) -> None:
    """Published, every UPDATE of the app itself would fail."""
    shop.db.execute(ddl)
    refused(lambda: shop.origin(capture=["t"]), "replica identity", "REPLICA IDENTITY FULL")
    shop.db.execute("INSERT INTO t VALUES (1); UPDATE t SET id = 2")


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (id int); ALTER TABLE t REPLICA IDENTITY FULL",
        "CREATE TABLE t (id int NOT NULL UNIQUE); ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key",
    ],
)
def test_every_replica_identity_will_do(shop: Shop, ddl: str) -> None:
    shop.db.execute(ddl)
    origin = shop.open(shop.origin(capture=["t"]))
    shop.db.execute("INSERT INTO t VALUES (1)")
    shop.db.execute("UPDATE t SET id = 2")
    shop.db.execute("DELETE FROM t")
    assert rows(take(origin, 3)[0]) == [("insert", {"id": 1}), ("update", {"id": 2}), ("delete", {"id": 2})]


def test_a_name_that_another_database_of_the_server_has(shop: Shop, settings: Any) -> None:
    shop.origin()
    with psycopg.connect(settings.postgres.get_secret_value(), autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {shop.name}; CREATE TABLE {shop.name}.t (id int)")
        elsewhere = PostgresLog(settings.postgres.get_secret_value(), append_only=[f"{shop.name}.t"])
        refused(lambda: elsewhere.open(shop.name, settings), shop.name, "another name")
        refused(lambda: shop.create(elsewhere), shop.name, "another name")
        db.execute(f"DROP SCHEMA {shop.name} CASCADE")


def test_a_role_without_the_right_to_replicate(shop: Shop) -> None:
    role = f"{shop.name}_app"
    shop.db.execute(f"CREATE ROLE {role} LOGIN")
    try:
        origin = PostgresLog(shop.url.replace("logsync@", f"{role}@"), outbox=True)
        refused(lambda: origin.connect(shop.name, shop.settings), "write-ahead log", "REPLICATION")
    finally:
        shop.db.execute(f"DROP ROLE {role}")


def test_an_open_transaction_delays_the_slot_and_is_named(shop: Shop) -> None:
    busy = shop.connect(application_name="nightly")
    with busy.transaction():
        shop.put("e1", db=busy)
        impatient = shop.settings.model_copy(update={"store_timeout": 2.0})
        shop.settings, patient = impatient, shop.settings
        refused(lambda: shop.origin(), "nightly", kind=StoreUnavailable)
        shop.settings = patient
    busy.close()
    origin = shop.open(shop.origin())
    shop.put("e2")
    assert ids(take(origin, 2)[0]) == ["e1", "e2"]


def test_creating_it_again_keeps_what_is_whole(shop: Shop) -> None:
    origin = shop.origin()
    shop.put("e1")
    shop.create(origin)
    shop.open(origin)
    assert ids(take(origin, 1)[0]) == ["e1"]
    refused(lambda: shop.create(origin), "held by", kind=StoreUnavailable)


def test_creating_it_again_publishes_what_is_declared_now(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int)")
    shop.origin()
    wider = shop.origin(made=False, outbox=True, append_only=["paid"])
    refused(lambda: wider.open(shop.name, shop.settings), "paid", "source create")
    shop.create(wider)
    shop.open(wider)
    shop.db.execute("INSERT INTO paid VALUES (1)")
    assert rows(take(wider, 1)[0]) == [("insert", {"id": 1})]


def test_dropping_it_leaves_nothing_but_the_outbox(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1")
    refused(lambda: origin.manager().drop(shop.name, shop.settings), "held by", kind=StoreUnavailable)
    origin.close()
    wait_for(lambda: shop.reader() is None)
    origin.manager().drop(shop.name, shop.settings)
    for relation in ("pg_publication", "pg_replication_slots WHERE database = current_database()", "logsync.source"):
        assert shop.db.execute(f"SELECT count(*) FROM {relation}").fetchone() == (0,)
    assert shop.left() == 1
    refused(lambda: origin.open(shop.name, shop.settings), "never created", "source create")


# To read it


def test_one_that_was_never_created(shop: Shop) -> None:
    origin = shop.origin(made=False)
    refused(lambda: origin.open(shop.name, shop.settings), "never created", "source create SOURCE")
    assert shop.db.execute(
        "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
    ).fetchone() == (0,)


def test_one_that_somebody_else_reads(shop: Shop) -> None:
    first = shop.open(shop.origin())
    second = shop.origin(made=False)
    refused(lambda: second.open(shop.name, shop.settings), f"logsync {shop.name}", kind=StoreUnavailable)
    assert first.holds()
    shop.put("e1")
    assert ids(take(first, 1)[0]) == ["e1"]


def test_a_slot_that_is_gone(shop: Shop) -> None:
    origin = shop.origin()
    drop_slot(shop)
    refused(
        lambda: origin.open(shop.name, shop.settings),
        "gone",
        "source adopt",
        "what still stands in the outbox is relayed",
    )
    refused(lambda: shop.create(origin), "gone", "source adopt")  # a deployment that creates it each time hides nothing


def test_a_slot_of_another_kind(shop: Shop) -> None:
    origin = shop.origin()
    drop_slot(shop)
    shop.db.execute("SELECT pg_create_physical_replication_slot(%s)", (slot(shop),))
    try:
        refused(lambda: origin.open(shop.name, shop.settings), "not ours")
    finally:
        drop_slot(shop)


def test_a_slot_that_is_lost(shop: Shop) -> None:
    """The server removes what a slot holds back beyond its limit, and the slot with it."""
    origin = shop.origin()
    name = slot(shop)
    shop.db.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    shop.db.execute("SELECT pg_reload_conf()")
    try:
        for _ in range(3):
            shop.db.execute("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000)), pg_switch_wal()")
            shop.db.execute("CHECKPOINT")
        found = shop.db.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", (name,)).fetchone()
        assert found == ("lost",)
        refused(
            lambda: origin.open(shop.name, shop.settings),
            "lost",
            "source adopt",
            "what still stands in the outbox is relayed",
        )
        refused(lambda: shop.create(origin), "lost", "source adopt")
    finally:
        shop.db.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        shop.db.execute("SELECT pg_reload_conf()")
    shop.adopt(origin)
    shop.open(origin)
    shop.put("e1")
    assert ids(take(origin, 1)[0]) == ["e1"]


CHANGES = {
    "dropped": "DROP PUBLICATION {}",
    "another action": "ALTER PUBLICATION {} SET (publish = 'insert, update')",
    "a filter": "ALTER PUBLICATION {} SET TABLE logsync.outbox WHERE (id <> 'e1')",
    "a table taken out": "ALTER PUBLICATION {} DROP TABLE logsync.outbox",
    "a table taken out and put in again": "ALTER PUBLICATION {0} DROP TABLE logsync.outbox;"
    "ALTER PUBLICATION {0} ADD TABLE logsync.outbox",
    "an action taken away and given again": "ALTER PUBLICATION {0} SET (publish = '');"
    "ALTER PUBLICATION {0} SET (publish = 'insert')",
    "a schema put in": "ALTER PUBLICATION {} ADD TABLES IN SCHEMA public",
    "made anew": "DROP PUBLICATION {0}; CREATE PUBLICATION {0} FOR TABLE logsync.outbox WITH (publish = 'insert')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_publication_that_was_changed_confirms_nothing_and_opens_no_more(shop: Shop, change: str) -> None:
    """Rows that were committed while a table was out of it vanish without a word."""
    origin = shop.open(shop.origin())
    shop.put("e1")
    facts, end = take(origin, 1)
    shop.db.execute(CHANGES[change].format(inserts(shop)))
    refused(
        lambda: confirm(origin, facts, end),
        "publication",
        "source create",
        "what still stands in the outbox is relayed",
    )
    assert shop.left() == 1
    origin.close()
    wait_for(lambda: shop.reader() is None)
    refused(
        lambda: origin.open(shop.name, shop.settings),
        "publication",
        "source create",
        "what still stands in the outbox is relayed",
    )
    refused(lambda: shop.create(origin), "publication", "source create SOURCE --yes")
    origin.manager().create(shop.name, shop.settings, anew=True)
    shop.put("e2")
    facts, end = take(shop.open(origin), 2)
    assert ids(facts) == ["e1", "e2"]
    audit = shop.db.execute("SELECT audit::jsonb -> -1 ->> 'anew' FROM logsync.source").fetchone()
    assert audit == ("true",)


def test_a_table_that_was_dropped_and_made_anew(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int)")
    origin = shop.origin(append_only=["paid"])
    shop.db.execute("DROP TABLE paid; CREATE TABLE paid (id int)")
    refused(lambda: origin.open(shop.name, shop.settings), "publication", "source create")


def test_a_table_that_lost_its_replica_identity(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY)")
    origin = shop.origin(capture=["people"])
    shop.db.execute("ALTER TABLE people DROP CONSTRAINT people_pkey")
    refused(lambda: origin.open(shop.name, shop.settings), "people", "replica identity")


def test_rights_that_a_relay_lacks_are_named_and_these_are_enough(shop: Shop) -> None:
    role = f"{shop.name}_relay"
    shop.origin()
    shop.db.execute(f"CREATE ROLE {role} LOGIN REPLICATION")
    origin = PostgresLog(shop.url.replace("logsync@", f"{role}@"), outbox=True)
    shop.opened.append(origin)
    try:
        refused(lambda: shop.open(origin), "permission denied", role)
        shop.db.execute(f"GRANT USAGE ON SCHEMA logsync TO {role}")
        shop.db.execute(f"GRANT SELECT, UPDATE ON logsync.source TO {role}")
        shop.open(origin)
        shop.put("e1")
        facts, end = take(origin, 1)
        refused(lambda: confirm(origin, facts, end), "permission denied", role)
        shop.db.execute(f"GRANT SELECT, DELETE ON logsync.outbox TO {role}")
        confirm(origin, facts, end)
        assert shop.left() == 0
        origin.close()
    finally:
        wait_for(lambda: shop.reader() is None)
        shop.db.execute(f"DROP OWNED BY {role}")
        shop.db.execute(f"DROP ROLE {role}")


# The ledger


def test_a_term_that_is_over_writes_no_ledger(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    origin.keep(Ledger(LOG, "0000-b", {0: (5, None)}, term=3))
    origin.keep(Ledger(LOG, "0000-c", {0: (6, None)}, term=3))
    refused(lambda: origin.keep(Ledger(LOG, "0000-d", {}, term=2)), "taken over", kind=PositionConflict)
    shop.open(origin)
    assert origin.ledger() == Ledger(LOG, "0000-c", {0: (6, None)}, term=3)


def test_the_ledger_is_that_of_the_moment_when_the_hold_began(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another relay may have come and gone since it was looked at."""
    origin, begins = shop.origin(), Stream.start
    other = shop.open(shop.origin(made=False))
    other.keep(Ledger(LOG, "0000-b", {}, term=3))
    kept = shop.db.execute("SELECT kept FROM logsync.source").fetchone()
    shop.db.execute("UPDATE logsync.source SET kept = NULL")
    other.close()

    def after_another(*arguments: Any) -> None:
        assert kept
        shop.db.execute("UPDATE logsync.source SET kept = %s", (json.dumps(kept[0]),))
        begins(*arguments)

    monkeypatch.setattr(Stream, "start", after_another)
    shop.open(origin)
    assert origin.ledger() == Ledger(LOG, "0000-b", {}, term=3)


def test_a_database_that_is_behind_what_the_log_has(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    origin.keep(Ledger(LOG, "0000-00ffffff00000000.0000000000000000.00000000", {}))
    origin.close()
    wait_for(lambda: shop.reader() is None)
    refused(lambda: origin.open(shop.name, shop.settings), "restored or replaced", "FFFFFF/0", "source adopt")


@pytest.mark.parametrize(("field", "value"), [("system", '"1"'), ("timeline", "7")])
def test_a_database_of_another_server_until_a_person_accepts_it(shop: Shop, field: str, value: str) -> None:
    origin = shop.origin()
    shop.db.execute(f"UPDATE logsync.source SET made = jsonb_set(made::jsonb, '{{{field}}}', '{value}')::json")
    refused(lambda: origin.open(shop.name, shop.settings), "restored or replaced", "source adopt")
    shop.create(origin)
    refused(lambda: origin.open(shop.name, shop.settings), "restored or replaced")
    origin.manager().adopt(shop.name, shop.settings, Ledger(LOG, "0000-b", {}, 4, 1), "restored on Monday")
    shop.open(origin)
    assert origin.ledger() == Ledger(LOG, "0000-b", {}, 4, 1)
    found = shop.db.execute("SELECT audit::text FROM logsync.source").fetchone()
    assert found
    assert re.search(r"restored on Monday", found[0])


def test_a_fact_that_a_person_skips_is_told_with_the_reason(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    origin.manager().skip(shop.name, shop.settings, "0000-a", "broken by the import")
    assert origin.skips() == {}
    shop.open(origin)
    assert origin.skips() == {"0000-a": "broken by the import"}
