"""Parked events, tried again: in which order, how many at once, and what may come between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from logsync import Event
from logsync.core.book import Book, Request, Skip
from logsync.core.offsets import Offsets
from logsync.core.parked import Parking
from logsync.core.plan import Plan
from logsync.core.retries import SequenceRetry
from logsync.core.store import Traits
from logsync.errors import StoreUnavailable
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.parking import NOON, Interrupts, allowing, ask, mended, orders, parked, poisoned, retry, total
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink, order_placed
from tests.unit.test_worker import Clock, finish, settings, worker


class Slow(Clock):
    def __call__(self) -> float:
        self.now += 10
        return self.now


def test_a_retry_applies_the_sequence_in_order_and_frees_its_key() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    ask(store)
    made = retry(worker(source, sink=mended(store)), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}
    assert total(store) == 5 - 7 + 8 + 6 + 9 + 1
    assert store.parked(0) == []
    assert made.status.released == 3
    assert made.status.waiting == {0: 0}
    source.append(OrderPlaced(order="b", cents=20))
    finish(made, source)
    assert orders(store)["b"] == 20


def test_a_running_worker_takes_a_request() -> None:
    source, store = poisoned(), Memory()
    made = finish(worker(source, sink=make_sink(store, on_error="park")), source)
    made.sink.handlers[OrderPlaced] = allowing  # type: ignore[assignment]
    ask(store)
    retry(made, store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}


def test_a_retry_that_fails_keeps_the_event_and_everything_behind_it() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    before = store.parked(0)[0]
    ask(store)
    made = retry(worker(source, sink=make_sink(store, on_error="park")), store)
    found = store.parked(0)
    assert [(entry.offset, entry.attempts) for entry in found] == [(1, 2), (2, 0), (4, 0)]
    assert (found[0].first_at, found[0].record) == (before.first_at, before.record)
    assert made.status.released == 0
    assert total(store) == 12


def test_a_retry_stops_at_the_first_event_that_still_fails() -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, -3, 4):
        source.append(OrderPlaced(order="b", cents=cents))
    parked(source, store)
    ask(store)

    def forgiving_one(event: Event[OrderPlaced]) -> list[object]:
        return allowing(event) if event.data.cents == -1 else order_placed(event)

    sink = make_sink(store, on_error="park")
    sink.handlers[OrderPlaced] = forgiving_one  # type: ignore[assignment]
    retry(worker(source, sink=sink), store)
    assert total(store) == 1
    assert [(entry.offset, entry.attempts) for entry in store.parked(0)] == [(2, 1), (3, 0)]
    assert store.sequences(0)["b"].error == "HandlerError"


def test_a_request_names_a_sequence_or_an_error() -> None:
    source, store = MemoryLog(log), Memory()
    for order in "abc":
        source.append(OrderPlaced(order=order, cents=-1))
    parked(source, store)
    ask(store, error="WriteRejected")
    retry(worker(source, sink=mended(store)), store)
    assert len(store.parked(0)) == 3
    ask(store, sequence="b")
    retry(worker(source, sink=mended(store)), store)
    assert [entry.sequence for entry in store.parked(0)] == ["a", "c"]
    ask(store, error="HandlerError")
    retry(worker(source, sink=mended(store)), store)
    assert store.parked(0) == []


def test_a_skip_discards_a_parked_event_and_what_follows_it_is_tried() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    book = store.read_book()
    assert book
    skip = Skip(partition=0, offsets=Offsets([1]), reason="typo", at=NOON)
    store.write_book(book.next(skips=(skip,), requests=(Request(id="r", partitions=(0,), sequence="b", at=NOON),)))
    made = retry(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}
    assert store.parked(0) == []
    assert made.status.skipped["by-hand:order.placed"] == 1


def test_only_retry_applies_nothing_new() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="d", cents=1))
    ask(store)
    retry(worker(source, sink=mended(store), only_retry=True), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}
    assert store.positions()[0].next_offset == 6


def test_a_sink_can_try_again_by_itself() -> None:
    source, store = poisoned(), Memory()
    made = finish(
        worker(source, sink=make_sink(store, on_error="park", parking=Parking(retry_every=timedelta(seconds=5)))),
        source,
    )
    made.sink.handlers[OrderPlaced] = allowing  # type: ignore[assignment]
    turns = iter(range(500))
    made.run(lambda report: report.released == 3 or next(turns, None) is None)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}


def test_each_partition_is_retried_by_its_own_plans() -> None:
    source, store = MemoryLog(log, partitions=2), Memory()
    source.append(OrderPlaced(order="a", cents=-1))
    source.append(OrderPlaced(order="b", cents=-2), partition=1)
    finish(worker(source, sink=make_sink(store, on_error="park", order="per-key")), source)
    assert [len(store.parked(number)) for number in (0, 1)] == [1, 1]
    ask(store, partitions=2)
    retry(worker(source, sink=mended(store, order="per-key")), store)
    assert orders(store) == {"a": -1, "b": -2}


def test_a_replayable_store_finishes_its_retry_before_it_applies_anything() -> None:
    source, order = poisoned(), []

    class Unfinished(Memory):
        traits = Traits(atomic=True, parked_per_retry=1)

        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            return {name: known._replace(unfinished=True) for name, known in super().sequences(partition).items()}

        def apply(self, plan: Plan) -> None:
            order.append("retry" if plan.released else "apply")
            super().apply(plan)

    store = Unfinished()
    parked(source, store)
    source.append(OrderPlaced(order="d", cents=1))
    order.clear()
    finish(worker(source, sink=mended(store)), source)
    assert order == ["retry", "retry", "retry", "apply"]


def test_every_interrupted_retry_comes_before_what_is_new_however_long_that_takes() -> None:
    source = MemoryLog(log)
    for order in "abc":  # a sink's indices, restored from snapshots of different times, may name several
        source.append(OrderPlaced(order=order, cents=-1))

    class Unfinished(Memory):
        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            return {name: known._replace(unfinished=True) for name, known in super().sequences(partition).items()}

    store = Unfinished()
    parked(source, store)
    made = Worker(mended(store), MemoryReader(source), settings(), clock=Slow())
    made.step()
    assert store.parked(0) == []


def test_what_was_interrupted_comes_before_what_waits_in_any_other_partition() -> None:
    source = MemoryLog(log, partitions=3)
    for number in range(3):
        for order in "ab":
            source.append(OrderPlaced(order=f"{order}{number}", cents=-1), partition=number)
    order: list[str | None] = []

    class Interrupted(Memory):
        traits = Traits(atomic=True, parked_per_retry=1)

        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            found = super().sequences(partition)
            return {name: known._replace(unfinished=name[0] == "a") for name, known in found.items()}

        def apply(self, plan: Plan) -> None:
            order.extend(f"{'ab'[offset]}{plan.start.partition}" for offset in plan.released)
            super().apply(plan)

    store = Interrupted()
    parked(source, store, order="per-key")
    ask(store, partitions=3)
    made = Worker(mended(store, order="per-key"), MemoryReader(source), settings(), clock=Slow())
    made.step()
    assert order[:3] == ["a0", "a1", "a2"]
    assert len(order) < 6


def test_a_long_queue_of_one_partition_leaves_the_others_their_turn() -> None:
    source = MemoryLog(log, partitions=2)
    for number in range(2):
        for order in range(9):
            source.append(OrderPlaced(order=f"{order}", cents=-1), partition=number)

    store = Memory()
    parked(source, store, order="per-key")
    ask(store, partitions=2)
    made = Worker(mended(store, order="per-key"), MemoryReader(source), settings(), clock=Slow())
    while made.status.released < 4:
        made.step()
    assert [len(store.parked(number)) for number in (0, 1)] == [7, 7]


def test_only_the_event_that_was_interrupted_holds_up_the_loop() -> None:
    """Else a long sequence would keep the worker from polling for as long as it takes, and out of its group."""
    source = MemoryLog(log)
    for cents in (-1, *range(1, 100)):
        source.append(OrderPlaced(order="b", cents=cents))

    class Unfinished(Memory):
        traits = Traits(atomic=True, parked_per_retry=1)

        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            return {name: known._replace(unfinished=True) for name, known in super().sequences(partition).items()}

    store = Unfinished()
    parked(source, store)
    made = worker(source, sink=mended(store))
    made.step()
    assert 0 < len(store.parked(0)) < 100
    while store.parked(0):
        made.step()
    assert total(store) == sum((-1, *range(1, 100)))


def test_retrying_many_sequences_looks_at_each_of_them_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a retry costs must not grow with the queue behind it."""
    looks = 0

    class Counting(deque[SequenceRetry]):
        def __iter__(self) -> Iterator[SequenceRetry]:
            nonlocal looks
            for each in super().__iter__():
                looks += 1
                yield each

    monkeypatch.setattr("logsync.core.retries.deque", Counting)
    source, store = MemoryLog(log), Memory()
    for number in range(200):
        source.append(OrderPlaced(order=str(number), cents=-1))
    parked(source, store)
    ask(store)
    turns = Worker(mended(store), MemoryReader(source), settings(), clock=lambda: 1000.0)  # one turn retries it all
    retry(turns, store)
    assert store.parked(0) == []
    assert looks <= 5 * 200


def test_a_worker_that_is_told_to_stop_ends_its_retry_after_the_plan() -> None:
    source = MemoryLog(log)
    for order in "abcdef":
        source.append(OrderPlaced(order=order, cents=-1))

    class Stops(Memory):
        def apply(self, plan: Plan) -> None:
            super().apply(plan)
            if plan.released:
                made.stop()

    store = Stops()
    parked(source, store)
    ask(store)
    made = Worker(mended(store), MemoryReader(source), settings(), clock=lambda: 1000.0)
    made.run()
    assert len(store.parked(0)) == 5


def test_a_request_that_comes_while_another_one_is_closed_is_carried_out() -> None:
    source, store = MemoryLog(log), Interrupts()
    for order in "ab":
        source.append(OrderPlaced(order=order, cents=-1))
    parked(source, store)
    store.after = {0: lambda: ask(store, sequence="b", name="second")}
    ask(store, sequence="a", name="first")
    retry(worker(source, sink=mended(store)), store)
    assert store.parked(0) == []


def test_a_request_that_the_worker_met_in_the_book_for_another_reason_is_carried_out() -> None:
    source, store = poisoned(), Memory()
    made = finish(worker(source, sink=mended(store)), source)
    assert store.parked(0) == []
    source.append(OrderPlaced(order="z", cents=1))
    made.sink.handlers[OrderPlaced] = order_placed  # type: ignore[assignment]
    source.append(OrderPlaced(order="b", cents=-7))
    finish(made, source)
    made.sink.handlers[OrderPlaced] = allowing  # type: ignore[assignment]
    ask(store)
    source.append(PageSeen(page="/"))  # passed over for the first time: the worker notes that in the newest book
    made._retries._watched_at = made._clock()
    made.step()
    assert made._books.book == store.read_book()
    retry(made, store)
    assert store.parked(0) == []


def test_a_request_that_goes_on_does_not_begin_anew_with_each_change_of_the_book() -> None:
    source, store, tried = MemoryLog(log), Memory(), list[str]()
    for order in "abcd":
        source.append(OrderPlaced(order=order, cents=-1))
    parked(source, store)

    def failing(event: Event[OrderPlaced]) -> list[object]:
        tried.append(event.data.order)
        book = store.read_book()
        assert book
        store.write_book(book.next(handled=book.handled))
        raise ValueError("still")

    sink = make_sink(store, on_error="park")
    sink.handlers[OrderPlaced] = failing  # type: ignore[assignment]
    ask(store)
    made = worker(source, sink=sink)
    for _ in range(40):
        made._retries._watched_at = float("-inf")
        made.step()
    assert tried == ["a", "b", "c", "d"]


def test_a_request_by_error_is_finished_although_the_event_with_that_error_is_through() -> None:
    source, store = MemoryLog(log), Interrupts()
    for cents in (-1, 2, 3):
        source.append(OrderPlaced(order="b", cents=cents))
    store.traits = replace(store.traits, parked_per_retry=1)

    def crash() -> None:
        raise StoreUnavailable("after the first event")

    parked(source, store)
    store.after = {0: crash}
    ask(store, error="HandlerError")
    retry(worker(source, sink=mended(store)), store)
    assert store.parked(0) == []
    assert total(store) == 4


def test_a_book_that_is_rebuilt_meanwhile_stops_the_retry() -> None:
    source, store = poisoned(), Memory()
    made = parked(source, store)
    book = store.read_book()
    assert book
    change: Callable[[Book], Book] = lambda book: book.next(state="wiping", epoch=2)  # noqa: E731
    store.write_book(change(book), positions=[])
    made.run(lambda report: report.retries > 0)
    assert "rebuild" in made.status.reason or "changed" in made.status.reason or "moved" in made.status.reason


def test_one_retry_carries_a_bounded_number_of_bytes_but_at_least_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, 3, 4, 5):
        source.append(OrderPlaced(order="b" * 300, cents=cents))
    parked(source, store)
    plans: list[Plan] = []
    apply = store.apply
    monkeypatch.setattr(store, "apply", lambda plan: (plans.append(plan), apply(plan)))
    monkeypatch.setattr("logsync.parked_retries.RETRY_BYTES", 700)
    ask(store)
    retry(worker(source, sink=mended(store)), store)
    assert [len(plan.released) for plan in plans if plan.released] == [2, 2, 1]
    assert total(store) == 13


def test_a_sequence_that_comes_back_into_the_store_is_retried_and_no_bug() -> None:
    """A late request of a dead worker may do that in a store where a plan is no transaction."""
    source, store = poisoned(), Memory()
    parked(source, store)
    made = worker(source, sink=mended(store))
    finish(made, source)
    retries = made._partitions[0].retries
    retries.waiting.clear()
    retries.queue.append(SequenceRetry("b"))
    turns = iter(range(50))
    made.run(lambda report: report.released == 3 or next(turns, None) is None)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}
