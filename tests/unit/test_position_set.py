"""position set over a store in memory: what is judged, what is written, and who is fenced."""

from __future__ import annotations

import pytest

from logsync.core.book import Skip
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.sources import carried
from logsync.errors import ConfigError, LogIdentityError, PositionConflict, PositionGap
from logsync.log.lookup import Span
from logsync.ops import positions
from logsync.ops.status import SinkState, judge
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Increment
from tests.unit.moving import (
    NOW,
    ThingMade,
    Versioned,
    a_log,
    a_sink,
    counts,
    decoded,
    run,
    set_,
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
    known = carried(None, 6, to)  # U1: what the next worker has to read in the log, it finds from there
    assert sink.store.positions() == {0: Position(0, to, 2, to - 1, decoded(source, to - 1).id, 0, 0, known)}  # L2
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


@pytest.mark.parametrize("shown", [None, 4, 6])
def test_a_move_that_was_decided_on_another_offset_is_refused(shown: int | None) -> None:
    sink, source = a_sink(), a_log(5)
    run(sink, source)
    at = sink.store.positions()[0]
    positions.check_shown(sink, 0, at, 5)
    with pytest.raises(PositionConflict, match=f"expected {positions.named(shown)}, found 5"):
        positions.check_shown(sink, 0, at, shown)
    positions.check_shown(sink, 0, None, None)
    with pytest.raises(PositionConflict, match="found none"):
        positions.check_shown(sink, 0, None, 5)


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


def test_no_position_beside_documents_is_set_while_events_are_parked() -> None:
    sink, source = a_sink(store := Versioned()), a_log(5)
    run(sink, source)
    entry = Parked(0, 3, "0-3", "x", "thing.made", "HandlerError", "", NOW, NOW, 1, source.records[0][3])
    store.server.parked["db"] = {(0, 3): entry}
    with pytest.raises(ConfigError, match="events are parked"):
        positions.carry_out(set_(sink, source, 3), store)
    assert store.positions()[0].next_offset == 5
