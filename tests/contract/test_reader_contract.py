"""One suite for both readers: the promises of logsync/log/base.py, in memory and over a real broker."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import BaseModel

from logsync import Log
from logsync.core.event import Record
from logsync.core.position import LogIdentity, Position
from logsync.errors import ConfigError, PositionGap
from logsync.log.contract import Batch, LogReader
from logsync.log.group import KafkaReader, group_id
from logsync.settings import Settings
from logsync.testing import MemoryLog, MemoryReader
from tests.waiting import PATIENCE


class Source(Protocol):
    """A log of two partitions, written to without the reader's code."""

    def reader(self) -> LogReader: ...
    def append(self, partition: int, *values: str) -> None:
        """Records whose value and id are this text."""

    def transaction(self, *values: str, commit: bool) -> None:
        """Records in partition 0 that are committed or aborted together; a marker follows them."""

    def trim(self, partition: int, before: int) -> None:
        """The partition begins at this offset from now on."""

    def committed(self) -> dict[int, int]: ...


class Anything(BaseModel):
    pass


class MemorySource:
    def __init__(self, name: str) -> None:
        self.log = MemoryLog(Log(name), partitions=2)
        self.members: list[MemoryReader] = []

    def reader(self) -> MemoryReader:
        made = MemoryReader(self.log)
        made.open = lambda: self.deal([*self.members, made])  # type: ignore[method-assign]
        made.close = lambda: self.deal([member for member in self.members if member is not made])  # type: ignore[method-assign]
        return made

    def deal(self, members: list[MemoryReader]) -> None:
        """As Kafka's coordinator does whenever a member joins or leaves."""
        self.members = members
        for number, member in enumerate(reversed(members)):
            member.assign(*range(number, 2, len(members)))

    def append(self, partition: int, *values: str) -> None:
        for value in values:
            self.log.append_raw(b"k", value.encode(), [("ce_id", value.encode())], partition=partition)

    def transaction(self, *values: str, commit: bool) -> None:
        first = len(self.log.records[0])
        self.append(0, *values)
        if not commit:
            self.log.holes[0].update(range(first, first + len(values)))
        self.log.append_marker()

    def trim(self, partition: int, before: int) -> None:
        self.log.starts[partition] = before

    def committed(self) -> dict[int, int]:
        return self.log.committed


class KafkaSource:
    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self.admin = AdminClient({"bootstrap.servers": settings.kafka})
        self.admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "-1"})])[name].result(PATIENCE)
        self._producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 1})

    def reader(self) -> KafkaReader:
        return KafkaReader(Log(self.name), "reader", self.settings)

    def append(self, partition: int, *values: str) -> None:
        for value in values:
            self._producer.produce(self.name, value, "k", partition=partition, headers=[("ce_id", value.encode())])
        assert self._producer.flush(20) == 0

    def transaction(self, *values: str, commit: bool) -> None:
        name = uuid.uuid4().hex
        producer = Producer({"bootstrap.servers": self.settings.kafka, "transactional.id": name, "linger.ms": 1})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, value, "k", partition=0, headers=[("ce_id", value.encode())])
        assert producer.flush(20) == 0
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)

    def trim(self, partition: int, before: int) -> None:
        for future in self.admin.delete_records([TopicPartition(self.name, partition, before)]).values():
            future.result(PATIENCE)

    def committed(self) -> dict[int, int]:
        group = group_id(self.settings.environment, "reader")
        request = [ConsumerGroupTopicPartitions(group, [TopicPartition(self.name, number) for number in (0, 1)])]
        found = self.admin.list_consumer_group_offsets(request)[group].result(PATIENCE).topic_partitions
        return {part.partition: part.offset for part in found if part.offset >= 0}


@pytest.fixture
def kafka(request: pytest.FixtureRequest, unique: str, monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    request.getfixturevalue("settings")
    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", json.dumps({"session.timeout.ms": "6000"}))
    return KafkaSource(Settings(_env_file=None), unique)  # type: ignore[call-arg]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.servers("kafka"))])
def source(request: pytest.FixtureRequest, unique: str) -> Source:
    if request.param == "memory":
        return MemorySource(unique)
    made: Source = request.getfixturevalue("kafka")
    return made


@pytest.fixture
def open_reader(source: Source) -> Iterator[Callable[[], Member]]:
    members: list[Member] = []

    def make() -> Member:
        members.append(Member(source.reader()))
        return members[-1]

    yield make
    for member in members:
        member.reader.close()


@pytest.fixture
def member(open_reader: Callable[[], Member]) -> Member:
    made = open_reader()
    made.wait(lambda: made.held == {0, 1})
    return made


class Member:
    """An open reader and everything that its polls brought."""

    def __init__(self, reader: LogReader) -> None:
        self.reader = reader
        self.records: list[Record] = []
        self.held: set[int] = set()
        self.ends: dict[int, int] = {}
        self.batches: list[Batch] = []
        reader.open()

    def poll(self, limit: int = 1000, timeout: float = 0.1) -> Batch:
        batch = self.reader.poll(timeout, limit)
        self.batches.append(batch)
        self.held = (self.held - set(batch.revoked)) | set(batch.assigned)
        for part in batch.parts:
            self.records += part.records
            if part.next_offset:
                self.ends[part.partition] = part.next_offset
        return batch

    def wait(self, condition: Callable[[], object], limit: int = 1000) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.batches[-5:]
            self.poll(limit)

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records if record.partition == partition]


def test_a_partition_is_announced_once_and_not_read_before_it_is_started(source: Source, member: Member) -> None:
    source.append(0, "a")
    source.append(1, "b")
    for _ in range(5):
        member.poll()
    assert member.records == []
    assert sorted(number for batch in member.batches for number in batch.assigned) == [0, 1]
    member.reader.start(Position(1, 0))
    member.wait(lambda: member.records)
    assert [record.value for record in member.records] == [b"b"]


def test_every_record_comes_once_and_in_order_whatever_the_limit(source: Source, member: Member) -> None:
    for partition in (0, 1):
        source.append(partition, *(f"{partition}-{n}" for n in range(50)))
        member.reader.start(Position(partition, 0))
    member.wait(lambda: len(member.records) >= 60, limit=7)
    source.append(0, "0-50")
    member.wait(lambda: len(member.records) >= 101)
    for _ in range(3):
        member.poll()
    assert member.offsets(0) == list(range(51))
    assert member.offsets(1) == list(range(50))
    assert [record.value for record in member.records if record.partition == 1] == [b"1-%d" % n for n in range(50)]


def test_a_batch_is_bounded_by_the_limit(source: Source, member: Member) -> None:
    for partition in (0, 1):
        source.append(partition, *map(str, range(15)))
        member.reader.start(Position(partition, 0))
    member.wait(lambda: len(member.records) == 30, limit=4)
    assert max(sum(len(part.records) for part in batch.parts) for batch in member.batches) == 4


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    for module in ("log.group", "testing.memory_log"):
        monkeypatch.setattr(f"logsync.{module}.BATCH_BYTES", 1000)
    return 1000


def test_a_batch_is_bounded_by_the_bytes_of_its_values(source: Source, member: Member, small_batches: int) -> None:
    """Whatever the size of events, a worker's memory is that of a few MiB of them."""
    for partition in (0, 1):
        source.append(partition, *(f"{n:0100}" for n in range(30)))
    source.append(0, "last")
    # Begun again in the middle: what was left over of the first start is not brought any more.
    for again, wanted in ((0, 20), (25, 11)):
        for partition in (0, 1):
            member.reader.start(Position(partition, again))
        member.records.clear()
        member.wait(lambda: len(member.records) >= wanted)  # noqa: B023 - at once
    for partition, end in ((0, 31), (1, 30)):
        assert member.offsets(partition) == list(range(25, end))
    for batch in member.batches:
        values = [len(record.value or b"") for part in batch.parts for record in part.records]
        assert sum(values) <= small_batches
    assert any(batch.more for batch in member.batches)


def test_a_record_larger_than_a_batch_comes_all_the_same(source: Source, member: Member, small_batches: int) -> None:
    source.append(0, "small", "x" * (small_batches + 1), "small")
    source.append(1, "", "x" * (small_batches + 1))
    for partition in (0, 1):
        member.reader.start(Position(partition, 0))
    member.wait(lambda: len(member.records) == 5)
    assert (member.offsets(0), member.offsets(1)) == ([0, 1, 2], [0, 1])
    for batch in member.batches:
        values = [len(record.value or b"") for part in batch.parts for record in part.records]
        assert len(values) == 1 or sum(values) <= small_batches


def test_reading_begins_at_the_position_and_not_at_the_commit(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(20)))
    member.reader.commit(Position(0, 15))
    member.reader.start(Position(0, 5))
    member.wait(lambda: len(member.records) >= 15)
    assert member.offsets(0) == list(range(5, 20))


def test_a_start_at_a_lower_position_reads_again_from_there_although_the_end_was_near(
    source: Source, member: Member
) -> None:
    source.append(0, *map(str, range(40)))
    for limit in (1, 20, 39, 40):  # records and the note of the end are waiting in the client, more or less of them
        member.records.clear()
        member.reader.start(Position(0, 0))
        while len(member.records) < limit:
            member.poll(limit=min(limit, 7))
        member.records.clear()
        member.ends.clear()
        member.reader.start(Position(0, 10))
        first = member.poll()
        while not first.parts:
            first = member.poll()
        assert first.parts[0].records, "the end of an earlier start would have moved the position over records"
        assert first.parts[0].records[0].offset == 10
        member.wait(lambda: len(member.records) == 30)
        assert member.offsets(0) == list(range(10, 40))


def test_stop_drops_what_was_fetched_and_keeps_the_partition(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(40)))
    member.reader.start(Position(0, 0))
    while not member.records:
        member.poll(limit=3)
    member.reader.stop()
    member.records.clear()
    for _ in range(5):
        assert member.poll().parts == []
    assert member.held == {0, 1}
    member.reader.start(Position(0, 2))
    member.wait(lambda: len(member.records) >= 38)
    assert member.offsets(0) == list(range(2, 40))


def test_the_end_is_told_when_it_is_reached_and_not_before(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(10)))
    member.reader.start(Position(0, 0))
    member.wait(lambda: 0 in member.ends, limit=3)
    assert member.ends[0] == 10
    assert len(member.records) == 10


@pytest.mark.parametrize("at", [0, 2, 9])
def test_a_position_outside_the_log_is_a_gap(source: Source, member: Member, at: int) -> None:
    source.append(0, *map(str, range(6)))
    source.trim(0, 3)
    member.reader.start(Position(0, at))
    with pytest.raises(PositionGap):
        member.wait(lambda: member.records)
    assert member.records == []


@pytest.mark.parametrize("at", [3, 6])
def test_a_position_at_the_first_or_the_next_offset_is_no_gap(source: Source, member: Member, at: int) -> None:
    source.append(0, *map(str, range(6)))
    source.trim(0, 3)
    member.reader.start(Position(0, at))
    source.append(0, "6")
    member.wait(lambda: len(member.records) == 7 - at)
    assert member.offsets(0) == list(range(at, 7))


def test_a_commit_can_be_seen_by_others(source: Source, member: Member) -> None:
    source.append(0, "a", "b")
    member.reader.commit(Position(0, 2))
    member.wait(lambda: source.committed() == {0: 2})


def test_bounds_and_identity_are_those_of_the_log(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(6)))
    source.trim(0, 3)
    assert member.reader.bounds(0) == (3, 6)
    assert member.reader.bounds(1) == (0, 0)
    identity = member.reader.identity()
    assert isinstance(identity, LogIdentity)
    assert identity.partitions == 2
    assert identity == member.reader.identity()


def test_an_id_is_found_at_its_offset_and_in_ranges_that_hold_it(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(6)))
    reader = member.reader
    assert [reader.id_at(0, offset) for offset in (0, 5, 6)] == ["0", "5", None]
    assert reader.find(0, {"3"}, 3, 4) == {"3": 3}
    assert reader.find(0, {"3", "5", "x"}, 0, 6) == {"3": 3, "5": 5}
    calls: list[None] = []
    assert reader.find(0, {"3"}, 0, 3, meanwhile=lambda: calls.append(None)) == {}
    assert calls
    assert reader.find(0, {"3"}, 4, 6) == {}
    assert reader.find(0, {"3"}, 3, 3) == {}
    assert reader.find(1, {"3"}, 0, 6) == {}
    source.append(0, "3")
    assert reader.find(0, {"3"}, 0, 7) == {"3": 3}


def test_transaction_markers_and_aborted_records_are_holes_that_the_end_passes(source: Source, member: Member) -> None:
    source.append(0, "0")
    source.transaction("a", "b", commit=False)  # offsets 1, 2, and the marker at 3
    source.transaction("4", "5", commit=True)  # 4, 5, and the marker at 6
    source.transaction("c", commit=False)  # 7, 8
    for limit in (1, 1000):
        member.records.clear()
        member.ends.clear()
        member.reader.start(Position(0, 0))
        member.wait(lambda: 0 in member.ends, limit)
        assert member.offsets(0) == [0, 4, 5]
        assert member.ends[0] == 9 == member.reader.bounds(0)[1]
    assert member.reader.id_at(0, 1) is None
    assert member.reader.id_at(0, 8) is None
    assert member.reader.find(0, {"a"}, 0, 9) == {}
    member.reader.start(Position(0, 7))  # nothing that can be read comes any more, and the end is told all the same
    member.ends.clear()
    member.wait(lambda: 0 in member.ends)
    assert member.ends[0] == 9


def test_an_end_that_moves_without_records_is_told_again(source: Source, member: Member) -> None:
    source.append(0, "0")
    member.reader.start(Position(0, 0))
    member.wait(lambda: member.ends.get(0) == 1)
    source.transaction("a", commit=False)
    member.wait(lambda: member.ends.get(0) == 3)
    assert member.offsets(0) == [0]


def test_two_members_share_the_partitions_and_nothing_of_a_revoked_one_is_read(
    source: Source, member: Member, open_reader: Callable[[], Member]
) -> None:
    for partition in (0, 1):
        source.append(partition, *map(str, range(2000)))
        member.reader.start(Position(partition, 0))
    member.wait(lambda: member.records, limit=10)
    second = open_reader()
    while not second.held:
        member.poll(limit=10)
        second.poll()
    assert second.held | member.held == {0, 1}
    assert not second.held & member.held
    assert second.records == []
    revoked = next(n for n, batch in enumerate(member.batches) if batch.revoked)
    (gone,) = member.batches[revoked].revoked
    member.wait(lambda: len(member.offsets(1 - gone)) == 2000)
    later = [part.partition for batch in member.batches[revoked:] for part in batch.parts]
    assert gone not in later
    member.reader.start(Position(gone, 0))  # too late: the caller did not know yet
    member.reader.commit(Position(gone, 1))
    for _ in range(5):
        assert gone not in [part.partition for part in member.poll().parts]
    second.reader.start(Position(gone, 0))
    second.wait(lambda: len(second.records) == 2000)
    assert second.offsets(gone) == list(range(2000))
    assert gone not in source.committed()
    second.reader.close()
    member.wait(lambda: member.held == {0, 1})
    member.records.clear()
    member.reader.start(Position(gone, 1990))
    member.wait(lambda: len(member.offsets(gone)) == 10)


# What only a real broker has: a refused commit, a topic that is not there.


over_kafka = pytest.mark.parametrize(
    "source", [pytest.param("kafka", marks=pytest.mark.servers("kafka"))], indirect=True
)


@over_kafka
def test_a_commit_that_a_rebalance_refused_is_made_again(source: Source, member: Member) -> None:
    """Simulated: the refusal itself is a race. Without a second attempt an idle partition looks behind for ever."""
    reader = member.reader
    assert isinstance(reader, KafkaReader)
    consumer = reader._use()

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(consumer, name)

        def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
            reader._consumer = consumer
            reader._on_commit(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), offsets)

    reader._consumer = Refusing()  # type: ignore[assignment]
    reader.commit(Position(0, 0))
    assert source.committed() == {}
    member.wait(lambda: source.committed() == {0: 0})


@over_kafka
def test_commits_wait_for_each_other_and_the_last_one_counts(source: Source, member: Member) -> None:
    """Otherwise heartbeats queue up behind them at a busy broker, and the group takes the worker for dead."""
    reader = member.reader
    assert isinstance(reader, KafkaReader)
    consumer = reader._use()
    sent: list[list[TopicPartition]] = []

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(consumer, name)

        def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
            sent.append(offsets)

    reader._consumer = Slow()  # type: ignore[assignment]
    for offset in (1, 2, 3):
        reader.commit(Position(0, offset))
    reader.commit(Position(1, 7))
    assert [[(part.partition, part.offset) for part in offsets] for offsets in sent] == [[(0, 1)]]
    reader._consumer = consumer
    reader._on_commit(None, sent[0])
    member.wait(lambda: source.committed() == {0: 3, 1: 7})


@over_kafka
def test_closing_makes_the_last_commits(source: Source, member: Member) -> None:
    for offset in range(1, 50):
        for partition in (0, 1):
            member.reader.commit(Position(partition, offset))
    member.reader.close()
    assert source.committed() == {0: 49, 1: 49}


@over_kafka
def test_a_topic_that_is_not_there_is_said_so(source: Source, kafka: KafkaSource) -> None:
    reader = KafkaReader(Log("no-such-topic"), "reader", kafka.settings)
    reader.open()
    with pytest.raises(ConfigError, match="logsync topic create no-such-topic"):
        reader.identity()
    reader.close()
