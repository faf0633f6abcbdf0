"""Every task passes with the rights that docs/permissions.md lists, and says plainly what is missing without one."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from confluent_kafka import Producer as Raw
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

from logsync import AppendIncomplete, AppendOutcomeUnknown, AppendRejected, AsyncProducer, Log, Producer
from logsync.cli import main
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.codec import encode
from logsync.log.admin import Kafka
from logsync.settings import Settings
from logsync.stores.memory import Server
from tests.waiting import PATIENCE

from . import guarded, rights
from .cluster import Cluster
from .guarded import ThingMade
from .rights import NAMES, TASKS, Right, Task, deprived
from .test_secured import openssl

ENOUGH = PATIENCE
"""Seconds after which a task counts as one that never ends."""
PASSWORD = "of-all-of-them"
FOR_EVER = {"retention.ms": "-1"}


class Case(NamedTuple):
    """A user of its own, so that no right has to be taken from anybody while brokers remember it."""

    task: Task
    missing: Right | None
    rights: tuple[Right, ...]
    user: str

    @property
    def names(self) -> dict[str, str]:
        """Who creates or writes does so to a topic of its own: the others count what is in the log."""
        own = self.task.role == "writer" or "create" in self.task.name
        return {**NAMES, "topic": f"{self.user}.events"} if own else NAMES

    def __str__(self) -> str:
        left = ", ".join(f"{right.operation} {right.resource}" for right in self.rights) or "nothing"
        return f"{self.task.name}: {left}"


def cases() -> list[Case]:
    found: list[Case] = []
    for task in TASKS:
        for missing, left in [(None, task.needs), *deprived(task.needs)]:
            found.append(Case(task, missing, left, f"user{len(found)}"))
    return found


CASES = cases()
LACKING = [case for case in CASES if case.task.role == "writer" and case.rights == (Right("Describe", "topic"),)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The test itself and the broker are ANONYMOUS, on the plain listener, and may do everything."""
    folder = tmp_path_factory.mktemp("rights")
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 2 -subj /CN=broker "
        "-addext subjectAltName=IP:127.0.0.1",
    )
    (folder / "store").write_text((folder / "key").read_text() + (folder / "certificate").read_text())
    users = " ".join(f'user_{case.user}="{PASSWORD}"' for case in CASES)
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "store"),
        "sasl.enabled.mechanisms": "PLAIN",
        "plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
    }
    own = {f"listener.name.secure.{name}": value for name, value in settings.items()}
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    broker = Cluster(
        folder, 1, listeners={"SECURE": "SASL_SSL"},
        **{"authorizer.class.name": authorizer, "super.users": "User:ANONYMOUS", **own},
    )  # fmt: skip
    try:
        broker.start()
        grants = [binding(case, right) for case in CASES for right in case.rights]
        topics = [NAMES["topic"], *(case.names["topic"] for case in CASES if case.task.role == "writer")]
        answers = [*broker.admin.create_acls(grants).values()]
        answers += broker.admin.create_topics([NewTopic(name, 1, 1, config=FOR_EVER) for name in topics]).values()
        for answer in answers:
            answer.result(PATIENCE)
        yield broker
    finally:
        broker.close()


def binding(case: Case, right: Right) -> AclBinding:
    operation = {
        "Read": AclOperation.READ, "Write": AclOperation.WRITE, "Create": AclOperation.CREATE,
        "Describe": AclOperation.DESCRIBE, "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    }[right.operation]  # fmt: skip
    return AclBinding(
        ResourceType[right.resource.upper()], case.names[right.resource], ResourcePatternType.LITERAL,
        f"User:{case.user}", "*", operation, AclPermissionType.ALLOW,
    )  # fmt: skip


@pytest.fixture(scope="module")
def filled(broker: Cluster) -> Server:
    """A log with a retried append in it, and a store that holds it: one event is parked, one not applied yet."""
    raw, first = Raw({"bootstrap.servers": broker.servers, "acks": "all"}), str(uuid.uuid4())

    def append(name: str, event_id: str, *headers: tuple[str, bytes]) -> None:
        made = encode(guarded.log, ThingMade(name=name), event_id=event_id, time=datetime.now(UTC))
        raw.produce(guarded.log.topic, made.value, made.key, headers=[*made.headers, *headers])
        assert raw.flush(20) == 0

    append("good", first)
    append("bad", str(uuid.uuid4()))
    append("good", first, (RETRY_FROM, b"0"))
    append("good", str(uuid.uuid4()))
    guarded.store.server = Server()
    guarded.broken.add("bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGSYNC_KAFKA", broker.servers)
        patch.setenv("LOGSYNC_ENVIRONMENT", "live")
        done = logsync(f"consume {rights.SINK} --until-end")
    guarded.broken.clear()
    assert done.code == 0, done.told
    append("good", str(uuid.uuid4()))
    return guarded.store.server


class Done(NamedTuple):
    code: int | None
    """None: it has not come to an end."""
    told: str


def logsync(command: str) -> Done:
    """The command, run in this process: eighty of them would take longer to start than to work."""
    told, codes = io.StringIO(), list[int]()

    def work() -> None:
        try:
            main(command.split())
        except SystemExit as done:
            codes.append(int(done.code or 0))

    logger = logging.getLogger("logsync")
    before = logger.handlers[:], logger.level, logger.propagate
    with redirect_stdout(told), redirect_stderr(told):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(ENOUGH)
    logger.handlers[:], logger.level, logger.propagate = before
    return Done(codes[0] if codes else None, told.getvalue())


@pytest.mark.parametrize("case", [case for case in CASES if case.task.command], ids=str)
def test_a_command_passes_with_these_rights_and_says_which_one_is_missing(
    broker: Cluster, filled: Server, case: Case, as_user: Settings
) -> None:
    guarded.store.server = copy.deepcopy(filled)
    if "consume" in case.task.name:
        guarded.store.server = Server()
    if "adopt" in case.task.name:
        moved(guarded.store.server)
    done = logsync(case.task.command.format(**case.names))
    if case.missing is None:
        assert done.code == case.task.code, done.told
        if "consume" in case.task.name:  # the retried append was looked up
            assert guarded.store.content.keys["good"] == "3"
        return
    assert done.code == (FAILS.get(case.task.name, 3)), done.told
    says_what_is_missing(case, done.told)


FAILS = {"logsync status": 8, "logsync doctor": 11}
"""The exit codes of those that go on to the next sink; all others end as misconfigured."""


def moved(server: Server) -> None:
    """As if the log had been copied here."""
    book = server.books["db"]
    server.books["db"] = book.model_copy(update={"log": book.log._replace(topic_id="another")})


def says_what_is_missing(case: Case, told: str) -> None:
    """By its name, or Describe, which it includes and which is asked for first."""
    assert case.missing is not None
    where = f"on {case.missing.resource} {case.names[case.missing.resource]}"
    assert f"{case.missing.operation} {where}" in told or f"Describe {where}" in told, told
    assert case.task.name == "logsync status" or "docs/permissions.md" in told  # its rows have no room for it


@pytest.mark.parametrize("case", [case for case in CASES if case.task.role == "writer"], ids=str)
def test_a_writer_passes_with_these_rights_and_says_which_one_is_missing(
    broker: Cluster, case: Case, as_user: Settings
) -> None:
    log = Log(case.names["topic"])
    log.event("thing.made", key="name")(ThingMade)
    events = [ThingMade(name=f"thing{number}") for number in range(3)]
    append = WRITERS[case.task.name]
    if case.missing is None:
        append(log, as_user, events)
        assert records(broker, log.topic) == 3
        return
    with pytest.raises((AppendRejected, AppendIncomplete)) as caught:
        append(log, as_user, events)
    error = caught.value
    if isinstance(error, AppendIncomplete):
        assert (error.report.appended, error.report.unknown) == (0, {})
    else:
        says_what_is_missing(case, str(error))
    assert records(broker, log.topic) == 0


@pytest.mark.parametrize("case", LACKING, ids=str)
def test_a_right_that_a_producer_turns_out_to_lack_is_no_error_of_the_client(
    broker: Cluster, monkeypatch: pytest.MonkeyPatch, case: Case, as_user: Settings
) -> None:
    """Other brokers may not tell beforehand. Then the client ends for good, also while it is being served."""
    log = Log(case.names["topic"])
    log.event("thing.made", key="name")(ThingMade)
    monkeypatch.setattr(Kafka, "writable", Kafka.identify)
    with pytest.raises((AppendRejected, AppendIncomplete, AppendOutcomeUnknown), match=r"authoriz|Purged|Fatal"):
        WRITERS[case.task.name](log, as_user, [ThingMade(name="one"), ThingMade(name="two")])
    assert records(broker, log.topic) == 0


def append_each(log: Log, settings: Settings, events: list[ThingMade]) -> None:
    with Producer(log, settings=settings) as producer:
        for event in events:
            producer.append(event)


def append_many(log: Log, settings: Settings, events: list[ThingMade]) -> None:
    Producer(log, settings=settings).append_many(events)


def append_async(log: Log, settings: Settings, events: list[ThingMade]) -> None:
    async def work() -> None:
        async with AsyncProducer(log, settings=settings) as producer:
            await asyncio.gather(*map(producer.append, events))

    asyncio.run(work())


def append_again(log: Log, settings: Settings, events: list[ThingMade]) -> None:
    with Producer(log, settings=settings) as producer:
        for event in events[:-1]:
            producer.append(event)
        with pytest.raises(AppendOutcomeUnknown) as caught:
            producer.append(events[-1], timeout=0)
        caught.value.retry()


WRITERS: dict[str, Callable[[Log, Settings, list[ThingMade]], None]] = {
    "append": append_each,
    "append_many": append_many,
    "AsyncProducer.append": append_async,
    "retry of an unknown append": append_again,
}


def records(broker: Cluster, topic: str) -> int:
    place = TopicPartition(topic, 0)
    return int(broker.admin.list_offsets({place: OffsetSpec.latest()})[place].result(PATIENCE).offset)


@pytest.fixture
def as_user(broker: Cluster, case: Case, monkeypatch: pytest.MonkeyPatch) -> Settings:
    options = {
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(broker.folder / "certificate"),
        "sasl.mechanism": "PLAIN",
        "sasl.username": case.user,
        "sasl.password": PASSWORD,
    }
    for name in [name for name in os.environ if name.startswith("LOGSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOGSYNC_KAFKA", broker.address("SECURE"))
    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", json.dumps(options))
    monkeypatch.setenv("LOGSYNC_ENVIRONMENT", "live")
    monkeypatch.setattr("logsync.run._OTHERS", 0.0)  # no worker runs: there is nobody to wait for
    return Settings(_env_file=None)
