"""Kafka itself loses an acknowledged tail: a broker that missed it becomes the leader, as the topic allows. # L2"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from tests.waiting import PATIENCE

from ..worker.harness import KINDS, Process, named, until
from .cluster import Cluster
from .test_cluster import ClusterCase

pytestmark = pytest.mark.servers("postgres", "redis", "opensearch")

EXIT_LOG = 5
KEEPS, LOSES, THIRD = 1, 2, 3
"""Brokers: the one that has the tail, the one that misses it, and one more vote among the controllers."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # How often the controller looks for partitions that only an unclean election can help: not every five minutes.
    interval = {"unclean.leader.election.interval.ms": "1000"}
    cluster = Cluster(tmp_path_factory.mktemp("unclean"), **interval)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


class FrailCase(ClusterCase):
    """Two replicas, one of which is enough to acknowledge an append, and any of which may lead."""

    def create_topic(self) -> None:
        config = {"retention.ms": "-1", "retention.bytes": "-1", "min.insync.replicas": "1",
                  "unclean.leader.election.enable": "true"}  # fmt: skip
        new = NewTopic(self.name, 1, replica_assignment=[[KEEPS, LOSES]], config=config)
        self.admin.create_topics([new])[self.name].result(PATIENCE)
        until(lambda: self.cluster.leader(self.name) == KEEPS, "the first leader")

    def ends(self) -> dict[int, int]:
        """Asked of a new client: an old one may ask a broker that is dead, and no other. A broker may tell of a leader
        that does not know yet that it is one."""
        found: dict[int, int] = {}

        def told() -> bool:
            consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "ends", "log_level": 0})
            with suppress(KafkaException):
                found[0] = consumer.get_watermark_offsets(TopicPartition(self.name, 0), timeout=20)[1]
            consumer.close()
            return bool(found)

        until(told, "the end of the log")
        return found

    def loses_its_tail(self, count: int) -> None:
        """``count`` events are acknowledged by KEEPS alone, and then it dies."""
        self.cluster.nodes[LOSES].kill()
        until(lambda: self.cluster.in_sync(self.name) == {KEEPS}, "one replica is left")
        self.append_mix(count)

    def elects_uncleanly(self) -> None:
        self.cluster.nodes[KEEPS].kill()
        self.cluster.run(LOSES)
        until(lambda: self.cluster.leader(self.name) == LOSES, lambda: f"an unclean election\n{self.cluster.tail()}")
        # The former one is of no use any more: the new leader does not know how far it had counted.
        self._producer = Producer({"bootstrap.servers": self.servers, "enable.idempotence": True, "log_level": 0})


@pytest.fixture
def case(cluster: Cluster, env: dict[str, str], unique: str, tmp_path: Path) -> Iterator[FrailCase]:
    case = FrailCase(cluster, env, unique, tmp_path)
    case.session(45_000)  # a worker that stands still for a while stays a member
    try:
        yield case
    finally:
        case.close()
        cluster.run(*[number for number, node in cluster.nodes.items() if not node.running])


@pytest.mark.parametrize("regrown", [False, True], ids=["shorter", "regrown"])
def test_every_worker_halts_when_the_log_has_lost_what_it_applied_and_a_rebuild_mends_it(
    case: FrailCase, regrown: bool
) -> None:
    case.append_mix(60)
    workers = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()
    case.loses_its_tail(40)
    case.catches_up()
    before = {kind: (case.content(kind), case.positions(kind)) for kind in KINDS}
    if regrown:
        for worker in workers.values():
            worker.pause()
    case.elects_uncleanly()
    assert case.ends() == {0: 60}, "nothing was lost: this proves nothing"
    if regrown:
        case.append_mix(100)  # other events where the lost ones were, and more
        for worker in workers.values():
            worker.go_on()
    for kind, worker in workers.items():
        output = worker.ends(EXIT_LOG, 180)  # the client finds its way to the one broker that is left in its own time
        assert "logsync rebuild" in output
        assert (case.content(kind), case.positions(kind)) == before[kind]
    case.cluster.run(KEEPS)
    for kind in KINDS:  # nor does one that is started later go on
        assert f"logsync rebuild {named(kind)} --yes" in case.start(kind).ends(EXIT_LOG)
    case.append_mix(20)
    for rebuild in [case.rebuild(kind) for kind in KINDS]:
        rebuild.ends(0)
    case.is_the_fold()


def test_doctor_and_topic_describe_warn_of_such_a_topic_and_not_of_another(case: FrailCase) -> None:
    warning = "unclean.leader.election.enable=true"

    def said() -> list[str]:
        case.append_mix(5)
        case.finish("db")
        words = [["topic", "describe", case.name], ["doctor", named("db")]]
        processes = [case._spawn(["logsync.cli", *line]) for line in words]
        return [ended(process) for process in processes]

    assert all(warning in output for output in said())
    entry = ConfigEntry("unclean.leader.election.enable", "false", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, case.name, incremental_configs=[entry])
    case.admin.incremental_alter_configs([resource])[resource].result(PATIENCE)
    assert not any(warning in output for output in said())


def ended(process: Process) -> str:
    """Its output, whatever the code by which doctor tells how bad it is."""
    until(lambda: not process.running, process.name)
    return process.output
