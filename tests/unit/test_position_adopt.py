"""position adopt over a store in memory: where the copy of a log is continued, and where that is refused. # L3"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from logsync.core.book import Skip
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Record
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked
from logsync.core.position import Position
from logsync.errors import ConfigError, LogIdentityError, PositionConflict
from logsync.ops import positions
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from tests.unit.moving import (
    NOW,
    ThingMade,
    Versioned,
    a_log,
    a_sink,
    adopt,
    copied,
    counts,
    run,
)


@pytest.mark.parametrize(("start", "before"), [(0, 0), (0, 3), (3, 0)])
def test_adopt_continues_after_the_last_applied_event_wherever_the_copy_has_it(start: int, before: int) -> None:
    sink, old = a_sink(), a_log(5)
    run(sink, old)
    old.append(ThingMade(name="0-5"))
    new = copied(old, start, before=before)
    with pytest.raises(LogIdentityError):
        run(sink, new)
    move = adopt(sink, new)
    assert move.targets[0] == Position(0, 5 - start + before, 1, 4 - start + before, "event-0-4", 0)
    book = positions.carry_out(move, sink.store)
    assert (book.log, book.audit[-1].action) == (new.identity, "position-adopt")
    assert book.audit[-1].detail["positions"] == {"0": [5, 5 - start + before]}
    run(sink, new)
    assert counts(sink) == {f"0-{n}": 1 for n in range(6)}


def test_a_worker_that_still_follows_the_old_log_is_fenced_though_the_offsets_agree() -> None:
    sink, old = a_sink(), a_log(5)
    left_behind = run(sink, old)
    new = copied(old)
    positions.carry_out(adopt(sink, new), sink.store)
    assert sink.store.positions()[0].next_offset == 5
    old.append(ThingMade(name="only in the old log"))
    with pytest.raises(PositionConflict):
        left_behind.step()
    with pytest.raises(LogIdentityError):
        left_behind.run()
    assert "only in the old log" not in counts(sink)


def lacks_the_last(new: MemoryLog) -> None:
    new.records[0].pop()


def has_it_twice(new: MemoryLog) -> None:
    last = new.records[0][-1]
    new.append_raw(last.key, last.value, list(last.headers))


@pytest.mark.parametrize(
    ("change", "words"), [(lacks_the_last, "does not hold the last applied event"), (has_it_twice, "stands at 4, 5")]
)
def test_adopt_refuses_where_the_place_cannot_be_told(change: Callable[[MemoryLog], None], words: str) -> None:
    sink, old = a_sink(), a_log(5)
    run(sink, old)
    new = copied(old)
    change(new)
    with pytest.raises(LogIdentityError, match=words):
        adopt(sink, new)


def test_adopt_refuses_a_last_record_without_an_id() -> None:
    sink, old = a_sink(), a_log(5)
    run(sink, old)
    old.append_raw(b"k", b"{}", [])
    at, book = sink.store.positions()[0], sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(), positions=[at._replace(next_offset=6, last_offset=5, last_id=None)])
    with pytest.raises(LogIdentityError, match="no id to look for"):
        adopt(sink, copied(old))


def test_adopt_of_a_partition_without_events_begins_where_the_new_log_does() -> None:
    sink, old, new = a_sink(), a_log(0), a_log(3)
    run(sink, old)
    assert adopt(sink, new).targets == {0: Position(0, 0)}
    new.starts[0] = 1
    with pytest.raises(LogIdentityError, match="begins at 1"):
        adopt(sink, new)


def test_adopt_refuses_what_no_event_can_settle() -> None:
    sink, old = a_sink(), a_log(5)
    run(sink, old)
    new = copied(old)
    with pytest.raises(ConfigError, match="nothing to adopt"):
        adopt(sink, old)
    with pytest.raises(ConfigError, match="environment 'default'"):
        adopt(sink, new, environment="staging")
    with pytest.raises(ConfigError, match="found 2"):
        adopt(sink, a_log(5, partitions=2))
    versioned = a_sink(Versioned())
    run(versioned, old)
    with pytest.raises(ConfigError, match="logsync rebuild db --yes"):
        adopt(versioned, new)


def retried(source: MemoryLog, offset: int, since: int) -> Record:
    """The record at ``offset`` appended again, as a producer does after an unknown outcome."""
    record = source.records[0][offset]
    return source.append_raw(record.key, record.value, [*record.headers, (RETRY_FROM, b"%d" % since)])


@pytest.mark.parametrize(("start", "added"), [(0, []), (3, [(0, 3, 2), (0, 6, 5)])])
def test_retried_appends_whose_headers_count_in_the_old_log_are_still_applied_once(
    start: int, added: Sequence[tuple[int, int, int]]
) -> None:
    sink, old = a_sink(), a_log(6)  # 0 to 5
    retried(old, 5, 4)  # 6: its first copy stands at 5
    old.append(ThingMade(name="0-7"))
    run(sink, old)
    old.append(ThingMade(name="0-8"))
    retried(old, 8, 7)  # 9
    old.append(ThingMade(name="0-10"))
    new = copied(old, start)
    move = adopt(sink, new)
    assert [(skip.partition, list(skip.offsets)) for skip in move.changes["skips"]] == [(p, [o]) for p, o, _ in added]
    positions.carry_out(move, sink.store)
    run(sink, new)
    assert set(counts(sink).values()) == {1}
    assert counts(sink).keys() == {f"0-{n}" for n in (0, 1, 2, 3, 4, 5, 7, 8, 10)}


def test_two_events_of_one_id_stay_two_where_the_offsets_agree() -> None:
    """The retry's own original never arrived; what stands before its mark is an event that only shares its id. # A4"""
    sink, old = a_sink(), a_log(3)
    retried(old, 0, 2)
    old.append(ThingMade(name="0-4"))
    run(sink, old)
    assert counts(sink)["0-0"] == 2
    move = adopt(sink, copied(old))
    assert move.changes["skips"] == ()
    assert move.says == ()


@pytest.mark.parametrize(("start", "kept"), [(0, [1]), (2, [])])
def test_skips_are_kept_only_where_they_mean_the_same_record(start: int, kept: list[int]) -> None:
    sink, old = a_sink(), a_log(5)
    run(sink, old)
    book = sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(skips=(Skip(partition=0, offsets=Offsets([1, 7]), reason="bad", at=NOW),)))
    move = adopt(sink, copied(old, start))
    assert [list(skip.offsets) for skip in move.changes["skips"]] == ([kept] if kept else [])
    assert "dropped: " in move.says[0]
    assert move.audit.detail["skips_dropped"] == ["0:7" if kept else "0:1,7"]


def test_adopt_of_other_offsets_is_refused_while_events_are_parked() -> None:
    """A parked event is known by its offset, and in the new log another event stands there."""
    old = a_log(3)
    sink = a_sink()
    store = sink.store
    assert isinstance(store, Memory)
    run(sink, old)
    entry = Parked(0, 2, "0-2", "x", "thing.made", "HandlerError", "", NOW, NOW, 1, old.records[0][2])
    store.server.parked["db"] = {(0, 2): entry}
    with pytest.raises(ConfigError, match="parked under offsets of the old log"):
        positions.carry_out(adopt(sink, copied(old, before=2)), store)
    assert store.parked(0) == [entry]
    same = copied(old)
    book = positions.carry_out(adopt(sink, same), store)
    assert book.log == same.identity
    assert store.parked(0) == [entry]
