"""Claims on parked events: set aside, tried again and released in the steps that move the position."""

from __future__ import annotations

import datetime

import pytest

from logsync.core.position import Position
from logsync.errors import PositionConflict
from logsync.testing.store_contract.given import Given
from logsync.testing.store_contract.making import NOON, ODD, parks, retries, steps, waiting


class Parking(Given):
    """Points 2 and 7 of ``logsync.core.store``."""

    def test_parked_events_come_back_whole_and_in_log_order(self) -> None:
        store = self.begun()
        entries = [
            waiting(0), waiting(1, ODD), waiting(2, error="", minute=1), waiting(11, error="", minute=2),
        ]  # fmt: skip
        plan = parks(Position(0, 0), *entries, to=12)
        store.apply(plan)
        other = self.client()
        assert other.parked(0) == entries
        assert other.parked(0, sequence=ODD) == [entries[1]]
        assert other.parked(0, sequence="k") == [entries[0], entries[2], entries[3]]
        assert other.parked(0, sequence="k", after=0, limit=1) == [entries[2]]
        assert other.parked(0, sequence="nobody") == []
        assert other.parked(0, after=2) == [entries[3]]
        assert other.parked(0, after=11) == []
        assert other.parked(0, limit=2) == entries[:2]
        assert other.parked(1) == []
        assert other.positions() == {0: plan.end}
        assert other.holds_data(), "what is parked is content"

    def test_log_order_is_that_of_numbers(self) -> None:
        store = self.begun()
        offsets = [2, 9, 10, 99, 100, 1_000, 20_000, 2**40]
        store.apply(parks(Position(0, 0), *map(waiting, offsets), to=2**40 + 1))
        assert [entry.offset for entry in store.parked(0)] == offsets
        assert [entry.offset for entry in store.parked(0, after=9, limit=3)] == [10, 99, 100]
        assert [entry.offset for entry in store.parked(0, sequence="k", after=100)] == [1_000, 20_000, 2**40]
        assert store.sequences(0)["k"].first == 2

    def test_sequences_tell_their_first_event_their_length_and_since_when_they_wait(self) -> None:
        store = self.begun()
        assert store.sequences(0) == {}
        store.apply(parks(Position(0, 0), waiting(3), waiting(4, ODD, error="WriteRejected"), to=5))
        store.apply(parks(store.positions()[0], waiting(5, error="", minute=9), to=6))
        found = self.client().sequences(0)
        assert found.keys() == {"k", ODD}
        assert found["k"]._replace(unfinished=False) == (3, 2, NOON, "HandlerError", False)
        assert found[ODD]._replace(unfinished=False) == (4, 1, NOON, "WriteRejected", False)
        assert store.sequences(1) == {}

    def test_many_sequences_come_back(self) -> None:
        store = self.begun()
        count = 1_500
        store.apply(parks(Position(0, 0), *(waiting(n, f"k{n}") for n in range(count)), to=count))
        assert len(store.sequences(0)) == count
        assert [found.offset for found in store.parked(0, limit=count + 1)] == list(range(count))
        assert len(store.parked(0)) == 100

    def test_an_event_that_is_parked_already_stays_as_it_is(self) -> None:  # K2
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), to=1))
        again = waiting(0, minute=5, error="")._replace(message="again")
        store.apply(parks(store.positions()[0], again, to=2))
        assert store.parked(0) == [waiting(0)]
        assert store.sequences(0)["k"].events == 1

    def test_parking_and_the_writes_beside_it_are_one_step(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(1), to=2, events=[[self.add("a", 1)]]))
        with pytest.raises(PositionConflict):
            store.apply(parks(Position(0, 0), waiting(1), waiting(2, "x"), to=3, events=[[self.add("a", 1)]]))
        self.holds(self.add("a", 1))
        assert [found.offset for found in store.parked(0)] == [1]

    def test_a_retry_that_succeeds_applies_releases_and_leaves_the_next_offset(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), waiting(1, error=""), to=3))
        now = store.positions()[0]
        writes = [self.add("a", 5), self.put("b", 1)]
        store.apply(retries(now, 0, writes=writes))
        self.holds(*writes)
        tried = retries(now).end
        assert store.positions() == {0: tried}
        assert [found.offset for found in self.client().parked(0)] == [1]
        assert store.sequences(0)["k"]._replace(unfinished=False) == (1, 1, NOON, "", False)
        store.apply(retries(tried, 1, writes=[self.add("a", 2)]))
        self.holds(*writes, self.add("a", 2))
        assert store.parked(0) == []
        assert store.sequences(0) == {}

    def test_a_retry_is_applied_once_whoever_makes_it(self) -> None:  # K1
        store, zombie = self.begun(), self.client()
        store.apply(parks(Position(0, 0), waiting(0), to=1))
        zombie.sequences(0)
        plan = retries(store.positions()[0], 0, writes=[self.add("a", 5)])
        store.apply(plan)
        for rival in (zombie, store):
            with pytest.raises(PositionConflict):
                rival.apply(plan)
        self.holds(self.add("a", 5))

    def test_a_plan_from_before_a_retry_is_refused(self) -> None:  # K1
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), to=1))
        now = store.positions()[0]
        retry = retries(now, 0, writes=[self.add("a", 5)])
        store.apply(retry)
        with pytest.raises(PositionConflict):
            store.apply(steps(now, [self.add("a", 90)]))
        self.holds(self.add("a", 5))
        ordinary = steps(retry.end, [self.add("a", 1)])
        store.apply(ordinary)
        self.holds(self.add("a", 5), self.add("a", 1))
        assert store.positions() == {0: ordinary.end}

    def test_a_retry_from_before_a_mark_is_refused(self) -> None:
        """An event that is given up is marked first. A worker that does not know of it must not apply it any more."""
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), waiting(1, "other"), to=2))
        now = store.positions()[0]
        marked = waiting(0)._replace(attempts=2, discarded=f"wrong: {ODD}")
        store.apply(retries(now, still_parked=[marked]))
        for offset in (0, 1):
            with pytest.raises(PositionConflict):
                store.apply(retries(now, offset, writes=[self.add("a", 5)]))
        self.holds()
        assert store.parked(0) == [marked, waiting(1, "other")]

    def test_an_event_that_is_released_adds_to_what_came_after_it(self) -> None:
        """Later events wrote the same content meanwhile; what is released must not vanish behind them. # O4"""
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), to=1))
        later = [self.add("a", 90), self.put("b", 90), self.add("a", 10)]
        store.apply(steps(store.positions()[0], later[:2], later[2:]))
        released = [self.add("a", 5), self.put("b", 5)]
        retry = retries(store.positions()[0], 0, writes=released)
        store.apply(retry)
        self.holds(*later, *released)
        last = [self.add("a", 70), self.put("b", 6)]
        store.apply(steps(retry.end, last))
        self.holds(*later, *released, *last)

    def test_many_retries_at_one_position_all_count(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), *(waiting(n) for n in range(20)), to=20))
        at = store.positions()[0]
        for offset in range(20):
            plan = retries(at, offset, writes=[self.add("a", 1)])
            store.apply(plan)
            at = plan.end
        self.holds(*[self.add("a", 1)] * 20)
        assert store.positions() == {0: at}

    def test_as_many_events_as_the_store_says_are_released_at_once(self) -> None:
        store, count = self.begun(), min(5, self.traits.parked_per_retry)
        store.apply(parks(Position(0, 0), *(waiting(n) for n in range(count)), waiting(50, "x"), to=60))
        store.apply(retries(store.positions()[0], *range(count), writes=[self.add("a", 1)]))
        self.holds(self.add("a", 1))
        assert [found.offset for found in store.parked(0)] == [50]

    def test_a_retry_that_fails_is_noted_and_the_event_stays(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), waiting(1, error=""), to=2))
        tried = waiting(0)._replace(
            attempts=2, error="WriteRejected", message="no", last_at=NOON + datetime.timedelta(1)
        )
        store.apply(retries(store.positions()[0], still_parked=[tried]))
        assert self.client().parked(0) == [tried, waiting(1, error="")]
        found = store.sequences(0)["k"]
        assert (found.first, found.events, found.since, found.error) == (0, 2, NOON, "WriteRejected")
        self.holds()

    def test_what_is_parked_in_one_partition_is_nothing_to_another(self) -> None:
        if self.partitions < 2:
            return
        store = self.begun(partitions=2)
        mine, theirs = waiting(0), waiting(0, partition=1, minute=3)
        store.apply(parks(Position(0, 0), mine, to=1))
        store.apply(parks(Position(1, 0), theirs, waiting(1, partition=1), to=2))
        assert store.parked(0) == [mine]
        assert store.parked(1) == [theirs, waiting(1, partition=1)]
        assert (store.sequences(0)["k"].events, store.sequences(1)["k"].events) == (1, 2)
        store.apply(retries(store.positions()[0], 0, writes=[self.add("a", 1)]))
        assert store.parked(0) == []
        assert self.client().parked(1) == [theirs, waiting(1, partition=1)]
        marked = theirs._replace(attempts=2)
        store.apply(retries(store.positions()[1], still_parked=[marked]))
        assert store.parked(1) == [marked, waiting(1, partition=1)]
        assert store.parked(0) == []
