"""What a member does about its instance id, over a client that does as it is told. # F3"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from logsync import Log
from logsync.core.position import Position
from logsync.log import instance, member
from logsync.log.group import KafkaReader
from logsync.log.member import Membership, membership
from logsync.settings import Settings

from .test_reader import Message

SETTINGS = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]


class Client:
    """A consumer that remembers what was done with it."""

    made: list[Client]

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.calls = config, list[str]()
        self.messages: list[Message] = []
        self.callbacks: dict[str, Callable[..., None]] = {}
        Client.made.append(self)

    def subscribe(self, _: list[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def unsubscribe(self) -> None:
        self.calls.append("unsubscribe")

    def memberid(self) -> str:
        return "" if self.calls.count("poll") > 1 else "member"

    def poll(self, _: float) -> Message | None:
        self.calls.append("poll")
        return self.messages.pop(0) if self.messages else None

    def consume(self, *_: object) -> list[Message]:
        return []

    def incremental_assign(self, _: list[TopicPartition]) -> None: ...
    def incremental_unassign(self, _: list[TopicPartition]) -> None: ...
    def commit(self, **_: object) -> None: ...

    def close(self) -> None:
        self.callbacks["on_revoke"](self, [TopicPartition("t", 0)])  # what it had, also when it was fenced
        self.config["on_commit"](KafkaError(KafkaError._FATAL), [])
        self.calls.append("close")

    @property
    def id(self) -> object:
        return self.config.get("group.instance.id")


@pytest.fixture(autouse=True)
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    boot = tmp_path / "boot"
    boot.write_text("this boot\n")
    monkeypatch.setattr(instance, "BOOT", boot)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(member, "Consumer", Client)
    monkeypatch.setattr(Client, "made", [], raising=False)
    return Client.made


def opened(kind: Membership) -> KafkaReader:
    made = KafkaReader(Log("t"), "s", SETTINGS, kind)
    made.open()
    return made


def test_the_id_is_held_until_the_client_is_closed(clients: list[Client]) -> None:
    for kind in (Membership.STAY, Membership.LEAVE):
        first, second = opened(kind), opened(kind)
        second.close()
        first.close()
    ids = [client.id for client in clients]
    assert ids[0] != ids[1]
    assert ids[:2] == ids[2:]


def test_a_member_that_stays_closes_and_one_that_leaves_unsubscribes_first(clients: list[Client]) -> None:
    for kind in Membership:
        opened(kind).close()
    assert [client.calls for client in clients] == [
        ["close"], ["unsubscribe", "poll", "poll", "close"], ["close"]
    ]  # fmt: skip
    assert [client.id is None for client in clients] == [False, False, True]


@pytest.mark.parametrize("told", ["by a commit", "by the client"])
def test_a_member_that_was_fenced_goes_on_as_another_without_an_id(
    told: str, clients: list[Client], caplog: pytest.LogCaptureFixture
) -> None:
    made = opened(Membership.STAY)
    (old,) = clients
    old.callbacks["on_assign"](old, [TopicPartition("t", 0)])
    assert made.poll(0, 10).assigned == [0]
    made.start(Position(0, 0))
    if told == "by a commit":
        made.commit(Position(0, 1))
        old.config["on_commit"](KafkaError(KafkaError.FENCED_INSTANCE_ID), [])
    else:
        old.messages = [Message(None, -1, KafkaError(KafkaError._FATAL))]
        made.poll(0, 10)
    batch = made.poll(0, 10)
    assert (batch.revoked, batch.parts) == ([0], [])
    assert old.calls[-1] == "close"
    assert [client.id is None for client in clients] == [False, True]
    assert "another living member has this worker's instance id" in caplog.text
    new = clients[1]
    new.callbacks["on_assign"](new, [TopicPartition("t", 0)])
    old.callbacks["on_revoke"](old, [TopicPartition("t", 0)])  # late: it has nothing that it could lose
    batch = made.poll(0, 10)
    assert (batch.assigned, batch.revoked, len(clients)) == ([0], [], 2)
    beside = opened(Membership.STAY)  # the number is not free: whoever took it would be fenced, too
    assert clients[2].id not in (None, old.id)
    beside.close()
    made.close()
    assert "unsubscribe" not in new.calls


def test_what_the_setting_means(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(member, "_CONTAINER", ())

    def meant(said: str) -> Membership:
        return membership(Settings(_env_file=None, membership=said))  # type: ignore[call-arg, arg-type]

    assert [meant(said) for said in ("stay", "leave", "dynamic", "auto")] == [*Membership, Membership.STAY]
    monkeypatch.setattr(member, "_CONTAINER", (os.devnull,))
    assert (meant("auto"), meant("stay")) == (Membership.LEAVE, Membership.STAY)
    monkeypatch.setattr(member, "_CONTAINER", ())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert meant("auto") is Membership.LEAVE
