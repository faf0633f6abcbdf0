"""Kafka nodes of a test's own: several brokers that are controllers, too, killed and started as the test likes.

The devstack's one broker cannot lose a leader and keep the log. These run from the same jars, with small heaps, in a
folder of the test.
"""

from __future__ import annotations

import json
import random
import socket
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devstack import jars, process
from devstack.kafka import SETTINGS
from devstack.process import Command, Pid
from devstack.server import java
from devstack.stack import HOME

from ..worker.harness import until

# Below every system's range of outgoing ports, so that nobody takes the port of a node that is down; and beside the
# devstack's, which keeps the ports of servers that do not run.
_PORTS = range(29_000, 32_000)


class Node:
    """One process. It keeps its ports and its data when it is killed."""

    def __init__(self, number: int, folder: Path, listeners: Mapping[str, str]) -> None:
        self.number, self.folder, self.listeners = number, folder, listeners
        self.ports = {name: _free_port() for name in listeners}
        self.log, self.config = folder / "log", folder / "server.properties"
        self._pid: Pid | None = None

    def configure(self, voters: str, settings: Mapping[str, str], fronts: Mapping[str, Callable[[int], int]]) -> None:
        self.folder.mkdir(parents=True)
        where = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        told = {name: fronts.get(name, int)(port) for name, port in self.ports.items()}
        lines = {
            **SETTINGS,
            "process.roles": "broker,controller",
            "node.id": str(self.number),
            "controller.quorum.voters": voters,
            "listeners": where,
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in told.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in self.listeners.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "log.dirs": str(self.folder / "data"),
            "broker.session.timeout.ms": "2500",  # how long a killed broker goes on leading: not Kafka's 9 seconds
            "broker.heartbeat.interval.ms": "500",
            **settings,
        }
        self.config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    def format(self, cluster: str) -> None:
        tool = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self.config))
        process.run(tool, cwd=self.folder, log=self.log)

    def start(self) -> None:
        """Begin to start; ``Cluster`` knows when it is there."""
        self._pid = process.spawn(self._java("kafka.Kafka", str(self.config)), cwd=self.folder, log=self.log)

    @property
    def running(self) -> bool:
        return self._pid is not None and self._pid.process() is not None

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        live = self._pid and self._pid.process()
        if live:
            process.kill([live])

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        live = self._pid and self._pid.process()
        if live:
            process.freeze(live)

    def resume(self) -> None:
        live = self._pid and self._pid.process()
        if live:
            process.thaw(live)

    def quorum(self) -> tuple[int, int]:
        """(epoch, leader) of the controllers, as this node wrote it down; leader -1: it knows none."""
        path = self.folder / "data" / "__cluster_metadata-0" / "quorum-state"
        with suppress(OSError, ValueError):  # not written yet, or just being replaced
            state = json.loads(path.read_text())
            return int(state["leaderEpoch"]), int(state["leaderId"])
        return -1, -1

    def _java(self, *arguments: str) -> Command:
        path = jars.classpath("kafka", HOME / "jars", lambda _done, _total: None)
        flags = ["-Dlog4j2.level=INFO", f"-Djava.io.tmpdir={self.folder}"]
        return Command([*java(heap="256m", bench=False), *flags, "-cp", path, *arguments], env={})


class Cluster:
    """``nodes`` brokers, each with a vote among the controllers. ``start`` it, and ``close`` it whatever happens.

    ``listeners``: more of them, name to security protocol, beside the plain one that the nodes and the test itself
    use. ``fronts``: by listener, what makes of a node's port the one that its clients are told, as of a proxy.
    ``settings``: of every node.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        *,
        listeners: Mapping[str, str] | None = None,
        fronts: Mapping[str, Callable[[int], int]] | None = None,
        **settings: str,
    ) -> None:
        self.folder = folder
        named = {"PLAIN": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **(listeners or {})}
        self.nodes = {number: Node(number, folder / f"node{number}", named) for number in range(1, nodes + 1)}
        voters = ",".join(f"{node.number}@127.0.0.1:{node.ports['CONTROLLER']}" for node in self.nodes.values())
        copies = {"offsets.topic.replication.factor": str(nodes), "min.insync.replicas": str(min(2, nodes))}
        for node in self.nodes.values():
            node.configure(voters, {**copies, **settings}, fronts or {})
        self.servers = self.address("PLAIN")
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})

    def address(self, listener: str) -> str:
        return ",".join(f"127.0.0.1:{node.ports[listener]}" for node in self.nodes.values())

    def start(self) -> None:
        """Make the data of all nodes and start them. Returns when all are there."""
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")  # no "-" in front
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(lambda node: node.format(cluster), self.nodes.values()))
        self.run(*self.nodes)

    def run(self, *numbers: int) -> None:
        """Start these nodes. Returns when every node that runs is a broker of the cluster."""
        for number in numbers:
            self.nodes[number].start()
        until(self._complete, lambda: f"brokers {sorted(self._up())}, found {sorted(self.brokers())}\n{self.tail()}")

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def _up(self) -> set[int]:
        return {number for number, node in self.nodes.items() if node.running}

    def _complete(self) -> bool:
        return self.brokers() == self._up()

    def brokers(self) -> set[int]:
        with suppress(KafkaException):
            return set(self.admin.list_topics(timeout=2).brokers)
        return set()

    def controller(self) -> int:
        """The controller that leads, by the newest epoch that any node knows."""
        return max(node.quorum() for node in self.nodes.values())[1]

    def leader(self, topic: str) -> int:
        """The broker that leads partition 0; -1: none does, or nobody answers."""
        return self._partition(topic)[0]

    def in_sync(self, topic: str) -> set[int]:
        return self._partition(topic)[1]

    def _partition(self, topic: str) -> tuple[int, set[int]]:
        with suppress(KafkaException):  # metadata come from any broker; describe_topics asks a certain one
            found = self.admin.list_topics(topic, timeout=5).topics[topic].partitions.get(0)
            if found is not None:
                return found.leader, set(found.isrs)
        return -1, set()

    def tail(self) -> str:
        """The last lines of every node's log."""
        return "\n".join(
            f"--- node {number}\n" + "\n".join(node.log.read_text(errors="replace").splitlines()[-15:])
            for number, node in self.nodes.items()
            if node.log.exists()
        )


_taken: set[int] = set()


def _free_port() -> int:
    for port in random.sample(_PORTS, len(_PORTS)):
        if port in _taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise AssertionError("no free port")
