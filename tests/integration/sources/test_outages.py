"""The database goes away, the reader falls silent, a transaction is large: nothing is lost, and nobody is held up."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from devstack import Stack
from logsync.errors import LogsyncError, StoreUnavailable
from logsync.sources.contract import Fact
from logsync.sources.postgres import PostgresLog
from tests.integration.sources.conftest import Shop, confirm, ids, take, wait_for


def restart(stack: Stack, origin: PostgresLog) -> LogsyncError:
    """While a relay reads that has no room for more. Returns what it is told."""
    failed: list[LogsyncError] = []

    def keep_taking() -> None:
        try:
            while True:
                origin.take(0, 0.2)
        except LogsyncError as error:
            failed.append(error)

    reader = threading.Thread(target=keep_taking)
    reader.start()
    stack.restart("postgres")
    reader.join()
    return failed[0]


def after(origin: PostgresLog, facts: Sequence[Fact]) -> list[Fact]:
    """Those that the log does not have by the ledger: a server may forget what was confirmed last."""
    kept = origin.ledger()
    return [fact for fact in facts if kept is None or fact.at > kept.floor]


def test_a_restart_in_the_middle_loses_and_doubles_nothing(shop: Shop, stack: Stack) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1")
    shop.put("e2")
    facts, end = take(origin, 2)
    confirm(origin, facts, end)
    shop.put("e3")
    take(origin, 1)
    assert isinstance(restart(stack, origin), StoreUnavailable)
    shop.db = shop.connect()
    shop.put("e4")
    shop.open(origin)
    facts = []
    while len(after(origin, facts)) < 2:
        facts += take(origin, 1)[0]
    assert ids(after(origin, facts)) == ["e3", "e4"]


def test_a_crash_of_the_server_loses_and_doubles_nothing(shop: Shop, stack: Stack) -> None:
    """It may forget that something was confirmed: then the ledger says that the log has it."""
    origin = shop.open(shop.origin())
    shop.put("e1")
    facts, end = take(origin, 1)
    confirm(origin, facts, end)
    shop.put("e2")
    stack.kill("postgres")
    stack.up(only=["postgres"])
    shop.db = shop.connect()
    shop.open(origin)
    facts = []
    while not after(origin, facts):
        facts += take(origin, 1)[0]
    assert ids(after(origin, facts)) == ["e2"]


def test_a_fast_shutdown_is_not_held_up_by_what_is_not_confirmed(shop: Shop, stack: Stack) -> None:
    """The server waits until streams are confirmed: the reader lets go when it sees its other connection end."""
    origin = shop.open(shop.origin())
    for n in range(200):
        shop.put(f"e{n}")
    take(origin, 100)
    assert isinstance(restart(stack, origin), StoreUnavailable)
    assert "database system was shut down at" in stack.log("postgres").read_text().rpartition("starting PostgreSQL")[2]
    shop.db = shop.connect()
    shop.open(origin)
    assert len(take(origin, 200)[0]) == 200


def test_a_reader_that_was_closed_holds_nothing(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1")
    take(origin, 1)
    origin.close()
    origin.close()
    wait_for(lambda: shop.reader() is None)
    with pytest.raises(StoreUnavailable, match="not opened"):
        origin.take(1, 0)


def test_the_hold_is_gone_when_the_server_ends_the_stream(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    assert origin.holds()
    shop.db.execute("SELECT pg_terminate_backend(%s)", (shop.reader(),))
    wait_for(lambda: not origin.holds())
    with pytest.raises(StoreUnavailable):
        take(origin, 1)
    shop.open(origin)
    assert origin.holds()


@pytest.fixture
def impatient(shop: Shop) -> Iterator[None]:
    """A server that takes a reader for dead after a second."""
    shop.db.execute(f"ALTER ROLE logsync IN DATABASE {shop.name} SET wal_sender_timeout = '1s'")
    yield
    shop.db.execute(f"ALTER ROLE logsync IN DATABASE {shop.name} RESET wal_sender_timeout")


@pytest.mark.usefixtures("impatient")
def test_a_reader_that_takes_nothing_for_long_keeps_its_hold(shop: Shop) -> None:
    origin = shop.open(shop.origin())
    shop.put("e1")
    pid = shop.reader()
    waited = shop.connect()
    for _ in range(12):
        waited.execute("SELECT pg_sleep(0.3)")
        assert origin.take(0, 0).facts == []
    assert shop.reader() == pid
    assert ids(take(origin, 1)[0]) == ["e1"]
    waited.close()


def confirmed(shop: Shop) -> int:
    found = shop.db.execute(
        "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE database = current_database()"
    ).fetchone()
    assert found
    return int(found[0])


def test_changes_of_others_are_let_go_while_nothing_of_ours_is_pending(shop: Shop) -> None:
    """Else a quiet outbox beside a busy table would fill the disk."""
    shop.db.execute("CREATE TABLE busy (id int)")
    origin = shop.open(shop.origin())
    before = confirmed(shop)
    open_ = shop.connect()
    with open_.transaction():
        shop.put("slow", db=open_)
        shop.db.execute("INSERT INTO busy SELECT generate_series(1, 30000)")
        wait_for(lambda: confirmed(shop) > before + 100_000, keep=lambda: origin.take(10, 0.1))
    assert ids(take(origin, 1)[0]) == ["slow"]
    open_.close()


def test_what_is_pending_is_not_let_go_with_the_changes_of_others(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE busy (id int)")
    origin = shop.open(shop.origin())
    shop.put("e1")
    take(origin, 1)
    at = confirmed(shop)
    shop.db.execute("INSERT INTO busy SELECT generate_series(1, 10000)")
    end = origin.now()
    told: list[Any] = []
    wait_for(lambda: bool(told), keep=lambda: told.extend([got.end] if (got := origin.take(10, 0.1)).end else []))
    assert told[0] >= end
    assert confirmed(shop) == at
    shop.open(origin)
    assert ids(take(origin, 1)[0]) == ["e1"]


def test_a_large_transaction_is_told_in_parts_and_takes_no_memory(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE paid (id int, note text)")
    origin = shop.open(shop.origin(append_only=["paid"]))
    shop.db.execute("INSERT INTO paid SELECT n, repeat('x', 100) FROM generate_series(1, 20000) AS n")
    seen, ends, last = 0, [], ""
    tracemalloc.start()
    while not ends:
        portion = origin.take(500, 1.0)
        assert len(portion.facts) <= 500
        for fact in portion.facts:
            assert fact.at > last
            last = fact.at
        seen += len(portion.facts)
        ends += [portion.end] if portion.end else []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 20_000
    assert last < ends[0]
    assert peak < 2 << 20


def test_a_server_that_is_down_is_unavailable_and_a_wrong_address_a_mistake(shop: Shop, stack: Stack) -> None:
    origin = shop.origin()
    stack.kill("postgres")
    with pytest.raises(StoreUnavailable):
        origin.open(shop.name, shop.settings)
    stack.up(only=["postgres"])
    shop.db = shop.connect()
    with pytest.raises(psycopg.Error):
        psycopg.connect(shop.url + "_not")
