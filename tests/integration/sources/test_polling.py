"""The outbox by polling: each row once, in an order that no late commit changes, and by one relay alone."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from logsync.core.codec import Encoded
from logsync.core.position import LogIdentity
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable
from logsync.outbox import DDL, Outbox
from logsync.settings import Settings
from logsync.sources.contract import Fact, Ledger, Unfit
from logsync.sources.postgres import PostgresLog, polling
from logsync.sources.postgres.polling import Polling
from tests.faults.fault import NotHere
from tests.faults.pgbouncer import PgBouncer
from tests.integration.sources.conftest import wait_for
from tests.unit import shop as events

outbox = Outbox(events.log)
LOG = LogIdentity("cluster", "topic", "id", 1)
Db = psycopg.Connection[Any]


class Place:
    """A database with an outbox, connections of its app, and origins that poll it."""

    def __init__(self, settings: Settings, dsn: str) -> None:
        self.settings = settings.model_copy(update={"postgres": SecretStr(dsn)})
        self.dsn = dsn
        self.db = self.connect()
        self.db.execute(DDL.encode())
        self.opened: list[Polling] = []

    def connect(self) -> Db:
        return psycopg.connect(self.dsn, autocommit=True, options="-c search_path=public")

    def create(self, name: str = "shop") -> None:
        db = Polling().connect(name, self.settings)
        try:
            polling.create(db, name)
        finally:
            db.close()

    def open(self, name: str = "shop") -> Polling:
        origin = Polling()
        self.opened.append(origin)
        origin.open(name, self.settings)
        return origin

    def put(self, *ids: str, db: Db | None = None) -> None:
        """In one transaction, or in the one that is open."""
        db = db or self.db
        with db.transaction():
            for each in ids:
                outbox.append(db, events.OrderPlaced(order="o", cents=1), id=each)

    def left(self) -> list[str]:
        return [each for (each,) in self.db.execute("SELECT id FROM logsync.outbox ORDER BY id")]


@pytest.fixture
def place(settings: Settings, unique: str) -> Iterator[Place]:
    given = settings.postgres.get_secret_value()
    with psycopg.connect(given, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {unique}".encode())
        place = Place(settings, given.rsplit("/", 1)[0] + f"/{unique}")
        place.create()
        yield place
        for origin in place.opened:
            origin.close()
        place.db.close()
        server.execute(f"DROP DATABASE {unique} WITH (FORCE)".encode())


def ids(facts: Any) -> list[str | None]:
    return [fact.id for fact in facts]


def take_all(origin: Polling, limit: int = 1000) -> list[Fact]:
    """What is committed now."""
    found, end = list[Fact](), origin.now()
    while not found or found[-1].at < end:
        found += origin.take(limit, 0).facts
    return found


def test_facts_are_the_events_with_their_ids_and_times_in_the_order_of_their_inserts(place: Place) -> None:
    place.put("c", "a")
    place.put("b")
    facts = take_all(place.open())
    assert ids(facts) == ["c", "a", "b"]
    rows = place.db.execute("SELECT key, value, time FROM logsync.outbox ORDER BY number").fetchall()
    for fact, (key, value, time) in zip(facts, rows, strict=True):
        assert isinstance(fact.of, Encoded)
        assert (fact.of.key, fact.of.value, fact.time) == (key, value, time)
        assert dict(fact.of.headers)["ce_id"] == (fact.id or "").encode()
    assert [fact.at for fact in facts] == sorted(fact.at for fact in facts)
    assert len({len(fact.at) for fact in facts}) == 1


def test_a_transaction_that_commits_late_is_seen_later_and_not_lost(place: Place) -> None:
    origin = place.open()
    with place.connect() as late, late.transaction():
        place.put("late", db=late)
        place.put("early")
        assert ids(take_all(origin)) == ["early"]
        assert ids(origin.take(10, 0).facts) == []
    assert ids(take_all(origin)) == ["late"]


def test_what_was_numbered_keeps_its_place_for_every_later_relay(place: Place) -> None:
    place.put("a", "b")
    first = place.open()
    before = take_all(first)
    first.close()
    place.put("c")
    second = place.open()
    after = take_all(second)
    assert after[:2] == before
    assert ids(after) == ["a", "b", "c"]


def test_numbers_go_on_when_the_outbox_is_empty_and_never_begin_again(place: Place) -> None:
    place.put("a", "b")
    origin = place.open()
    facts = take_all(origin)
    end = origin.take(10, 0).end or facts[-1].at
    origin.keep(Ledger(LOG, end, {}), ["a", "b"])
    assert place.left() == []
    origin.close()
    place.put("c")
    (later,) = take_all(place.open())
    assert later.at > facts[-1].at


def test_a_limit_cuts_and_nothing_is_taken_twice_or_left_out(place: Place) -> None:
    place.put(*(f"{number:03}" for number in range(50)))
    origin = place.open()
    found, ends = list[Fact](), list[str]()
    while len(found) < 50:
        portion = origin.take(7, 0)
        found += portion.facts
        assert portion.end == portion.facts[-1].at
        ends.append(portion.end)
    assert ids(found) == [f"{number:03}" for number in range(50)]
    assert ends == sorted(ends)


def test_the_ledger_takes_the_rows_that_are_named_with_it(place: Place) -> None:
    place.put("a", "b", "c", "d")
    origin = place.open()
    facts = take_all(origin)
    origin.keep(Ledger(LOG, facts[1].at, {}, term=3), ["a", "b"])
    assert place.left() == ["c", "d"]
    origin.keep(Ledger(LOG, facts[1].at, {}, term=3), ["c"])
    assert place.left() == ["d"]
    with pytest.raises(PositionConflict):
        origin.keep(Ledger(LOG, facts[2].at, {}, term=2), ["d"])
    assert place.left() == ["d"], "a relay that was replaced deletes nothing"


def test_the_end_is_told_also_of_an_outbox_that_is_empty(place: Place) -> None:
    """A relay that runs until the end waits for it."""
    origin = place.open()
    assert origin.take(0, 0).end is None, "nobody listens while a relay takes over"
    end = origin.take(10, 0).end
    assert end is not None
    assert end >= origin.now()
    assert origin.take(10, 0).end is None, "and once is enough"
    place.put("a")
    place.put("b")
    facts = take_all(origin)
    origin.confirm(facts[-1].at)
    origin.close()
    again = place.open()
    end = again.take(10, 0).end
    assert end is not None
    assert end >= again.now()


def test_events_of_many_writers_of_one_row_come_in_the_order_of_their_commits(place: Place) -> None:
    """Each locks the row, counts it up, and appends the count; the database and the outbox must agree."""
    place.db.execute("CREATE TABLE counter AS SELECT 0 AS n")
    origin = place.open()
    writers, each = 4, 40

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with place.connect() as db:
            for _ in range(each):
                with db.transaction():
                    if chance.random() < 0.5:  # an id of a transaction, long before the row is locked
                        db.execute("SELECT pg_current_xact_id()")
                    (count,) = db.execute("UPDATE counter SET n = n + 1 RETURNING n").fetchone() or (0,)
                    outbox.append(db, events.OrderPlaced(order="o", cents=count), id=f"{count:06}")

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    found = list[Fact]()
    while len(found) < writers * each:
        found += origin.take(13, 0.05).facts
    for thread in threads:
        thread.join()
    assert ids(found) == [f"{number:06}" for number in range(1, writers * each + 1)]


def test_one_relay_holds_the_outbox_and_a_second_one_is_told_who(place: Place) -> None:
    first = place.open()
    assert first.holds()
    with pytest.raises(StoreUnavailable, match=r"held by process \d+ logsync shop from 127\.0\.0\.1"):
        place.open()
    first.close()
    place.open()


def test_a_relay_whose_session_is_gone_writes_nothing_more(place: Place) -> None:
    place.put("a")
    first = place.open()
    (fact,) = take_all(first)
    place.db.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    for late in (lambda: first.keep(Ledger(LOG, fact.at, {}), ["a"]), first.holds, lambda: first.take(1, 0), first.now):
        with pytest.raises(StoreUnavailable):
            late()
    assert place.left() == ["a"]
    wait_for(lambda: place.db.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchone() is None)
    assert ids(take_all(place.open())) == ["a"]


def test_the_ledger_is_kept_and_one_of_an_earlier_term_does_not_replace_it(place: Place) -> None:
    origin = place.open()
    assert origin.ledger() is None
    origin.keep(Ledger(LOG, "0000-1", {0: (5, None)}, term=3))
    with pytest.raises(PositionConflict):
        origin.keep(Ledger(LOG, "", {}, term=2))
    origin.close()
    assert place.open().ledger() == Ledger(LOG, "0000-1", {0: (5, None)}, term=3)


def test_a_pooler_is_refused_because_it_would_give_the_lock_away(place: Place) -> None:
    try:
        pooler = PgBouncer(place.dsn)
    except NotHere as error:  # in CI it is installed
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    with pooler, pytest.raises(ConfigError, match="pooler between"):
        Polling(pooler.url).open("shop", place.settings)


def test_a_source_that_was_never_created_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"never created.*(?s:.)*logsync source create SOURCE"):
        place.open("other")


def test_an_outbox_has_one_source(place: Place) -> None:
    place.create()  # again
    with pytest.raises(ConfigError, match="source shop relays the outbox"):
        place.create("other")
    wal = PostgresLog(outbox=True).manager()
    with pytest.raises(ConfigError, match="source shop relays the outbox"):
        wal.create("other", place.settings)
    with pytest.raises(ConfigError, match="source shop is of another kind"):
        wal.create("shop", place.settings)
    with pytest.raises(ConfigError, match="created to poll"):
        PostgresLog(outbox=True).open("shop", place.settings)


def test_an_outbox_that_is_read_from_the_write_ahead_log_is_not_polled(place: Place) -> None:
    wal = PostgresLog(outbox=True).manager()
    Polling().manager().drop("shop", place.settings)
    name = place.db.info.dbname
    wal.create(name, place.settings)
    try:
        with pytest.raises(ConfigError, match=f"source {name} relays the outbox"):
            place.create("other")
        with pytest.raises(ConfigError, match=f"source {name} is of another kind"):
            place.create(name)
        with pytest.raises(ConfigError, match="never created"):
            place.open(name)
    finally:
        wal.drop(name, place.settings)


def test_large_rows_are_taken_a_few_at_a_time_and_none_is_passed_over(place: Place) -> None:
    sizes = [1 << 20, 3 << 20, 1 << 20, 5 << 20, 10, 10, 3 << 20]
    for number, size in enumerate(sizes):
        place.db.execute(
            "INSERT INTO logsync.outbox VALUES (%s, 't', 'k', %s, '[]', now())", (str(number), b"x" * size)
        )
    origin = place.open()
    parts = list[list[str | None]]()
    until = origin.now()
    while sum(map(len, parts)) < len(sizes):
        portion = origin.take(500, 1.0)
        parts.append([fact.id for fact in portion.facts])
        assert portion.end is not None
    assert portion.end == until
    assert [len(part) for part in parts] == [1, 1, 1, 1, 3]
    assert [each for part in parts for each in part] == [str(number) for number in range(len(sizes))]


def test_a_row_that_somebody_wrote_by_hand_is_no_event(place: Place) -> None:
    place.db.execute("INSERT INTO logsync.outbox VALUES ('x', 't', 'k', 'v', '{\"a\": 1}', now())")
    place.db.execute("INSERT INTO logsync.outbox VALUES ('y', 't', 'k', 'v', '[[\"a\", null]]', now())")
    assert [type(fact.of) for fact in take_all(place.open())] == [Unfit, Unfit]


def test_settings_of_the_role_change_nothing(place: Place) -> None:
    role = place.db.info.user
    name = place.db.info.dbname
    hostile = {
        "default_transaction_read_only": "on", "default_transaction_isolation": "serializable",
        "TimeZone": "'Asia/Tokyo'", "synchronous_commit": "off", "search_path": "logsync",
        "idle_session_timeout": "'1s'", "bytea_output": "escape",
    }  # fmt: skip
    place.put("a")
    for setting, value in hostile.items():
        place.db.execute(f"ALTER ROLE {role} IN DATABASE {name} SET {setting} = {value}".encode())
    try:
        origin = place.open()
        (fact,) = take_all(origin)
        origin.keep(Ledger(LOG, fact.at, {}), ["a"])
        assert place.left() == []
        assert fact.time.utcoffset() == timedelta(0)
    finally:
        place.db.execute(f"ALTER ROLE {role} IN DATABASE {name} RESET ALL".encode())
