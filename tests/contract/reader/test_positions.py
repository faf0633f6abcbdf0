"""Where a reader begins and stops, and what it tells of single records."""

from __future__ import annotations

import pytest

from logsync.core.position import LogIdentity, Position
from logsync.errors import LogUnavailable, PositionGap

from .sources import Member, Source


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


def test_one_partition_is_stopped_and_the_others_go_on(source: Source, member: Member) -> None:
    for number in (0, 1):
        source.append(number, *map(str, range(40)))
        member.reader.start(Position(number, 0))
    while {record.partition for record in member.records} != {0, 1}:
        member.poll(limit=3)
    member.reader.stop(0)
    before = len(member.offsets(0))
    member.wait(lambda: len(member.offsets(1)) == 40)
    assert len(member.offsets(0)) == before
    member.reader.start(Position(0, 0))
    member.wait(lambda: member.offsets(0)[before:] == list(range(40)))


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
    calls: list[None] = []
    assert reader.find(0, {"3"}, 0, 3, meanwhile=lambda: calls.append(None)) == {}
    assert calls
    assert reader.find(0, {"3"}, 3, 4) == {"3": 3}
    assert reader.find(0, {"3", "5", "x"}, 0, 6) == {"3": 3, "5": 5}
    assert reader.find(0, {"3"}, 4, 6) == {}
    assert reader.find(0, {"3"}, 3, 3) == {}
    with pytest.raises(LogUnavailable):
        reader.find(1, {"3"}, 0, 6)  # a leader that lags behind what was polled: not seen is not the same as not there
    source.append(1, "4")
    assert reader.find(1, {"3"}, 0, 1) == {}
    source.append(0, "3")
    assert reader.find(0, {"3"}, 0, 7) == {"3": 3}
