"""position set and adopt over a store in memory: what is judged, what is written, and who is fenced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from logsync.core.book import Skip
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.codec import Decoder
from logsync.core.event import Decoded, Event, Record
from logsync.core.log import Log
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.sink import Sink
from logsync.core.store import Traits
from logsync.errors import ConfigError, LogIdentityError, PositionConflict, PositionGap
from logsync.log.lookup import Span
from logsync.ops import positions
from logsync.ops.status import SinkState, judge
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Increment

NOW = datetime(2026, 3, 1, tzinfo=UTC)
log = Log("things")


@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str


class Versioned(Memory):
    """A store whose content holds offsets, as OpenSearch's does."""

    traits = Traits(atomic=False, content_knows_offsets=True)


def a_sink(store: Memory | None = None) -> Sink:
    sink = Sink("db", log, store or Memory())

    @sink.on(ThingMade)
    def made(event: Event[ThingMade]) -> Increment:
        return Increment("things", {"name": event.data.name}, {"n": 1})

    sink.store.open("db", Settings())
    return sink


def a_log(count: int, *, partitions: int = 1) -> MemoryLog:
    made = MemoryLog(log, partitions=partitions)
    for number in range(partitions):
        for n in range(count):
            made.append(ThingMade(name=f"{number}-{n}"), partition=number)
    return made


def copied(old: MemoryLog, start: int = 0, *, before: int = 0) -> MemoryLog:
    """The records of ``old`` from ``start`` on, after ``before`` others: the same events at other offsets."""
    copy = MemoryLog(log)
    for n in range(before):
        other = old.append(ThingMade(name=f"other-{n}"))
        old.records[0].pop()
        headers = [(name, b"other-%d" % n if name == "ce_id" else value) for name, value in other.headers]
        copy.append_raw(other.key, other.value, headers)
    for record in old.records[0][start:]:
        copy.append_raw(record.key, record.value, list(record.headers))
    return copy


def run(sink: Sink, source: MemoryLog, *, at_most: int = 1_000_000) -> Worker:
    """A worker that applies all there is."""
    worker = Worker(sink, MemoryReader(source, at_most=at_most), Settings())
    for _ in range(5):
        worker.step()
    return worker


def counts(sink: Sink) -> dict[str, int]:
    assert isinstance(sink.store, Memory)
    return {row["name"]: int(row["n"]) for row in sink.store.content.tables.get("things", [])}


def look(sink: Sink) -> Any:
    return sink.store.inspect(sink.name, Settings())


def decoded(source: MemoryLog, offset: int, partition: int = 0) -> Decoded:
    return Decoder(log, log.names)(source.records[partition][offset])


def set_(sink: Sink, source: MemoryLog, offset: int, *, partition: int = 0, **facts: Any) -> positions.Move:
    seen, records = look(sink), source.records[partition]
    at = (seen.positions or {}).get(partition)
    last = decoded(source, at.last_offset).id if at and at.last_offset is not None else None
    known = {
        "log": source.identity,
        "environment": "default",
        "span": (source.starts[partition], len(records)),
        "before": decoded(source, offset - 1, partition) if 0 < offset <= len(records) else None,
        "last_found": last,
        "reason": "why not",
        "now": NOW,
    }
    return positions.plan_set(sink, seen, partition=partition, offset=offset, **{**known, **facts})


def adopt(sink: Sink, source: MemoryLog, *, environment: str = "default") -> positions.Move:
    seen = look(sink)
    copy = positions.read_copy(
        sink, seen.positions or {}, lambda: [record for part in source.records for record in part]
    )
    starts = dict(enumerate(source.starts))
    return positions.plan_adopt(
        sink, seen, copy, log=source.identity, environment=environment, log_starts=starts, now=NOW
    )


@pytest.mark.parametrize(("to", "doubled", "missing"), [(4, {4, 5}, set()), (8, set(), {6, 7})])
def test_set_skips_or_doubles_exactly_what_it_says_and_says_so_on_record(
    to: int, doubled: set[int], missing: set[int]
) -> None:
    sink, source = a_sink(), a_log(6)
    run(sink, source)
    for n in range(6, 10):
        source.append(ThingMade(name=f"0-{n}"))
    move = set_(sink, source, to)
    assert ("AGAIN" in move.says[0], "missing" in move.says[0]) == (bool(doubled), bool(missing))
    assert "2 offsets" in move.says[0]
    book = positions.carry_out(move, sink.store)
    assert sink.store.positions() == {0: Position(0, to, 2, to - 1, decoded(source, to - 1).id, 0)}  # L2
    assert (book.audit[-1].action, book.audit[-1].detail) == (
        "position-set",
        {"partition": 0, "from": 6, "to": to, "reason": "why not", "breaks": list(move.says)},
    )
    run(sink, source)
    found = counts(sink)
    assert found == {f"0-{n}": 2 if n in doubled else 1 for n in range(10) if n not in missing}


@pytest.mark.parametrize("offset", [1, 11])
def test_set_refuses_what_is_outside_the_log(offset: int) -> None:
    sink, source = a_sink(), a_log(10)
    run(sink, source)
    source.starts[0] = 2
    with pytest.raises(PositionGap, match="which holds 2 to before 10"):
        set_(sink, source, offset)
    for edge in (2, 10):
        if edge != 10:
            assert set_(sink, source, edge).targets[0].next_offset == edge
    with pytest.raises(ConfigError, match="is 10 already"):
        set_(sink, source, 10)


def test_set_to_a_place_before_which_there_is_no_record_keeps_no_id() -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    positions.carry_out(set_(sink, source, 0), sink.store)
    assert sink.store.positions() == {0: Position(0, 0, 2)}


def test_set_in_a_store_without_a_position_is_on_the_persons_word() -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    book = sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(), positions=[])
    move = set_(sink, source, 3)
    assert "on your word" in move.says[0]
    positions.carry_out(move, sink.store)
    assert sink.store.positions()[0].next_offset == 3


def test_set_wants_the_log_environment_and_state_that_the_position_belongs_to() -> None:
    sink, source = a_sink(), a_log(5)
    with pytest.raises(ConfigError, match="no position in this store yet"):
        set_(sink, source, 3)
    run(sink, source)
    with pytest.raises(LogIdentityError, match="position adopt"):
        set_(sink, source, 3, log=source.identity._replace(topic_id="another"))
    with pytest.raises(ConfigError, match="environment 'default'"):
        set_(sink, source, 3, environment="staging")
    book = sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(state="wiping"))
    with pytest.raises(ConfigError, match="interrupted while it wiped"):
        set_(sink, source, 3)


def test_set_says_that_the_log_lost_what_was_applied() -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    for facts in ({"last_found": "another"}, {"span": (0, 4)}):
        move = set_(sink, source, 3, **facts)
        assert "has effects that the log has not" in move.says[-1]
        assert move.audit.detail["breaks"] == list(move.says)


def test_where_documents_hold_offsets_moving_back_is_harmless_and_anything_unknown_is_refused() -> None:
    sink, source = a_sink(Versioned()), a_log(5)
    run(sink, source)
    move = set_(sink, source, 3)
    assert "already hold" in move.says[0]
    for facts in ({"last_found": "another"}, {"span": (0, 4)}):
        with pytest.raises(ConfigError, match="logsync rebuild"):
            set_(sink, source, 3, **facts)
    assert "missing" in set_(sink, source, 6, span=(0, 9)).says[0]
    positions.carry_out(move, sink.store)
    assert sink.store.positions()[0].epoch == 1  # versions hold it: it may not change
    assert sink.store.positions()[0].next_offset == 3
    book = sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(), positions=[])
    with pytest.raises(ConfigError, match="no position"):
        set_(sink, source, 3)


@pytest.mark.parametrize("store", [Memory, Versioned])
def test_a_position_that_moved_since_it_was_shown_is_left_alone(store: type[Memory]) -> None:
    sink, source = a_sink(store()), a_log(5)
    run(sink, source)
    move = set_(sink, source, 2)
    source.append(ThingMade(name="0-5"))
    run(sink, source)
    before = sink.store.positions(), sink.store.read_book()
    with pytest.raises(PositionConflict):
        positions.carry_out(move, sink.store)
    assert (sink.store.positions(), sink.store.read_book()) == before


def test_one_moved_partition_of_several_leaves_all_of_them_as_they_were() -> None:
    sink, source = a_sink(), a_log(5, partitions=2)
    sink.order = "per-key"
    run(sink, source)
    move = set_(sink, source, 2, partition=0)
    source.append(ThingMade(name="1-5"), partition=1)
    run(sink, source)
    before = sink.store.positions(), sink.store.read_book()
    with pytest.raises(PositionConflict):
        positions.carry_out(move, sink.store)
    assert (sink.store.positions(), sink.store.read_book()) == before
    positions.carry_out(set_(sink, source, 2, partition=0), sink.store)
    assert {p: (at.next_offset, at.epoch) for p, at in sink.store.positions().items()} == {0: (2, 2), 1: (6, 2)}


def test_what_a_worker_notes_meanwhile_is_kept_and_what_a_person_does_is_a_conflict() -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    move, book = set_(sink, source, 2), sink.store.read_book()
    assert book is not None
    sink.store.write_book(book.next(skipped=frozenset({"thing.lost"})))
    after = positions.carry_out(move, sink.store)
    assert (after.skipped, sink.store.positions()[0].next_offset) == ({"thing.lost"}, 2)
    move = set_(sink, source, 3)
    skip = Skip(partition=0, offsets=Offsets([4]), reason="bad", at=NOW)
    sink.store.write_book(after.next(skips=(skip,)))
    with pytest.raises(PositionConflict, match="book has changed"):
        positions.carry_out(move, sink.store)
    assert sink.store.positions() == move.stored  # the fence is gone again


def test_a_plan_made_before_the_move_is_refused_after_it_also_at_the_same_offset() -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source, at_most=1)
    stale = Plan(Position(0, 2), Position(0, 3, 1, 2, "event-0-2"), [Increment("things", {"name": "x"}, {"n": 1})], [2])
    positions.carry_out(set_(sink, source, 2), sink.store)
    with pytest.raises(PositionConflict):
        sink.store.apply(stale)


def test_a_move_that_is_cut_short_makes_workers_wait_and_can_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    move = set_(sink, source, 2)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sink.store, "write_book", dies)
    with pytest.raises(KeyboardInterrupt):
        positions.carry_out(move, sink.store)
    monkeypatch.undo()
    at, book = sink.store.positions()[0], sink.store.read_book()
    row = judge("db", 0, Span(0, 5), book, at, identity=source.identity, environment="default")
    assert (at.next_offset, row.state) == (5, SinkState.MOVING)
    source.append(ThingMade(name="0-5"))
    worker = Worker(sink, MemoryReader(source), Settings(), clock=iter(range(1000)).__next__)
    worker.run(until=lambda report: report.retries == 3)
    assert "0-5" not in counts(sink)
    positions.carry_out(set_(sink, source, 2), sink.store)
    assert sink.store.positions()[0].next_offset == 2
    assert run(sink, source).status.positions == {0: 6}


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


def test_no_position_beside_documents_is_set_while_events_are_parked() -> None:
    sink, source = a_sink(store := Versioned()), a_log(5)
    run(sink, source)
    entry = Parked(0, 3, "0-3", "x", "thing.made", "HandlerError", "", NOW, NOW, 1, source.records[0][3])
    store.server.parked["db"] = {(0, 3): entry}
    with pytest.raises(ConfigError, match="events are parked"):
        positions.carry_out(set_(sink, source, 3), store)
    assert store.positions()[0].next_offset == 5


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
