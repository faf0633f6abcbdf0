"""Which real servers a test asks for, and the stack as that test sees it: those, and no others.

A folder says what its tests need; a module, a test or a parameter that needs something else says so with
``@pytest.mark.servers("kafka", "redis")``, and the nearest word counts. A test that uses a server it did not ask for
fails: its address is the name of a host that no network has, and ``stack`` says which mark is missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from devstack import NAMES, Stack, StackError
from devstack.server import Server
from tests.waiting import PATIENCE

HERE = Path(__file__).parent
FOLDERS: dict[str, tuple[str, ...]] = {
    "integration/postgres": ("postgres",),
    "integration/redis": ("redis",),
    "integration/opensearch": ("opensearch",),
    "integration/kafka": ("kafka",),
    "integration/outbox": ("postgres",),
    "integration/cli": ("kafka", "postgres"),
    "integration/sources": ("postgres",),
    "integration/reading": ("kafka", "postgres", "opensearch"),
}
VARIABLES = {
    "kafka": ("LOGSYNC_KAFKA", "{}:9"),
    "postgres": ("LOGSYNC_POSTGRES", "postgresql://{}:9/none"),
    "redis": ("LOGSYNC_REDIS", "redis://{}:9/0"),
    "opensearch": ("LOGSYNC_OPENSEARCH", "http://{}:9"),
}


def asked(test: pytest.Item) -> tuple[str, ...]:
    """The servers of this test. A mark without names, and a folder that has no entry and is in none, mean all."""
    mark = test.get_closest_marker("servers")
    if mark is not None and mark.args:
        unknown = set(mark.args) - set(NAMES)
        assert not unknown, f"{test.nodeid} asks for {sorted(unknown)}; there are {', '.join(NAMES)}"
        return tuple(mark.args)
    above = [str(folder.relative_to(HERE)) for folder in test.path.parents if folder.is_relative_to(HERE)]
    return next((FOLDERS[folder] for folder in above if folder in FOLDERS), NAMES)


class Asked(Stack):
    """Some servers of a stack. Everything that a test does to the stack stays within them."""

    def __init__(self, name: str, servers: Iterable[str]) -> None:
        super().__init__(name)
        self.servers = {server: self.servers[server] for server in servers}

    def up(self, *, only: Iterable[str] | None = None, **options: object) -> None:
        super().up(only=self.servers if only is None else only, **options)  # type: ignore[arg-type]

    def addresses(self) -> dict[str, str]:
        """An address for every server. Nobody answers at those of the servers that were not asked for."""
        nowhere = {
            variable: form.format(f"{server}-was-not-asked-for.invalid")
            for server, (variable, form) in VARIABLES.items()
        }
        return {**nowhere, **self.env()}

    def _server(self, name: str) -> Server:
        if name in NAMES and name not in self.servers:
            names = ", ".join(f'"{each}"' for each in (*self.servers, name))
            raise StackError(f"this test did not ask for {name}: @pytest.mark.servers({names})")
        return super()._server(name)


def _groups_answer(kafka: str) -> None:
    """Wait until a new broker serves groups: it makes their topic when the first one asks, and says no until then."""
    deadline = time.monotonic() + PATIENCE
    for number in range(8):  # more than that topic has partitions
        consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"is-there-{number}", "log_level": 0})
        answered = False
        while not answered:
            try:
                consumer.committed([TopicPartition("none", 0)], timeout=10)
                answered = True
            except KafkaException:
                assert time.monotonic() < deadline, "the broker serves no groups"
                time.sleep(0.1)
        consumer.close()


class Servers:
    """The servers of one test run. Each is started when the first test asks for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: set[str] = set()

    def get(self, *names: str) -> Asked:
        """The stack with these servers, which answer. Raises StackError with the log of one that does not."""
        found = Asked(self.name, names)
        if new := set(names) - self._started:
            found.up(only=sorted(new))
            self._started |= new
            if "kafka" in new:
                _groups_answer(found.env()["LOGSYNC_KAFKA"])
        return found

    def down(self) -> None:
        Stack(self.name).down()
