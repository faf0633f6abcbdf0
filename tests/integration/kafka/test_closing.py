"""A worker ends within its bound whatever its broker does, and whether or not a bookmark is under way.

librdkafka's own close has no bound: it waits for the answer to each commit. # librdkafka#3740
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devstack import process
from logsync import Producer
from logsync.cli.exits import Exit
from logsync.log.group import group_id
from logsync.log.lookup import Lookup
from logsync.log.topic import create_topic
from logsync.settings import Settings

from ..worker.harness import ROOT, Process, until
from . import stopping
from .cluster import Cluster
from .guarded import ThingMade
from .test_secured import certify

VALID, EXPIRED = "-days 30", "-startdate 20200101000000Z -enddate 20210101000000Z"


class Broker:
    """One broker with TLS whose certificate can be exchanged, and workers of a sink on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        certify(folder, valid=VALID, expired=EXPIRED)
        (folder / "trusted").write_text((folder / "valid").read_text() + (folder / "expired").read_text())
        self._shows("valid")
        store = {"type": "PEM", "location": str(folder / "store")}
        own = {f"listener.name.secure.ssl.keystore.{name}": value for name, value in store.items()}
        self.cluster = Cluster(folder / "nodes", 1, listeners={"SECURE": "SSL"}, **own)
        self.node = self.cluster.nodes[1]
        self.workers: list[Process] = []

    def _shows(self, certificate: str) -> None:
        (self.folder / "store").write_text((self.folder / "key").read_text() + (self.folder / certificate).read_text())

    def start(self) -> None:
        self.cluster.start()
        settings = Settings(_env_file=None, kafka=self.cluster.servers, append_timeout=30)
        create_topic(settings, stopping.log.topic)
        with Producer(stopping.log, settings=settings) as producer:
            producer.append(ThingMade(name="one"))  # one event: one plan

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.cluster.close()

    def start_again(self, certificate: str) -> None:
        self._shows(certificate)
        self.cluster.run(1)

    def server(self) -> psutil.Process:
        found = self.node._pid and self.node._pid.process()
        assert found is not None
        return found

    def worker(self, name: str, *, owing: bool) -> Process:
        """A worker that stands still: ``owing`` before it applies and commits its plan, else when Kafka has that."""
        options = {
            "security.protocol": "ssl",
            "ssl.ca.location": str(self.folder / "trusted"),
            "session.timeout.ms": "60000",  # librdkafka gives up some of what it waits for after that
        }
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LOGSYNC_")},
            "PYTHONPATH": str(ROOT),
            "LOGSYNC_ENVIRONMENT": name,  # each is the only one of its group
            "LOGSYNC_KAFKA": self.cluster.address("SECURE"),
            "LOGSYNC_KAFKA_OPTIONS": json.dumps(options),
            "LOGSYNC_DRAIN_TIMEOUT": "60",
            stopping.STOPS: "yes" if owing else "",
        }
        worker = Process(["logsync.cli", "consume", f"{stopping.__name__}:sink"], env, self.folder)
        self.workers.append(worker)
        if owing:
            until(worker.is_stopped, lambda: f"{name} before its plan: {worker.output}")
        else:
            until(lambda: self._committed(name) == {0: 1}, lambda: f"bookmark of {name}: {worker.output}")
            worker.pause()
        return worker

    def _committed(self, name: str) -> dict[int, int]:
        settings = Settings(_env_file=None, kafka=self.cluster.servers)
        with Lookup(settings, stopping.log.topic, group_id=group_id(name, "db")) as lookup:
            return lookup.committed([0])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def test_workers_end_within_the_bound_although_their_broker_does_not_answer_or_is_not_trusted(broker: Broker) -> None:
    halting = broker.worker("halting", owing=True)

    def end(name: str, trouble: Callable[[], None]) -> None:
        pair = [broker.worker(f"{name}-owing", owing=True), broker.worker(f"{name}-idle", owing=False)]
        trouble()
        for worker in pair:
            worker.signal(signal.SIGTERM)
            worker.go_on()
        for worker in pair:
            assert "stopped" in worker.ends(Exit.OK)

    end("paused", lambda: process.freeze(broker.server()))
    process.thaw(broker.server())
    end("killed", broker.node.kill)
    broker.start_again("expired")
    halting.go_on()
    told = halting.ends(Exit.CONFIG)
    assert "the certificate of Kafka" in told
    assert "renew the brokers' certificate" in told
