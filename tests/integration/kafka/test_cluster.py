"""Three brokers, three replicas, min.insync.replicas=2: brokers and controllers die under a writer and a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from logsync import AppendIncomplete, AppendOutcomeUnknown, AppendRejected, Producer
from logsync.log.topic import create_topic
from tests.waiting import PATIENCE

from ..sources.conftest import Shop, shop
from ..sources.test_relay import App, Relayed
from ..worker.fold import Raw, read_log
from ..worker.harness import Case, until
from ..worker.sinks import ItemPut
from .cluster import Cluster

pytestmark = pytest.mark.servers("postgres")

__all__ = ["shop"]
ALL = {1, 2, 3}
BOUND = 2.0  # seconds that an append may take
LATE = 60.0  # seconds; whatever takes longer than this was not bounded by BOUND, on the slowest machine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


class ClusterCase(Case):
    """A case whose log stands on the cluster. Its store is the stack's."""

    def __init__(self, cluster: Cluster, env: dict[str, str], name: str, folder: Path) -> None:
        self.cluster = cluster
        super().__init__({**env, "LOGSYNC_KAFKA": cluster.servers}, name, folder)
        self.env["LOGSYNC_BATCH_RECORDS"] = "200"
        self.session(6000)

    def create_topic(self) -> None:
        made = create_topic(self.settings, self.name)
        assert (made.facts.replication, made.facts.min_insync_replicas) == (3, 2)

    def committed(self, kind: str) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.group(kind)})
        try:
            (found,) = consumer.committed([TopicPartition(self.name, 0)], 20)
            return {0: found.offset} if found.offset >= 0 else {}
        finally:
            consumer.close()

    def heals(self) -> None:
        until(lambda: self.cluster.in_sync(self.name) == ALL, lambda: f"all in sync\n{self.cluster.tail()}")


class Writer(threading.Thread):
    """Appends 0, 1, 2 ... until told to stop: some one by one, some with append_many.

    As an application should: what was rejected is appended again as a new event, what is unknown only through
    ``retry``. So each number belongs into the log once, and in order.
    """

    def __init__(self, case: Case) -> None:
        super().__init__(daemon=True)
        self.acked = 0
        """All numbers below it are acknowledged."""
        self.rejected = self.unknown = 0
        self.slowest = 0.0
        """Seconds that the slowest single append or retry took."""
        self.failure: BaseException | None = None
        self._producer = Producer(case.log, settings=case.settings.model_copy(update={"append_timeout": BOUND}))
        self._end = threading.Event()

    def run(self) -> None:
        try:
            while not self._end.is_set():
                for _ in range(10):
                    self._one()
                    self._end.wait(0.01)
                self._many(100)
        except BaseException as error:  # noqa: BLE001 - raised where this writer is waited for
            self.failure = error

    def _one(self) -> None:
        def anew() -> object:
            return self._producer.append(put(self.acked))

        attempt: Callable[[], object] = anew
        while True:
            began = time.monotonic()
            try:
                attempt()
                break
            except AppendRejected:
                self.rejected += 1
                attempt = anew
            except AppendOutcomeUnknown as error:
                self.unknown += 1
                attempt = error.retry
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)
        self.acked += 1

    def _many(self, count: int) -> None:
        stop = self.acked + count
        while self.acked < stop:
            try:
                taken = self._producer.append_many(map(put, range(self.acked, stop))).taken
            except AppendRejected:
                self.rejected += 1
                continue
            except AppendIncomplete as error:
                taken = self._again(error)
            self.acked += taken

    def _again(self, error: AppendIncomplete) -> int:
        while True:
            if error.report.rejected:
                raise error
            self.unknown += len(error.report.unknown)
            try:
                return error.retry().taken
            except AppendIncomplete as again:
                error = again

    def gets_on(self, events: int = 200) -> None:
        """Wait until so many more are acknowledged."""
        goal = self.acked + events
        self.comes(lambda: self.acked >= goal, f"{goal} acknowledged events")

    def comes(self, condition: Callable[[], bool], what: str) -> None:
        until(lambda: self.failure or condition(), lambda: f"{what}; {self.acked} are, {self.unknown} were unknown")
        assert self.failure is None, self.failure

    def stop(self) -> int:
        """How many were appended, all of them acknowledged."""
        self._end.set()
        self.join(PATIENCE)
        assert not self.is_alive()
        assert self.failure is None, self.failure
        self._producer.close()
        return self.acked


def put(number: int) -> ItemPut:
    return ItemPut(k=f"k{number % 7}", n=number, writer="w")


def kept(records: list[Raw]) -> list[Raw]:
    """Without the doubles: a marked record whose id stands before it in the range that it names. # A1"""
    found: list[Raw] = []
    at: dict[bytes, list[int]] = {}
    for raw in records:
        since = raw.headers.get("logsync-retry-from")
        if since is None or not any(offset >= int(since) for offset in at.get(raw.headers["ce_id"], [])):
            found.append(raw)
        at.setdefault(raw.headers["ce_id"], []).append(raw.offset)
    return found


class Load:
    """A writer and a worker at work on one case."""

    def __init__(self, case: ClusterCase) -> None:
        self.case, self.cluster = case, case.cluster
        self.worker = case.start("db")
        self.writer = Writer(case)
        self.writer.start()
        self.writer.gets_on()
        until(lambda: case.has_book("db"), "a worker that began")
        case.reaches("db", 100)

    def is_exact(self) -> list[Raw]:
        """Every event is in the log once and in order, and the same worker brought the store to the fold of it."""
        count = self.writer.stop()
        self.case.heals()
        self.case.catches_up("db")
        self.worker.terminate()
        self.case.is_the_fold("db")
        records = read_log(self.case.servers, self.case.name)
        assert [ItemPut.model_validate_json(raw.value or b"").n for raw in kept(records)] == list(range(count))
        return records


@pytest.fixture
def load(cluster: Cluster, env: dict[str, str], unique: str, tmp_path: Path) -> Iterator[Load]:
    case = ClusterCase(cluster, env, unique, tmp_path)
    load = None
    try:
        load = Load(case)
        yield load
    finally:
        case.close()
        if load is not None and load.writer.is_alive():
            load.writer._end.set()
        missing = [number for number, node in cluster.nodes.items() if not node.running]
        cluster.run(*missing)


def test_appends_go_on_while_the_broker_that_leads_the_partition_is_dead(load: Load) -> None:
    cluster, topic = load.cluster, load.case.name
    for _ in range(2):  # the one that was back first leads nothing, and must have caught up before it may
        dead = cluster.leader(topic)
        cluster.nodes[dead].kill()
        load.writer.gets_on()
        until(lambda dead=dead: cluster.in_sync(topic) == ALL - {dead}, "its replica is out of sync")  # type: ignore[misc]
        assert cluster.leader(topic) != dead
        load.case.reaches("db", load.writer.acked)
        cluster.run(dead)
        load.case.heals()
    load.writer.gets_on()
    load.is_exact()


def test_a_dead_controller_is_replaced_and_nobody_notices(load: Load) -> None:
    cluster = load.cluster
    dead = cluster.controller()
    cluster.nodes[dead].kill()
    until(lambda: cluster.controller() not in (dead, -1), "another controller")
    load.writer.gets_on()
    load.case.reaches("db", load.writer.acked)
    cluster.run(dead)
    load.writer.gets_on()
    load.is_exact()


@pytest.mark.parametrize("survivor", ["leads", "follows"])
def test_with_two_brokers_dead_appends_fail_in_time_and_their_retries_double_nothing(load: Load, survivor: str) -> None:
    cluster, topic, writer = load.cluster, load.case.name, load.writer
    leader = cluster.leader(topic)
    alive = leader if survivor == "leads" else min(ALL - {leader})
    dead = ALL - {alive}
    for number in dead:
        cluster.nodes[number].kill()
    failed = writer.unknown + writer.rejected
    writer.comes(lambda: writer.unknown + writer.rejected >= failed + 5, "appends that fail")
    before = writer.acked
    writer.comes(lambda: writer.unknown + writer.rejected >= failed + 8, "more of them")
    assert writer.acked == before, "an append was acknowledged by one broker"
    assert load.worker.running
    cluster.run(*dead)
    load.case.heals()
    writer.gets_on()
    load.is_exact()
    assert writer.slowest < LATE


@pytest.fixture
def relayed(cluster: Cluster, shop: Shop, env: dict[str, str], tmp_path: Path) -> Iterator[Relayed]:
    shop.settings = shop.settings.model_copy(update={"kafka": cluster.servers})
    made = Relayed(shop, {**env, "LOGSYNC_KAFKA": cluster.servers}, tmp_path, 1)
    yield made
    for process in made.processes:
        if process.running:
            process.kill()
    cluster.run(*[number for number, node in cluster.nodes.items() if not node.running])


def test_a_relay_goes_on_while_the_broker_that_leads_is_dead(cluster: Cluster, relayed: Relayed) -> None:
    app = App(relayed, 1)
    app.start()
    relay = relayed.start()
    relay.sees("relaying")
    relayed.relayed(50)
    for _ in range(2):
        dead = cluster.leader(relayed.topic)
        cluster.nodes[dead].kill()
        relayed.relayed(app.count + 20)
        cluster.run(dead)
        until(lambda: cluster.in_sync(relayed.topic) == ALL, "all in sync")
    app.ends.set()
    app.join()
    relay.terminate()
    assert relayed.start("--until-end").ends(0)
    assert relayed.counted() == app.facts
