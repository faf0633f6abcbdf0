"""Kafka 4, one KRaft node that is broker and controller."""

from __future__ import annotations

import socket
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from . import jars, process
from .process import Command
from .server import Note, NotReady, Server, java

# Retention is left at Kafka's own defaults: topics bring theirs, and a topic that does not must be seen to fail.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "delete.topic.enable": "true",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",  # tests wait for a dead consumer's session to end
    # Fewer internal partitions: a fresh group's first join is faster.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "log.segment.delete.delay.ms": "1000",
}


class Kafka(Server):
    name = "kafka"
    version = "4.1.1"
    variable = "LOGSYNC_KAFKA"
    span = 2  # clients; controller

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def _repo(self) -> Path:
        return self.site.home / "jars"

    def fetch(self, note: Note) -> None:
        jars.classpath(self.name, self._repo, lambda done, total: note(f"fetching jars {done}/{total}"))

    def create(self) -> None:
        self.data.mkdir()
        # No "-": in front it would be taken for an option.
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = self._java(
            "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._write_config()), "--standalone"
        )
        process.run(tool, cwd=self.directory, log=self.log)

    def command(self) -> Command:
        return self._java("kafka.Kafka", str(self._write_config()))

    def check(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            client = AdminClient({"bootstrap.servers": self.url, "log_level": 0})
            brokers = client.list_topics(timeout=1.5).brokers
        except (OSError, KafkaException) as error:
            raise NotReady(str(error)) from None
        if not brokers:
            raise NotReady("no broker is registered")

    def _java(self, *arguments: str) -> Command:
        classpath = jars.classpath(self.name, self._repo, lambda _done, _total: None)
        flags = ["-Dlog4j2.level=INFO", f"-Djava.io.tmpdir={self.directory}"]
        heap = "1g" if self.bench else "384m"
        return Command([*java(heap=heap, bench=self.bench), *flags, "-cp", classpath, *arguments], env={})

    def _write_config(self) -> Path:
        controller = self.port + 1
        settings = {
            # A killed broker is let back in when its old session has ended: not after Kafka's 9 seconds.
            "broker.session.timeout.ms": "2500",
            "broker.heartbeat.interval.ms": "500",
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data),
            **SETTINGS,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path
