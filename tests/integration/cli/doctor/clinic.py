"""A sink on real servers, and what `logsync doctor` finds about it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from logsync.cli.exits import Exit
from tests.waiting import PATIENCE

from ..conftest import Shell, Topic

DEAD = "127.0.0.1:1"


FRAIL: frozenset[str] = frozenset()
"""What is always found on a stack of one broker: no more than a note, for no setting mends it."""


Found = dict[str, dict[str, Any]]


def doctor(shell: Shell, *sinks: str) -> Found:
    """What was found, by check; notes left out."""
    answer = shell("doctor", *sinks, "--json", code=None)
    found = {row["check"]: row for row in json.loads(answer.stdout)}
    worst = {row["severity"] for row in found.values()}
    code = Exit.FOUND_ERROR if "error" in worst else Exit.FOUND_WARNING if "warning" in worst else Exit.OK
    assert answer.returncode == code
    assert all(row["found"] and (row["severity"] == "note" or (row["why"] and row["fix"])) for row in found.values())
    return {check: row for check, row in found.items() if row["severity"] != "note"}


class Clinic:
    """A sink whose worker has applied two events, and a way to see what one change adds to what is found anyway."""

    def __init__(self, shell: Shell, module: str, healthy: frozenset[str], *, name: str = "") -> None:
        self.shell, self.module, self.name = shell, module, name or module
        shell("consume", module, "--until-end")
        self.healthy = healthy

    def finds(self, check: str, severity: str, *words: str) -> None:
        found = doctor(self.shell, self.module)
        assert set(found) == self.healthy | {check}
        assert found[check]["severity"] == severity
        for word in words:
            assert word in str(found[check])

    def is_well(self) -> None:
        assert set(doctor(self.shell, self.module)) == self.healthy


OTHERS = """
from logsync import Event, Sink
from sinks.db import ThingMade, log
{imports}

sink = Sink("{name}", log, {store})


@sink.on(ThingMade)
def thing_made(event: Event[ThingMade]):
    yield {write}
"""


def alter(topic: Topic, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": topic.servers})
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(PATIENCE)


def trim(topic: Topic, before: int) -> None:
    admin = AdminClient({"bootstrap.servers": topic.servers})
    for future in admin.delete_records([TopicPartition(topic.name, 0, before)]).values():
        future.result(PATIENCE)


def execute(shell: Shell, statement: str, *values: object) -> None:
    with psycopg.connect(shell.env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
