"""A relay as a process, over a real Postgres and a real Kafka: every fact counts once, in order, whatever happens."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from logsync.core.event import Record
from logsync.core.sources import at_start, fold
from logsync.errors import LogUnavailable
from logsync.log.lookup import Lookup
from logsync.log.topic import create_topic
from logsync.outbox import Outbox
from tests.integration.worker.harness import Process, until
from tests.servers import Asked

from . import declared
from .conftest import Shop

pytestmark = pytest.mark.servers("kafka", "postgres")

TABLES = """
CREATE TABLE payments (number serial PRIMARY KEY, account text NOT NULL, amount numeric NOT NULL);
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
ALTER TABLE customers REPLICA IDENTITY FULL;
"""


class Relayed:
    """A shop whose facts enter a topic."""

    def __init__(self, shop: Shop, env: dict[str, str], folder: Path, partitions: int) -> None:
        self.shop, self.folder, self.topic = shop, folder, f"{shop.name}-log"
        create_topic(shop.settings, self.topic, partitions=partitions)
        shop.db.execute(TABLES.encode())
        shop.create(shop.origin(made=False, outbox=True, append_only=["payments"], capture=["customers"]))
        path = str(Path(__file__).parents[3])
        self.env = {
            **env, "SOURCE_TOPIC": self.topic, "SOURCE_DSN": shop.url, "SOURCE_NAME": shop.name, "PYTHONPATH": path,
            "PATH": "/usr/bin:/bin",
        }  # fmt: skip
        self.processes: list[Process] = []
        self.outbox = Outbox(declared.log)

    def start(self, *arguments: str) -> Process:
        command = ["logsync.cli", "relay", f"{declared.__name__}:source", *arguments]
        self.processes.append(Process(command, self.env, self.folder))
        return self.processes[-1]

    def records(self) -> Iterator[tuple[int, list[Record]]]:
        with Lookup(self.shop.settings, self.topic) as lookup:
            for partition, span in lookup.spans().items():
                yield partition, list(lookup.read(partition, span.low, span.high))

    def counted(self) -> dict[str, list[tuple[int, ...]]]:
        """By type and key, the numbers of the events that every reader takes, in log order."""
        found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        decode = declared.log.codec.decoder(declared.log, declared.log.names)
        for _, records in self.records():
            _, passed = fold(at_start(0), declared.log.codec.marks(records), 1 << 62)
            for record in records:
                if record.offset not in passed:
                    event = decode(record)
                    found[f"{event.type} {event.key}"].append(tuple(event.data.model_dump().values()))  # type: ignore[union-attr]
        return found

    def count(self) -> int:
        """Of the facts in the log; -1 while it does not answer."""
        try:
            return sum(map(len, self.counted().values()))
        except LogUnavailable:
            return -1

    def relayed(self, count: int) -> None:
        until(lambda: self.count() >= count, f"{count} facts in the log")


@pytest.fixture(params=[3])
def relayed(shop: Shop, env: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Relayed]:
    made = Relayed(shop, env, tmp_path, request.param)
    yield made
    for process in made.processes:
        if process.running:
            process.kill()


class App(threading.Thread):
    """Writes orders, payments and customers in transactions, some of which are rolled back, until it is told to end."""

    def __init__(self, relayed: Relayed, seed: int) -> None:
        super().__init__(daemon=True)
        self.relayed, self.chance, self.seed = relayed, Random(seed), seed
        self.facts: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        self.ends = threading.Event()
        self.count = 0

    def run(self) -> None:
        db = self.relayed.shop.connect()
        number = 0
        names: dict[int, str] = {}
        while not self.ends.is_set():
            facts: list[tuple[str, tuple[object, ...]]] = []
            rolled_back = self.chance.random() < 0.1
            before = dict(names)
            with db.transaction(force_rollback=rolled_back):
                for _ in range(self.chance.randrange(1, 5)):
                    number += 1
                    who = f"{self.seed}-{self.chance.randrange(3)}"
                    if (what := self.chance.random()) < 0.5:
                        self.relayed.outbox.append(db, declared.OrderPlaced(shopper=who, number=number))
                        facts.append((f"order.placed {who}", (who, number)))
                    elif what < 0.8:
                        row = db.execute(
                            "INSERT INTO payments (account, amount) VALUES (%s, %s) RETURNING number, amount",
                            (who, number),
                        ).fetchone()
                        assert row is not None
                        facts.append((f"payment.made {who}", (who, *row)))
                    else:
                        id_ = 10 * self.seed + self.chance.randrange(3)
                        db.execute(
                            "INSERT INTO customers VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                            (id_, f"n{number}"),
                        )
                        facts.append((f"customer.changed {id_}", (id_, f"n{number}", names.get(id_))))
                        names[id_] = f"n{number}"
            if rolled_back:
                names = before
            else:
                for key, values in facts:
                    self.facts[key].append(values)
                self.count += len(facts)
        db.close()


def test_facts_of_outbox_table_and_capture_enter_the_log_in_the_order_of_their_commits(relayed: Relayed) -> None:
    app = App(relayed, 1)
    app.start()
    until(lambda: app.count > 300, "facts")
    app.ends.set()
    app.join()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts
    until(lambda: relayed.shop.left() == 0, "an empty outbox")


def test_a_relay_that_is_killed_again_and_again_loses_and_doubles_nothing(relayed: Relayed) -> None:
    apps = [App(relayed, 1), App(relayed, 2)]
    for app in apps:
        app.start()
    chance = Random(5)
    for _ in range(8):
        relay = relayed.start()
        relay.sees("relaying")
        before = sum(map(len, relayed.counted().values()))
        relayed.relayed(before + chance.randrange(1, 200))
        relay.kill()
    for app in apps:
        app.ends.set()
        app.join()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == {**apps[0].facts, **apps[1].facts}
    until(lambda: relayed.shop.left() == 0, "an empty outbox")


def test_a_relay_that_wakes_after_its_successor_wrote_changes_nothing(relayed: Relayed) -> None:
    app = App(relayed, 1)
    app.start()
    first = relayed.start()
    first.sees("relaying")
    relayed.relayed(50)
    first.pause()
    name = relayed.shop.name
    relayed.shop.db.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", (f"logsync_{name}",)
    )
    second = relayed.start()
    second.sees("relaying")
    relayed.relayed(sum(map(len, relayed.counted().values())) + 50)
    first.go_on()
    first.sees("waiting")
    app.ends.set()
    app.join()
    second.terminate()
    first.terminate()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts


def test_a_signal_ends_a_relay_in_order(relayed: Relayed) -> None:
    relay = relayed.start()
    relay.sees("relaying")
    assert "stopped" in relay.terminate()


def test_a_relay_waits_out_a_kafka_that_stands_still_and_a_database_that_is_restarted(
    relayed: Relayed, stack: Asked
) -> None:
    app = App(relayed, 1)
    app.start()
    relay = relayed.start()
    relay.sees("relaying")
    relayed.relayed(20)
    stack.pause("kafka")
    relay.sees("waiting")
    stack.resume("kafka")
    relay.sees("relaying", 2)
    app.ends.set()
    app.join()
    stack.stop("postgres")
    stack.start("postgres")
    relay.sees("relaying", 3)
    relayed.shop.db = relayed.shop.connect()
    with relayed.shop.db.transaction():
        relayed.outbox.append(relayed.shop.db, declared.OrderPlaced(shopper="last", number=0))
    app.facts["order.placed last"].append(("last", 0))
    relayed.relayed(app.count + 1)
    relay.terminate()
    assert relayed.counted() == app.facts


def test_a_second_relay_waits_for_the_first_and_goes_on_when_it_is_killed(relayed: Relayed) -> None:
    first = relayed.start()
    first.sees("relaying")
    second = relayed.start()
    second.sees("held by")
    first.kill()
    second.sees("relaying")
    app = App(relayed, 1)
    app.start()
    until(lambda: app.count > 50, "facts")
    app.ends.set()
    app.join()
    relayed.relayed(app.count)
    assert relayed.counted() == app.facts


def test_a_database_whose_disk_is_full_is_waited_for_and_nothing_is_lost_or_doubled(relayed: Relayed) -> None:
    """As the server says it: the ledger cannot be written, so nothing is confirmed, and the app is in trouble as well.

    Seen on a disk that was really full: the same error, and where the write-ahead log has no room, a crash.
    """
    app, db = App(relayed, 1), relayed.shop.db
    app.start()
    relay = relayed.start()
    relay.sees("relaying")
    relayed.relayed(20)
    db.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    db.execute("CREATE TRIGGER full_disk BEFORE UPDATE ON logsync.source EXECUTE FUNCTION full_disk()")
    relay.sees("No space left on device")
    kept = db.execute("SELECT kept::text, passed FROM logsync.source").fetchone()
    more = app.count + 100
    until(lambda: app.count > more, "facts that are committed meanwhile")
    assert db.execute("SELECT kept::text, passed FROM logsync.source").fetchone() == kept
    db.execute("DROP TRIGGER full_disk ON logsync.source")
    relay.sees("relaying", 2)
    app.ends.set()
    app.join()
    relay.terminate()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts
    until(lambda: relayed.shop.left() == 0, "an empty outbox")


def test_a_transaction_of_many_rows_takes_a_relay_little_memory(relayed: Relayed) -> None:
    """The bound that a user is told; docs/sources.md has what a million rows took."""
    rows = 50_000
    relayed.shop.db.execute(
        "INSERT INTO payments (account, amount) SELECT 'a' || mod(n, 100), 1 FROM generate_series(1, %s::int) AS n",
        (rows,),
    )
    relay, most = relayed.start("--until-end"), 0
    with suppress(psutil.Error):  # it ends meanwhile
        while relay.running:
            most = max(most, psutil.Process(relay.pid).memory_info().rss)
            time.sleep(0.02)
    relay.ends(0)
    assert relayed.count() == rows
    assert 0 < most < 150_000_000
