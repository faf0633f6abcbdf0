"""The database fails over to a standby while an app writes: facts == events that count == content of a sink."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

import psycopg
import pytest
from pydantic import BaseModel, SecretStr

from devstack import Stack
from logsync import Log, Producer
from logsync.settings import Settings
from tests.integration.worker.harness import until

from . import declared
from .conftest import OUTBOX, Shop
from .standby import Pair, pair
from .test_follow import follow, totals
from .test_managing import command, status
from .test_relay import Relayed

pytestmark = pytest.mark.servers("kafka", "postgres")
JOURNAL = "CREATE TABLE journal (number int PRIMARY KEY)"
Facts = dict[str, list[tuple[object, ...]]]


class App(threading.Thread):
    """Writes until its connection breaks, or it is told to end. Each transaction writes its number into a journal."""

    def __init__(self, relayed: Relayed, first: int = 1) -> None:
        super().__init__(daemon=True)
        self.relayed, self.first, self.chance = relayed, first, Random(first)
        self.ends = threading.Event()
        self.written: list[tuple[int, list[tuple[str, tuple[object, ...]]]]] = []

    def run(self) -> None:
        try:
            with self.relayed.shop.connect() as db:
                number = self.first
                while not self.ends.is_set():
                    self.write(db, number)
                    number += 1
        except psycopg.OperationalError:
            pass

    def write(self, db: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        who = f"who-{self.chance.randrange(4)}"
        with db.transaction():
            db.execute("INSERT INTO journal VALUES (%s)", (number,))
            self.relayed.outbox.append(db, declared.OrderPlaced(shopper=who, number=number))
            paid = db.execute(
                "INSERT INTO payments (account, amount) VALUES (%s, %s) RETURNING number, amount", (who, number)
            ).fetchone()
            assert paid is not None
            db.execute("INSERT INTO customers VALUES (%s, %s)", (number, who))
            facts: list[tuple[str, tuple[object, ...]]] = [
                (f"order.placed {who}", (who, number)),
                (f"payment.made {who}", (who, *paid)),
                (f"customer.changed {number}", (number, who, None)),
            ]
            self.written.append((number, facts))  # whether it was committed, the journal tells

    def writes(self, more: int) -> None:
        """Wait for so many transactions more."""
        wanted = len(self.written) + more
        until(lambda: len(self.written) >= wanted, f"{wanted} transactions")


def facts(shop: Shop, *apps: App) -> Facts:
    """What the database that is left has committed."""
    found: Facts = defaultdict(list)
    with psycopg.connect(shop.url) as db:
        there = {number for (number,) in db.execute("SELECT number FROM journal").fetchall()}
    for app in apps:
        for number, each in app.written:
            for key, values in each if number in there else ():
                found[key].append(values)
    return found


def content(relayed: Relayed) -> dict[str, tuple[int, int]]:
    """What a sink of the log has counted, in a table of the same database."""
    follow(relayed, "db", "--until-end").ends(0)
    with psycopg.connect(relayed.shop.url) as db:
        return {str(key): (int(n), int(total)) for key, n, total in db.execute("SELECT name, n, sum FROM totals")}


class Failing(NamedTuple):
    """A source whose database has a standby."""

    pair: Pair
    relayed: Relayed

    def copied(self) -> bool:
        """Has the standby a copy of the slot that survives a promotion?"""
        slots = "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary"
        return bool(self.pair.ask(self.pair.standby, slots) == 1)


@pytest.fixture
def failing(stack: Stack, settings: Settings, env: dict[str, str], unique: str, tmp_path: Path) -> Iterator[Failing]:
    with pair(stack) as servers:
        servers.ask(servers.primary, f"CREATE DATABASE {unique}")
        shop = Shop(settings.model_copy(update={"postgres": SecretStr(servers.url)}), unique)
        shop.db.execute(OUTBOX + JOURNAL)
        made = Relayed(shop, {**env, "LOGSYNC_POSTGRES": shop.url}, tmp_path, 3)
        yield Failing(servers, made)
        for process in made.processes:
            if process.running:
                process.kill()
        shop.db.close()


@pytest.mark.parametrize("paused", [False, True], ids=["relaying", "behind"])
def test_a_relay_goes_on_with_a_standby_that_has_its_slot(failing: Failing, paused: bool) -> None:
    """One timeline goes on with the places of the other: what the log has is met again there, and left out."""
    relayed, servers = failing.relayed, failing.pair
    command(relayed, "create", "--failover")
    servers.follow(synced=True)
    app = App(relayed)
    app.start()
    relay = relayed.start()
    relayed.relayed(100)
    until(failing.copied, "a copy of the slot")
    if paused:
        relay.pause()
    app.writes(100)
    servers.fail_over()
    app.join()
    if paused:
        relay.go_on()
    relay.sees("relaying", 2)
    later = App(relayed, 100_000)
    later.start()
    later.writes(100)
    later.ends.set()
    later.join()
    relay.terminate()
    assert relayed.start("--until-end").ends(0)
    expected = facts(relayed.shop, app, later)
    assert relayed.counted() == expected
    assert content(relayed) == totals(expected)
    found = status(relayed)
    assert found["failover"] is True
    assert any(entry["what"] == "promoted" for entry in found["audit"])  # type: ignore[attr-defined]


def test_a_standby_without_the_slot_halts_the_relay_until_it_is_adopted_and_nothing_is_lost_then(
    failing: Failing,
) -> None:
    relayed, servers = failing.relayed, failing.pair
    servers.follow(synced=False)
    app = App(relayed)
    app.start()
    relay = relayed.start()
    relayed.relayed(100)
    relay.kill()  # the log has facts that the ledger does not know of
    app.writes(50)
    end = servers.ask(servers.primary, "SELECT pg_current_wal_flush_lsn()::text")
    until(lambda: servers.ask(servers.standby, "SELECT pg_last_wal_replay_lsn() >= %s", end), "the standby at that end")
    servers.fail_over()
    app.join()
    assert "is gone" in relayed.start().ends(3)
    assert "source adopt" in command(relayed, "create", code=3)
    command(relayed, "adopt", "--reason", "failed over", "--yes")
    command(relayed, "seed")
    append_payments(relayed)
    later = App(relayed, 100_000)
    later.start()
    later.writes(50)
    later.ends.set()
    later.join()
    assert relayed.start("--until-end").ends(0)
    counted, expected = relayed.counted(), facts(relayed.shop, app, later)
    assert counted.keys() == expected.keys()
    for key, values in expected.items():
        found = counted[key]
        if key.startswith("order.placed"):  # put into the outbox again by their times
            assert found == values
        elif key.startswith("payment.made"):
            assert sorted(found) == sorted(values)  # type: ignore[type-var]
        else:  # told as they are, whether the log has them or not
            assert set(found) == set(values)


def append_payments(relayed: Relayed) -> None:
    """Those that the log lacks, as the page says: by their key, as a file is appended."""
    there = {values[1] for key, each in relayed.counted().items() if key.startswith("payment") for values in each}
    with psycopg.connect(relayed.shop.url) as db:
        rows = db.execute("SELECT account, number, amount FROM payments ORDER BY number").fetchall()
    missing = [row for row in rows if row[1] not in there]
    assert missing
    log = Log(relayed.topic)
    log.event("payment.made", key="account")(PaymentMade)
    with Producer(log, settings=relayed.shop.settings) as producer:
        events = [PaymentMade(account=account, number=number, amount=amount) for account, number, amount in missing]
        producer.append_many(events, source="payments-of-the-gap", places=[number for _, number, _ in missing])


class PaymentMade(BaseModel):
    account: str
    number: int
    amount: Decimal
