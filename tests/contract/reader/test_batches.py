"""What a poll brings: its records, its bounds, and the end of the log."""

from __future__ import annotations

import pytest

from logsync.core.position import Position

from .sources import Member, Source


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


def test_the_end_is_told_when_it_is_reached_and_not_before(source: Source, member: Member) -> None:
    source.append(0, *map(str, range(10)))
    member.reader.start(Position(0, 0))
    member.wait(lambda: 0 in member.ends, limit=3)
    assert member.ends[0] == 10
    assert len(member.records) == 10


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
