"""Claims on ``apply``: one step, compared before it is made, and never more than its own partition and sink."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import PositionConflict, StoreError, WriteRejected
from logsync.testing.store_contract.given import Given
from logsync.testing.store_contract.making import ODD, moved, parks, retries, steps, waiting

ROUNDS = 15
"""How often two workers meet."""
PATIENCE = 120.0
"""Seconds that one worker waits for the other. A bound, not an expectation."""


class Applying(Given):
    """Points 1, 2, 3 and 6 of ``logsync.core.store``."""

    def test_apply_makes_writes_and_position_visible_to_everyone(self) -> None:
        store = self.begun()
        writes = [self.put("a", 1), self.add("b", 5), self.put("c", 2)]
        plan = steps(Position(0, 0), writes[:2], writes[2:], [])
        store.apply(plan)
        self.holds(*writes)
        other = self.client()
        assert other.positions() == {0: plan.end}
        assert other.holds_data()

    def test_a_position_comes_back_whole(self) -> None:
        store = self.begun()
        end = Position(0, 2**40, 1, 2**40 - 1, ODD, 7)
        store.apply(Plan(Position(0, 0), end))
        assert self.client().positions() == {0: end}

    def test_a_plan_without_writes_moves_the_position(self) -> None:
        store = self.begun()
        store.apply(Plan(Position(0, 0), Position(0, 7)))
        assert store.positions() == {0: Position(0, 7)}
        self.holds()

    def test_applying_a_plan_twice_counts_once(self) -> None:
        store = self.begun()
        writes = [self.add("a", 5), self.add("a", 2)]
        plan = steps(Position(0, 0), writes[:1], writes[1:])
        store.apply(plan)
        with pytest.raises(PositionConflict):
            store.apply(plan)
        self.holds(*writes)
        assert store.positions() == {0: plan.end}

    def test_a_stale_worker_changes_nothing(self) -> None:
        store, zombie = self.begun(), self.client()
        writes = [self.put("a", 1), self.add("b", 1), self.put("a", 9)]
        store.apply(steps(Position(0, 0), writes[:2], writes[2:]))
        with pytest.raises(PositionConflict):
            zombie.apply(steps(Position(0, 0), [self.put("a", 7), self.add("b", 7)]))
        self.holds(*writes)
        assert zombie.positions()[0].next_offset == 2

    def test_a_plan_from_further_on_is_refused(self) -> None:
        """The store went back in time: it was restored, and the worker still knows the later position."""
        store = self.begun()
        with pytest.raises(PositionConflict):
            store.apply(steps(Position(0, 5), [self.add("a", 1)]))
        self.holds()
        assert store.positions() == {0: Position(0, 0)}

    def test_a_plan_of_another_epoch_is_refused(self) -> None:
        store, zombie = self.begun(), self.client()
        zombie.positions()
        book = store.read_book()
        assert book
        wiping = book.next(state="wiping", epoch=2)
        store.write_book(wiping, positions=[])
        store.wipe(wiping)
        store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
        for epoch in (1, 3):
            with pytest.raises(PositionConflict):
                zombie.apply(steps(Position(0, 0, epoch), [self.put("z", 1), self.add("y", 1)]))
        store.apply(steps(Position(0, 0, 2), [self.add("a", 1)]))
        self.holds(self.add("a", 1))

    def test_a_missing_position_is_a_conflict_and_never_a_start(self) -> None:
        store = self.begun()
        book = store.read_book()
        assert book
        store.write_book(book.next(), positions=[])
        assert store.positions() == {}
        with pytest.raises(PositionConflict):
            store.apply(steps(Position(0, 0), [self.add("a", 1)]))
        self.holds()
        assert store.positions() == {}

    def test_a_plan_moves_the_position_of_its_own_partition_only(self) -> None:
        if self.partitions < 2:
            return
        store = self.begun(partitions=2)
        first, second = steps(Position(0, 0), [self.add("a", 1)]), steps(Position(1, 0), [self.add("a", 2)], [])
        store.apply(first)
        assert store.positions() == {0: first.end, 1: Position(1, 0)}
        store.apply(second)
        assert self.client().positions() == {0: first.end, 1: second.end}
        with pytest.raises(PositionConflict):
            store.apply(second)
        self.holds(self.add("a", 1), self.add("a", 2))

    def test_a_sink_touches_no_other_sink(self) -> None:
        """Everything that a sink can do, beside another one on the same server."""
        theirs, mine = self.begun(self.other), self.begun()
        writes = [self.put("a", 1, self.other), self.add("b", 2, self.other)]
        plan = parks(Position(0, 0), waiting(1), waiting(2), to=3, events=[writes])
        theirs.apply(plan)
        book = theirs.read_book()
        mine.apply(parks(Position(0, 0), waiting(1, minute=9), waiting(2), to=3, events=[[self.put("a", 5)]]))
        assert mine.read_book() != book
        assert mine.parked(0) == [waiting(1, minute=9), waiting(2)]
        tried = waiting(2)._replace(attempts=7)
        mine.apply(retries(mine.positions()[0], still_parked=[tried]))
        mine.apply(retries(mine.positions()[0], 1))
        assert mine.parked(0) == [tried]
        changed = mine.read_book()
        assert changed
        wiping = changed.next(state="wiping", epoch=2)
        mine.write_book(wiping, positions=[])
        mine.wipe(wiping)
        mine.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
        self.holds()
        assert mine.parked(0) == []
        for store in (theirs, self.client(self.other)):
            assert store.read_book() == book
            assert store.positions() == {0: plan.end}
            assert store.parked(0) == [waiting(1), waiting(2)]
            assert store.sequences(0)["k"].events == 2
        self.holds(*writes, sink=self.other)

    def test_a_refused_write_names_its_event_and_the_events_before_it_still_apply(self) -> None:
        store = self.begun()
        before = [[self.put("a", 1)], [self.add("b", 1)]]
        plan = steps(Position(0, 0), *before, [self.refused(self.sink)], [self.add("b", 1)])
        with pytest.raises(WriteRejected) as caught:
            store.apply(plan)
        assert caught.value.offset == 2
        assert store.positions() == {0: Position(0, 0)}
        if self.traits.atomic:
            self.holds()
        store.apply(steps(Position(0, 0), *before))
        assert store.positions()[0].next_offset == 2
        if self.traits.atomic:
            self.holds(*before[0], *before[1])

    def test_a_refused_write_is_found_at_the_offset_of_its_event_and_not_at_its_place_in_the_plan(self) -> None:
        """Offsets have holes, events have several writes or none, and the plan begins somewhere."""
        store = self.begun()
        store.apply(Plan(Position(0, 0), Position(0, 100)))
        writes = [self.put("a", 1), self.add("b", 1), self.add("c", 1), self.refused(self.sink), self.put("d", 1)]
        plan = Plan(Position(0, 100), moved(Position(0, 100), 140), writes, [103, 103, 120, 131, 139])
        with pytest.raises(WriteRejected) as caught:
            store.apply(plan)
        assert caught.value.offset == 131
        assert store.positions() == {0: Position(0, 100)}

    def test_nothing_of_a_refused_plan_is_parked_or_released(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(0), to=1))
        now = store.positions()[0]
        if self.traits.atomic:
            with pytest.raises(WriteRejected):
                store.apply(parks(now, waiting(2), to=3, events=[[self.refused(self.sink)]]))
        with pytest.raises(WriteRejected) as caught:
            store.apply(retries(now, 0, writes=[self.refused(self.sink)]))
        assert caught.value.offset == 0
        assert store.parked(0) == [waiting(0)]
        assert store.positions() == {0: now}

    def test_of_two_workers_at_the_same_moment_one_moves_the_position(self) -> None:
        """To compare first and to write then is not enough: nobody may come in between."""
        self.begun()
        together, wins = threading.Barrier(2), list[int]()
        failed = list[BaseException]()

        def work() -> None:
            try:
                store = self.make_store(self.sink)
                store.open(self.sink, self.settings())
                for _ in range(ROUNDS):
                    plan = steps(store.positions()[0], [self.add("a", 1)])
                    together.wait(PATIENCE)
                    with suppress(StoreError):
                        store.apply(plan)
                        wins.append(plan.start.next_offset)
                    together.wait(PATIENCE)
                store.close()
            except BaseException as error:  # noqa: BLE001 - it is shown below, where the test fails
                failed.append(error)
                together.abort()

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failed
        assert wins
        assert len(set(wins)) == len(wins), "two workers moved the position from the same place"
        count = self.client().positions()[0].next_offset
        self.holds(*[self.add("a", 1)] * count)

    def test_what_is_no_value_leaves_as_a_refusal_and_not_as_an_error_of_the_client(self) -> None:
        store = self.begun()
        write, refused = _spoiled(self.put("a", 77)), -1
        try:
            store.apply(steps(Position(0, 0), [write]))
        except WriteRejected as error:
            refused = error.offset
        assert refused in (-1, 0)
        assert store.positions()[0].next_offset == (0 if refused == 0 else 1)

    def test_a_large_plan_is_applied_whole(self) -> None:
        store = self.begun()
        writes = [[self.put(f"k{n}", n % 100), self.add(f"t{n % 7}", 1)] for n in range(2000)]
        store.apply(steps(Position(0, 0), *writes))
        assert store.positions()[0].next_offset == 2000
        self.holds(*(write for step in writes for write in step))

    def test_work_that_is_done_while_the_store_waits_changes_nothing(self) -> None:
        store = self.client()
        left = [True] * 5
        store.meanwhile = lambda: bool(left) and left.pop()
        store.close()
        store.open(self.sink, self.settings())
        self.begin(store)
        store.apply(steps(Position(0, 0), [self.add("a", 1)]))
        store.apply(steps(store.positions()[0], [self.add("a", 1)]))
        self.holds(self.add("a", 1), self.add("a", 1))


def _spoiled(write: Write) -> Write:
    """The write with an object of no meaning in the place of its 77."""
    fields = {field.name: getattr(write, field.name) for field in dataclasses.fields(write)}  # type: ignore[arg-type]
    return type(write)(**{name: _without_meaning(value) for name, value in fields.items()})


def _without_meaning(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_meaning(held) for name, held in value.items()}
    return object() if value == 77 else value
