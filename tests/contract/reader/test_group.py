"""Partitions that come and go, commits, and the end of a membership."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, TopicPartition

from logsync import Log
from logsync.core.position import Position
from logsync.errors import ConfigError
from logsync.log.group import KafkaReader

from .sources import KafkaSource, Member, Source


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


def test_a_commit_can_be_seen_by_others(source: Source, member: Member) -> None:
    source.append(0, "a", "b")
    member.reader.commit(Position(0, 2))
    member.wait(lambda: source.committed() == {0: 2})


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
    """Simulated: the refusal itself is a race. Without a second attempt an idle partition would always look behind."""
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
