"""What every store promises about parked events: points 2 and 7 of logsync/stores/base.py."""

from __future__ import annotations

import datetime

import pytest

from logsync.core.event import Record
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import Store
from logsync.core.write import Write
from logsync.errors import PositionConflict
from tests.contract.adapters import Adapter
from tests.contract.test_store_contract import adapter, make, store

__all__ = ["adapter", "store"]  # fixtures
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
ODD = 'a "key" with ünïcode'


def entry(offset: int, sequence: str = "k", *, error: str = "HandlerError", minute: int = 0) -> Parked:
    """A parked event. Its record has bytes that are no text, in every place where bytes may stand."""
    at = NOON + datetime.timedelta(minutes=minute)
    record = Record(0, offset, b"\xff\x00key", b"\x00\xfe", [("ce_id", b"i"), ("x", None), ("y", b"\xff")], 3, 99)
    return Parked(
        0, offset, sequence, f"id-{offset}", "order.placed", error, "it broke: \x00 \u2028 'quoted'" if error else "",
        at, at, 1 if error else 0, record,
    )  # fmt: skip


def park(start: Position, *entries: Parked, to: int, writes: list[list[Write]] = []) -> Plan:  # noqa: B006
    """A plan that moves to ``to``: the writes of the first events, and these events parked."""
    made = make(start, *writes)
    end = start._replace(next_offset=to, releases=0, last_offset=to - 1, last_id=f"id-{to - 1}")
    return Plan(start, end, made.writes, made.offsets, parked=list(entries))


def drain(start: Position, *offsets: int, writes: list[Write] = [], still_parked: list[Parked] = []) -> Plan:  # noqa: B006
    """A plan that drains these events; all the writes belong to the first of them."""
    at = [offsets[0]] * len(writes) if offsets else []
    return Plan(start, start.released(), list(writes), at, still_parked=list(still_parked), released=list(offsets))


def test_parked_events_come_back_whole_and_in_log_order(store: Store, adapter: Adapter) -> None:
    entries = [entry(0, "k"), entry(1, ODD), entry(2, "k", error="", minute=1), entry(11, "k", error="", minute=2)]
    plan = park(Position(0, 0), *entries, to=12)
    store.apply(plan)
    other = adapter.client()
    assert other.parked(0) == entries
    assert other.parked(0, sequence="k") == [entries[0], entries[2], entries[3]]
    assert other.parked(0, sequence="k", after=0, limit=1) == [entries[2]]
    assert other.parked(0, after=2) == [entries[3]]
    assert other.parked(0, limit=2) == entries[:2]
    assert other.parked(1) == []
    assert other.positions() == {0: plan.end}
    other.close()


def test_sequences_tell_their_first_event_their_length_and_since_when_they_wait(store: Store) -> None:
    assert store.sequences(0) == {}
    store.apply(park(Position(0, 0), entry(3, "k"), entry(4, ODD, error="WriteRejected"), to=5))
    later = store.positions()[0]
    store.apply(park(later, entry(5, "k", error="", minute=9), to=6))
    found = store.sequences(0)
    assert found.keys() == {"k", ODD}
    assert found["k"]._replace(unfinished=False) == (3, 2, NOON, "HandlerError", False)
    assert found[ODD]._replace(unfinished=False) == (4, 1, NOON, "WriteRejected", False)
    assert store.sequences(1) == {}


def test_many_sequences_come_back(store: Store) -> None:
    count = 1_500
    store.apply(park(Position(0, 0), *(entry(n, f"k{n}") for n in range(count)), to=count))
    assert len(store.sequences(0)) == count
    assert [found.offset for found in store.parked(0, limit=count + 1)] == list(range(count))


def test_an_event_that_is_parked_already_stays_as_it_is(store: Store) -> None:  # K2
    store.apply(park(Position(0, 0), entry(0), to=1))
    now = store.positions()[0]
    store.apply(park(now, entry(0, minute=5, error="")._replace(message="again"), to=2))
    assert store.parked(0) == [entry(0)]
    assert store.sequences(0)["k"].events == 1


def test_parking_and_the_writes_beside_it_are_one_step(store: Store, adapter: Adapter) -> None:
    store.apply(park(Position(0, 0), entry(1), to=2, writes=[[adapter.add("a", 1)]]))
    with pytest.raises(PositionConflict):
        store.apply(park(Position(0, 0), entry(1), entry(2, "other"), to=3, writes=[[adapter.add("a", 1)]]))
    assert adapter.content()["add"] == {"a": 1}
    assert [found.offset for found in store.parked(0)] == [1]


def test_a_drain_applies_deletes_and_leaves_the_next_offset(store: Store, adapter: Adapter) -> None:
    store.apply(park(Position(0, 0), entry(0), entry(1, error=""), to=3))
    now = store.positions()[0]
    store.apply(drain(now, 0, writes=[adapter.add("a", 5), adapter.put("b", 1)]))
    assert adapter.content() == {"put": {"b": 1}, "add": {"a": 5}}
    assert store.positions()[0] == now.released()
    assert [found.offset for found in store.parked(0)] == [1]
    assert store.sequences(0)["k"].first == 1
    assert store.sequences(0)["k"].events == 1
    store.apply(drain(now.released(), 1, writes=[adapter.add("a", 2)]))
    assert adapter.content()["add"] == {"a": 7}
    assert store.parked(0) == []
    assert store.sequences(0) == {}


def test_a_drain_is_applied_once_whoever_tries_it(store: Store, adapter: Adapter) -> None:  # K1
    store.apply(park(Position(0, 0), entry(0), to=1))
    now = store.positions()[0]
    zombie = adapter.client()
    zombie.sequences(0)
    plan = drain(now, 0, writes=[adapter.add("a", 5)])
    store.apply(plan)
    for rival in (zombie, store):
        with pytest.raises(PositionConflict):
            rival.apply(plan)
    assert adapter.content()["add"] == {"a": 5}
    zombie.close()


def test_a_plan_from_before_a_drain_is_refused(store: Store, adapter: Adapter) -> None:  # K1
    store.apply(park(Position(0, 0), entry(0), to=1))
    now = store.positions()[0]
    store.apply(drain(now, 0, writes=[adapter.add("a", 5)]))
    with pytest.raises(PositionConflict):
        store.apply(make(now, [adapter.add("a", 100)]))
    store.apply(make(now.released(), [adapter.add("a", 1)]))
    assert adapter.content()["add"] == {"a": 6}
    assert store.positions()[0].releases == 0


def test_a_drain_from_before_a_mark_is_refused(store: Store, adapter: Adapter) -> None:
    """An event that is given up is marked first. A worker that does not know of it must not apply it any more."""
    store.apply(park(Position(0, 0), entry(0), entry(1, "other"), to=2))
    now = store.positions()[0]
    marked = entry(0)._replace(attempts=2)
    store.apply(drain(now, still_parked=[marked]))
    for offset in (0, 1):
        with pytest.raises(PositionConflict):
            store.apply(drain(now, offset, writes=[adapter.add("a", 5)]))
    assert adapter.content() == {"put": {}, "add": {}}
    assert store.parked(0) == [marked, entry(1, "other")]


def test_a_drained_event_adds_to_what_came_after_it(store: Store, adapter: Adapter) -> None:
    """The row was written by later events meanwhile; an event that is drained must not vanish behind them. # O4"""
    store.apply(park(Position(0, 0), entry(0), to=1))
    now = store.positions()[0]
    store.apply(make(now, [adapter.add("a", 100), adapter.put("b", 100)], [adapter.add("a", 10)]))
    now = store.positions()[0]
    store.apply(drain(now, 0, writes=[adapter.add("a", 5), adapter.put("b", 5)]))
    assert adapter.content() == {"put": {"b": 5}, "add": {"a": 115}}
    store.apply(make(now.released(), [adapter.add("a", 1000), adapter.put("b", 6)]))
    assert adapter.content() == {"put": {"b": 6}, "add": {"a": 1115}}


def test_many_drains_at_one_position_all_count(store: Store, adapter: Adapter) -> None:
    store.apply(park(Position(0, 0), *(entry(n) for n in range(20)), to=20))
    for offset in range(20):
        store.apply(drain(store.positions()[0], offset, writes=[adapter.add("a", 1)]))
    assert adapter.content()["add"] == {"a": 20}
    assert store.positions()[0].releases == 20


def test_a_retry_that_fails_is_noted_and_the_event_stays(store: Store, adapter: Adapter) -> None:
    store.apply(park(Position(0, 0), entry(0), entry(1, error=""), to=2))
    now = store.positions()[0]
    tried = entry(0)._replace(attempts=2, error="WriteRejected", message="no", last_at=NOON + datetime.timedelta(1))
    store.apply(drain(now, still_parked=[tried]))
    assert store.parked(0) == [tried, entry(1, error="")]
    found = store.sequences(0)["k"]
    assert (found.first, found.events, found.since, found.error) == (0, 2, NOON, "WriteRejected")
    assert adapter.content() == {"put": {}, "add": {}}


def test_wipe_removes_what_is_parked(store: Store) -> None:
    store.apply(park(Position(0, 0), entry(0), to=1))
    assert store.holds_data()
    current = store.read_book()
    assert current
    wiping = current.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    assert not store.holds_data()
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    assert store.parked(0) == []
    assert store.sequences(0) == {}


def test_a_wipe_under_another_book_deletes_nothing(store: Store, adapter: Adapter) -> None:
    """A rebuild that another one overtook must not delete what that one has replayed."""
    first = store.read_book()
    assert first
    mine = first.next(state="wiping", epoch=2)
    store.write_book(mine, positions=[])
    theirs = mine.next(state="wiping", epoch=3)
    store.write_book(theirs, positions=[])
    store.wipe(theirs)
    store.write_book(theirs.next(state="ready"), positions=[Position(0, 0, 3)])
    store.apply(make(Position(0, 0, 3), [adapter.add("a", 5)]))
    late = adapter.client()
    with pytest.raises(PositionConflict):
        late.wipe(mine)
    assert adapter.content()["add"] == {"a": 5}
    late.close()
