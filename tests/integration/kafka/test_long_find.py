"""A long range of the log is looked through: meanwhile the reader stays a member that loses nothing, or says so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from logsync.core import codec
from logsync.core.codec import EventTypes, id_of
from logsync.core.event import Record
from logsync.core.position import Position
from logsync.errors import LogUnavailable
from logsync.log import lookup
from logsync.log.group import KafkaReader
from logsync.log.lookup import Lookup
from logsync.settings import Settings
from tests.contract.reader.sources import KafkaSource, Member

COUNT = 3_000  # records of partition 0
INTERVAL = 2.0  # seconds that the group allows between two polls


class Looking:
    """``each`` is called for every record that a find reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.each: Callable[[], object] = lambda: None
        self.times = 0
        monkeypatch.setattr(codec, "id_of", self)

    def __call__(self, log: EventTypes, record: Record) -> str | None:
        self.times += 1
        self.each()
        return id_of(log, record)


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Looking:
    return Looking(monkeypatch)


@pytest.fixture
def source(settings: Settings, unique: str, monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    interval = round(INTERVAL * 1_000)
    options = {"max.poll.interval.ms": interval, "session.timeout.ms": interval, "heartbeat.interval.ms": 400}
    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", json.dumps({name: str(value) for name, value in options.items()}))
    monkeypatch.setattr(lookup, "_BATCH", 50)  # a batch takes as long as many more records would
    made = KafkaSource(Settings(_env_file=None, store_timeout=INTERVAL / 2), unique)
    made.append(0, *map(str, range(COUNT)))
    return made


@pytest.fixture
def member(source: KafkaSource) -> Iterator[Member]:
    """It has read the first ten records of partition 0, or a few more."""
    made = Member(source.reader())
    made.wait(lambda: made.held == {0, 1})
    made.reader.start(Position(0, 0))
    made.wait(lambda: len(made.records) >= 10, limit=10)
    made.batches.clear()
    yield made
    made.reader.close()


def slow_find(member: Member, looking: Looking) -> None:
    """Look through the whole partition, in three times the time that the group waits for a poll."""
    looking.each = lambda: time.sleep(3 * INTERVAL / COUNT)
    assert member.reader.find(0, {"nowhere"}, 0, COUNT) == {}
    assert looking.times == COUNT


def test_a_find_longer_than_the_poll_interval_keeps_the_partitions_and_loses_no_record(
    member: Member, looking: Looking
) -> None:
    slow_find(member, looking)
    member.wait(lambda: len(member.records) >= COUNT, limit=3)
    assert member.offsets(0) == list(range(COUNT))
    assert [batch for batch in member.batches if batch.revoked or batch.assigned] == []
    assert max(len(part.records) for batch in member.batches for part in batch.parts) == 3


@pytest.mark.parametrize("stop", [False, True])
def test_what_came_during_a_find_is_forgotten_when_reading_begins_elsewhere(
    member: Member, looking: Looking, stop: bool
) -> None:
    slow_find(member, looking)
    if stop:
        member.reader.stop()
    member.records.clear()
    member.reader.start(Position(0, 5))
    member.wait(lambda: len(member.records) >= COUNT - 5)
    assert member.offsets(0) == list(range(5, COUNT))


def test_a_find_ends_when_partitions_are_revoked_and_nothing_of_them_is_committed(
    source: KafkaSource, member: Member, looking: Looking
) -> None:
    member.reader.start(Position(1, 0))
    second = Member(source.reader())
    try:
        looking.each = lambda: second.poll(timeout=0.01)  # it joins while the first one looks
        with pytest.raises(LogUnavailable, match="were revoked"):
            member.reader.find(0, {"nowhere"}, 0, COUNT)
        for partition in (0, 1):
            member.reader.commit(Position(partition, 7))
        while not second.held:
            member.poll()
            second.poll()
        assert (member.held | second.held, member.held & second.held) == ({0, 1}, set())
        assert [batch.revoked for batch in member.batches if batch.revoked] == [sorted(second.held)]
        member.wait(lambda: committed(source))  # a commit that the rebalance refused is made again
        assert committed(source) == dict.fromkeys(member.held, 7)
    finally:
        second.reader.close()


def test_a_find_ends_when_it_is_interrupted(member: Member, looking: Looking) -> None:
    reader = member.reader
    looking.each = reader.interrupt
    with pytest.raises(LogUnavailable, match="the worker ends"):
        reader.find(0, {"nowhere"}, 0, COUNT)
    assert looking.times <= 50
    assert member.poll(limit=1).parts, "only looking is over"


def test_the_ends_of_the_log_are_told_while_a_fetch_waits_at_its_end(member: Member, source: KafkaSource) -> None:
    """The group's consumer always has a fetch waiting there, and a broker answers each connection in turn."""
    member.wait(lambda: 0 in member.ends)
    reader = member.reader
    assert isinstance(reader, KafkaReader)
    consumer = reader._consumer
    reader._consumer = None  # using it here fails
    try:
        assert [reader.bounds(0), reader.bounds(1)] == [(0, COUNT), (0, 0)]
    finally:
        reader._consumer = consumer


def committed(source: KafkaSource) -> dict[int, int]:
    with Lookup(source.settings, source.name, group_id=source.reader().group) as lookup:
        return lookup.committed([0, 1])
