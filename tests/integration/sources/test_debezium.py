"""docs/debezium.md runs: Debezium brings an outbox into a topic, a sink reads it, and Connect is killed in between."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from devstack import connect
from logsync import Sink
from logsync.core.codec import id_of
from logsync.log.lookup import Lookup
from logsync.log.topic import create_topic
from logsync.run import run_worker
from tests.integration.worker.harness import until
from tests.unit.test_docs import DOCS

from .conftest import Shop

pytestmark = pytest.mark.servers("kafka", "postgres")

PAGE = (DOCS / "debezium.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def settings_of(block: str) -> dict[str, object]:
    return dict(line.split("=", 1) for line in block.splitlines())


(TABLE,), (SINK,) = blocks("sql"), blocks("python")
CONNECTOR, EXACT_WORKER, EXACT_CONNECTOR = map(settings_of, blocks("properties"))
CONVERTERS = {name: value for name, value in CONNECTOR.items() if name.endswith(".converter")}


class Connect:
    """One worker of Kafka Connect with the page's connector, over a shop's database and a topic of its own."""

    def __init__(self, shop: Shop, folder: Path, *, exact: bool) -> None:
        self.shop, self.folder, self.exact = shop, folder, exact
        self.topic = f"{shop.name}-events"
        place = urlsplit(shop.url)
        self._connector = {
            **CONNECTOR, "name": shop.name, "topic.prefix": shop.name, "slot.name": shop.name,
            "database.hostname": place.hostname, "database.port": place.port, "database.user": place.username,
            "database.password": place.password or "any", "database.dbname": shop.name,
            "transforms.outbox.route.topic.replacement": self.topic,
        }  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._rest = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self._worker = {"bootstrap.servers": shop.settings.kafka, "listeners": self._rest, **CONVERTERS}
        if exact:
            self._connector |= EXACT_CONNECTOR
            topics = {f"{kind}.storage.topic": f"{shop.name}-{kind}" for kind in ("config", "offset", "status")}
            replicas = {f"{kind}.storage.replication.factor": 1 for kind in ("config", "offset", "status")}
            self._worker |= {**EXACT_WORKER, "group.id": shop.name, **topics, **replicas}
        else:
            offsets = {"offset.storage.file.filename": folder / "offsets", "offset.flush.interval.ms": 10**9}
            self._worker |= offsets  # never: the kill comes first, however slow the machine is
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Returns when Debezium reads the slot."""
        main, files = connect.STANDALONE, list[str]()
        if self.exact:
            main = connect.DISTRIBUTED
        else:
            files = [connect.properties(self.folder / "connector.properties", self._connector)]
        command = connect.command(self.folder, "debezium-postgres", main, self._worker, files, heap="384m")
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)
        if self.exact:
            self._until(self._configured, "its connector is taken")
        self._until(lambda: self._reader() is not None, "Debezium reads the slot")

    def kill(self) -> None:
        """With -9. Returns when the slot is free."""
        self._process.kill()
        self._process.wait()
        until(lambda: self._reader() is None, "the slot is free")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        def ask() -> bool:
            assert self._process.poll() is None, f"Connect has ended:\n{self.output}"
            return condition()

        until(ask, lambda: f"{what}:\n{self.output}")

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text(errors="replace")[-5_000:]

    def _configured(self) -> bool:
        body = json.dumps({name: str(value) for name, value in self._connector.items()}).encode()
        request = urllib.request.Request(
            f"{self._rest}/connectors/{self.shop.name}/config", body, {"content-type": "application/json"}, method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bool(answer.status < 300)
        except (OSError, urllib.error.HTTPError):  # not up yet, or it has no leader yet
            return False

    def _reader(self) -> int | None:
        found = self.shop.db.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", (self.shop.name,)
        ).fetchone()
        return found and found[0]

    def ids(self) -> list[str | None]:
        """Of the records that stand in the topic for readers of committed records."""
        log, found = namespace(self.topic)["log"], list[str | None]()
        with Lookup(self.shop.settings, self.topic) as lookup:
            for partition, span in lookup.spans().items():
                found += [id_of(log, record) for record in lookup.read(partition, span.low, span.high)]
        return found


def namespace(topic: str) -> dict[str, Any]:
    """What the page's Python declares, over a topic of this test."""
    names: dict[str, Any] = {"__name__": "docs_debezium"}
    exec(compile(SINK.replace("shop.events", topic), "docs/debezium.md", "exec", dont_inherit=True), names)
    return names


PUT = "INSERT INTO outbox (aggregateid, type, payload) VALUES (%s, 'order.placed', %s)"


class App:
    """Places orders, and changes them: a key has many events, and the last one of an order is what stands."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.events = shop, list[tuple[str, str, int]]()

    def place(self, count: int) -> None:
        for number in range(len(self.events), len(self.events) + count):
            order, customer, cents = f"order-{number % 60}", f"customer-{number % 6}", number
            payload = json.dumps({"order_id": order, "customer": customer, "cents": cents})
            self.shop.db.execute(PUT, (customer, payload))
            self.events.append((order, customer, cents))

    @property
    def orders(self) -> dict[str, tuple[str, int]]:
        return {order: (customer, cents) for order, customer, cents in self.events}

    @property
    def counts(self) -> Counter[str]:
        return Counter(customer for _, customer, _ in self.events)


def follow(shop: Shop, topic: str) -> tuple[dict[str, tuple[str, int]], Counter[str]]:
    """Run the page's sink to the log's end. Returns its orders, and its counts by customer."""
    name = f"{shop.name}_sink"
    with psycopg.connect(shop.url, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}".encode())
    url = make_conninfo(shop.url, dbname=name)
    sink: Sink = namespace(topic)["sink"]
    try:
        run_worker(sink, shop.settings.model_copy(update={"postgres": SecretStr(url)}), until_end=True)
        with psycopg.connect(url) as db:
            orders = db.execute("SELECT order_id, customer, cents FROM orders").fetchall()
            counts = db.execute("SELECT customer, orders FROM customers").fetchall()
    finally:
        with psycopg.connect(shop.url, autocommit=True) as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    return {order: (customer, cents) for order, customer, cents in orders}, Counter(dict(counts))


@pytest.fixture(params=[False, True], ids=["standalone", "exactly once"])
def bridge(request: pytest.FixtureRequest, shop: Shop, tmp_path: Path) -> Iterator[Connect]:
    shop.db.execute(TABLE.encode())
    bridge = Connect(shop, tmp_path, exact=request.param)
    create_topic(shop.settings, bridge.topic, partitions=3)
    bridge.start()
    yield bridge
    bridge.kill()


def test_a_sink_reads_what_debezium_brings_and_a_kill_of_connect_leaves_what_the_page_says(bridge: Connect) -> None:
    app = App(bridge.shop)
    app.place(300)
    until(lambda: len(bridge.ids()) == 300, lambda: f"300 rows are in the topic:\n{bridge.output}")
    bridge.kill()
    app.place(100)
    bridge.start()
    until(lambda: len(set(bridge.ids())) == 400, lambda: f"400 rows are in the topic:\n{bridge.output}")
    orders, counts = follow(bridge.shop, bridge.topic)
    assert orders == app.orders
    if bridge.exact:
        assert len(bridge.ids()) == 400
        assert counts == app.counts
    else:
        assert len(bridge.ids()) == counts.total() > 400, "sinks count repeats; if they do no more, say so in the page"
