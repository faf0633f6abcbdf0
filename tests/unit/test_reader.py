"""What KafkaReader makes of a poll that brings more than one batch may hold, over a client that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, TopicPartition

from logsync import Log
from logsync.core.event import Fault, Record
from logsync.core.position import Position
from logsync.errors import ConfigError
from logsync.log import group as module
from logsync.log.group import KafkaReader
from logsync.log.lookup import Span
from logsync.settings import Settings

SETTINGS = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]


class Message:
    """A record of 100 bytes, or an error."""

    def __init__(self, partition: int | None, offset: int, error: KafkaError | None = None) -> None:
        self._partition, self._offset, self._error = partition, offset, error

    def __len__(self) -> int:
        return 100

    def partition(self) -> int | None:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v" * 100

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    def leader_epoch(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


class Client:
    """Has some messages at hand; ``meanwhile`` happens inside each consume."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.meanwhile: Callable[[], None] = lambda: None

    def poll(self, _: float) -> Message | None:
        return self.messages.pop(0) if self.messages else None

    def consume(self, count: int, _: float) -> list[Message]:
        given, self.messages = self.messages[:count], self.messages[count:]
        self.meanwhile()
        return given

    def incremental_assign(self, _: list[TopicPartition]) -> None:
        pass

    def incremental_unassign(self, _: list[TopicPartition]) -> None:
        pass


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_BYTES", 350)


def reading(client: Client, *partitions: int) -> KafkaReader:
    made = KafkaReader(Log("t"), "s", SETTINGS)
    made._consumer = client  # type: ignore[assignment]
    made._on_assign(client, [TopicPartition("t", number) for number in partitions])  # type: ignore[arg-type]
    for number in partitions:
        made.start(Position(number, 0))
    return made


def offsets(made: KafkaReader) -> dict[int, list[int]]:
    return {part.partition: [record.offset for record in part.records] for part in made.poll(0, 1000).parts}


def test_what_is_too_much_for_a_batch_comes_with_the_next_ones_in_order() -> None:
    made = reading(Client(*(Message(0, n) for n in range(8))), 0)
    polled = [made.poll(0, 1000) for _ in range(4)]
    assert [[r.offset for part in batch.parts for r in part.records] for batch in polled] == [
        [0, 1, 2], [3, 4, 5], [6, 7], []
    ]  # fmt: skip
    assert [batch.more for batch in polled] == [True, True, False, False]


def test_a_poll_serves_the_group_although_enough_is_at_hand() -> None:
    client = Client(*(Message(0, n) for n in range(9)))
    made, calls = reading(client, 0), list[None]()
    offsets(made)
    client.meanwhile = lambda: calls.append(None)
    assert offsets(made) == {0: [3, 4, 5]}
    assert calls


def test_what_is_left_over_goes_with_a_partition_that_is_revoked_while_more_is_collected() -> None:
    """Begun again, it brings its records anew: what was left over would stand behind the position, or twice."""
    client = Client(*(Message(n % 2, n) for n in range(8)))
    made = reading(client, 0, 1)

    def revoked() -> None:
        client.meanwhile = lambda: None
        made._on_revoke(client, [TopicPartition("t", 1)])  # type: ignore[arg-type]

    client.meanwhile = revoked
    assert offsets(made) == {0: [0, 2]}
    made._on_assign(client, [TopicPartition("t", 1)])  # type: ignore[arg-type]
    made.start(Position(1, 0))
    assert [offsets(made) for _ in range(2)] == [{0: [4, 6]}, {}]


def test_an_error_without_a_partition_is_not_lost_behind_a_full_batch() -> None:
    denied = Message(None, -1, KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    made = reading(Client(*(Message(0, n) for n in range(4)), denied), 0)
    assert offsets(made) == {0: [0, 1, 2]}
    with pytest.raises(ConfigError, match="Read"):
        made.poll(0, 1000)


class Other:
    """Another client, which reads what is there."""

    def __init__(self, *records: Record) -> None:
        self.records = records

    def bounds(self, _: int) -> Span:
        return Span(0, 9)

    def read(self, *_: int) -> Iterator[Record]:
        return iter(self.records)


def broken(offset: int) -> Message:
    return Message(0, offset, KafkaError(KafkaError._BAD_MSG))


def faults(made: KafkaReader) -> list[tuple[int, int | None]]:
    records = [record for part in made.poll(0, 1000).parts for record in part.records]
    return [(record.offset, record.fault.last) for record in records if record.fault is not None]


def test_nothing_that_comes_after_what_cannot_be_read_is_taken() -> None:  # L6
    made = reading(Client(Message(0, 0), broken(1), Message(0, 7), broken(8)), 0)
    made._lookup = Other(Record(0, 1, None, None, [], fault=Fault("damaged", 4)))  # type: ignore[assignment]
    (part,) = made.poll(0, 1000).parts
    assert [record.offset for record in part.records] == [0, 1]
    assert part.next_offset == 5


def test_an_error_that_no_other_client_meets_is_read_again_and_not_for_ever() -> None:  # L6
    client = Client(Message(0, 0))
    made = reading(client, 0)
    made._lookup = Other(Record(0, 1, b"k", b"v", []))  # type: ignore[assignment]
    assert offsets(made) == {0: [0]}
    found = []
    for _ in range(module._AGAIN):
        client.messages = [broken(1)]
        found.append(faults(made))
    assert found == [[]] * (module._AGAIN - 1) + [[(1, 1)]]
