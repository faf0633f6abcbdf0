"""What people do about parked events: what a selection means, and what it leaves in the book."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count

import pytest

from logsync.core.book import Book
from logsync.core.offsets import Offsets
from logsync.core.parked import Parking
from logsync.core.plan import Plan
from logsync.core.planning import plan_discard
from logsync.core.position import Position
from logsync.core.store import Traits
from logsync.errors import ConfigError, PositionConflict
from logsync.ops import parked
from logsync.ops.parked import Selection
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.test_parking import mended, orders, retry
from tests.unit.test_worker import finish, settings, worker

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def source() -> MemoryLog:
    """Orders a and b are held up by their first event; one event of b is no JSON."""
    source = MemoryLog(log)
    for order, cents in (("a", -1), ("b", -1), ("a", 2), ("b", 3), ("c", 1)):
        source.append(OrderPlaced(order=order, cents=cents))
    headers = source.records[0][0].headers
    source.append_raw(b"d", b"no json", [(n, b"broken" if n == "ce_id" else v) for n, v in headers])
    return source


@pytest.fixture
def store(source: MemoryLog) -> Memory:
    store = Memory()
    finish(worker(source, sink=make_sink(store, on_error="park", parking=Parking())), source)
    return store


@pytest.mark.parametrize(
    ("selection", "sequences"),
    [
        (Selection(), ["a", "b", "d"]),
        (Selection(sequence="b"), ["b"]),
        (Selection(error="DecodeError"), ["d"]),
        (Selection(event="0:3"), ["b"]),
        (Selection(event="event-0-2"), ["a"]),
        (Selection(event="broken"), ["d"]),
        (Selection(sequence="c"), []),
        (Selection(event="0:4"), []),
    ],
)
def test_a_selection_means_sequences(store: Memory, selection: Selection, sequences: list[str]) -> None:
    assert sorted(found.sequence for found in parked.find(store, selection)) == sequences


def test_a_retry_is_a_request_and_on_record(source: MemoryLog, store: Memory) -> None:
    selection = Selection(error="HandlerError")
    parked.retry(store, parked.find(store, selection), selection, sink="db", now=NOW)
    book = store.read_book()
    assert book
    assert (book.requests[0].error, book.requests[0].partitions) == ("HandlerError", (0,))
    assert book.audit[-1].action == "parked-retry"
    assert book.audit[-1].detail == {"error": "HandlerError", "sequences": 2, "events": 4}
    retry(worker(source, sink=mended(store)), store)
    assert orders(store) == {"a": 2, "b": 3, "c": 1}
    assert [entry.sequence for entry in store.parked(0)] == ["d"]


def test_giving_up_on_one_event_lets_what_waits_behind_it_go_on(source: MemoryLog, store: Memory) -> None:
    selection = Selection(event="0:1")
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="typo", now=NOW)
    assert count == 1
    retry(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"b": 3, "c": 1}
    book = store.read_book()
    assert book
    assert [(str(skip.offsets), skip.reason) for skip in book.skips] == [("1", "typo")]
    assert book.audit[-1].detail["meant"] == 1


def test_giving_up_on_an_error_takes_the_events_that_failed_with_it_and_no_others(
    source: MemoryLog, store: Memory
) -> None:
    selection = Selection(error="HandlerError")
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="x", now=NOW)
    assert count == 2
    assert not store.read_book().skips  # type: ignore[union-attr]  # only the owner can tell what is parked still
    retry(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"a": 2, "b": 3, "c": 1}
    assert [(entry.sequence, entry.attempts) for entry in store.parked(0)] == [("d", 1)]  # not meant, so not tried


def test_no_more_is_given_up_than_was_shown(source: MemoryLog, store: Memory) -> None:
    """Between looking and deciding a worker parks more, and a discard cannot be taken back."""
    everything = Selection()
    found = parked.find(store, everything)
    shown = sum(each.waiting.events for each in found)
    before = store.read_book()
    with pytest.raises(PositionConflict, match=f"expected at most {shown - 1} events, found {shown}"):
        parked.discard(store, found, everything, sink="db", reason="x", now=NOW, most=shown - 1)
    assert store.read_book() == before
    assert parked.discard(store, found, everything, sink="db", reason="x", now=NOW, most=shown)[1] == shown


def test_what_was_applied_meanwhile_cannot_be_given_up(source: MemoryLog, store: Memory) -> None:
    """A rebuild would leave it out."""
    everything, one = Selection(), Selection(event="0:1")
    found, found_one = parked.find(store, everything), parked.find(store, one)
    parked.retry(store, found, everything, sink="db", now=NOW)
    retry(worker(source, sink=mended(store)), store)
    with pytest.raises(ConfigError, match="not parked any more"):
        parked.discard(store, found_one, one, sink="db", reason="x", now=NOW)
    _, count = parked.discard(store, found, everything, sink="db", reason="x", now=NOW)
    assert count == 1
    retry(worker(source, sink=mended(store)), store)
    book = store.read_book()
    assert book
    assert book.skips_of(0) == {5}


class Meddling(Memory):
    """Does something before, or just after, the n-th thing that is written from now on."""

    def meddle(self, turn: int, before: bool, what: Callable[[], object]) -> None:
        self._turn, self._before, self._what = turn, before, what

    _turn, _before = -1, False

    def _around(self, write: Callable[[], None]) -> None:
        self._turn -= 1
        if self._turn == 0 and self._before:
            self._what()
        write()
        if self._turn == 0 and not self._before:
            self._what()

    def apply(self, plan: Plan) -> None:
        self._around(partial(super().apply, plan))

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        self._around(partial(super().write_book, book, positions=positions))


def give_up(store: Memory, selection: Selection, reason: str = "x") -> int:
    _, meant = parked.discard(store, parked.find(store, selection), selection, sink="db", reason=reason, now=NOW)
    return meant


def test_a_discard_that_comes_just_before_a_retry_is_applied_finds_the_event_applied(source: MemoryLog) -> None:
    store = Meddling()
    finish(worker(source, sink=make_sink(store, on_error="park")), source)
    made = worker(source, sink=mended(store))
    parked.retry(store, parked.find(store, Selection("a")), Selection("a"), sink="db", now=NOW)
    store.meddle(1, True, lambda: give_up(store, Selection(sequence="a")))
    retry(made, store)
    book = store.read_book()
    assert book
    assert orders(store)["a"] == 2
    assert (book.skips, parked.discarded(book, reason="x", at=NOW)) == ((), 0)


def test_what_was_not_shown_is_not_given_up(source: MemoryLog, store: Memory) -> None:
    shown = parked.find(store, Selection())[:2]  # d was parked since
    _, meant = parked.discard(store, shown, Selection(), sink="db", reason="x", now=NOW)
    assert meant == 4
    retry(worker(source, sink=make_sink(store, on_error="park")), store)
    assert [entry.sequence for entry in store.parked(0)] == ["d"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_is_given_up_is_on_record_while_it_stands_behind_what_still_fails(
    source: MemoryLog, store: Memory, interrupted: bool
) -> None:
    store.traits = Traits(atomic=True, parked_per_retry=100 if interrupted else 1)
    source.append(OrderPlaced(order="b", cents=9))
    finish(worker(source, sink=make_sink(store, on_error="park")), source)
    if interrupted:
        (marked,) = store.parked(0, sequence="b", after=3)
        store.apply(plan_discard([marked], store.positions()[0], reason="earlier", at=NOW))
        give_up(store, Selection(event="0:3"))
        book = store.read_book()
        assert book
        request = book.requests[0].model_copy(update={"offsets": {0: Offsets([3, 6])}})
        store.write_book(book.next(requests=(request,)))
    else:
        give_up(store, Selection(event="0:6"))
    retry(worker(source, sink=make_sink(store, on_error="park")), store)
    book = store.read_book()
    assert book
    noted = {str(skip.offsets): skip.reason for skip in book.skips}
    assert noted == ({"3": "x", "6": "earlier"} if interrupted else {"6": "x"})
    assert [entry.offset for entry in store.parked(0, sequence="b")] == [1, 3, 6]


def test_a_discard_does_not_wait_for_the_retry_that_would_apply_its_event(source: MemoryLog) -> None:
    store = Meddling()
    finish(worker(source, sink=make_sink(store, on_error="park")), source)
    parked.retry(store, parked.find(store, Selection()), Selection(), sink="db", now=NOW)
    store.meddle(1, False, lambda: give_up(store, Selection(sequence="b")))  # a is through
    ticks = count(0, 5)
    made = Worker(mended(store), MemoryReader(source), settings(), clock=lambda: next(ticks))  # type: ignore[arg-type]
    retry(made, store)
    assert orders(store) == {"a": 2, "c": 1}


def test_a_plan_that_applies_an_event_is_refused_once_it_is_given_up(source: MemoryLog, store: Memory) -> None:
    """Already by the mark: what follows it may never come."""
    late: list[Plan] = []
    apply = store.apply
    store.apply = late.append  # type: ignore[method-assign, assignment]
    zombie = worker(source, sink=mended(store))
    parked.retry(store, parked.find(store, Selection("b")), Selection("b"), sink="db", now=NOW)
    while not late:
        zombie.step()
    store.apply = apply  # type: ignore[method-assign]
    store.apply(plan_discard(store.parked(0, sequence="b"), store.positions()[0], reason="x", at=NOW))
    assert late[0].released == [1, 3]
    with pytest.raises(PositionConflict):
        store.apply(late[0])
    assert orders(store) == {"c": 1}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_discard_that_is_cut_off_anywhere_is_carried_out_once(source: MemoryLog, turn: int, before: bool) -> None:
    store = Meddling()
    store.traits = Traits(atomic=True, parked_per_retry=2)
    finish(worker(source, sink=make_sink(store, on_error="park")), source)
    assert give_up(store, Selection(sequence="b")) == 2
    assert give_up(store, Selection(event="0:0")) == 1
    first = worker(source, sink=mended(store))

    def crash() -> None:
        raise KeyboardInterrupt

    store.meddle(turn, before, crash)
    with suppress(KeyboardInterrupt):
        retry(first, store)
    retry(worker(source, sink=mended(store)), store)
    assert [entry.sequence for entry in store.parked(0)] == ["d"]
    book = store.read_book()
    assert book
    assert (orders(store), book.skips_of(0)) == ({"a": 2, "c": 1}, {0, 1, 3})
    assert parked.discarded(book, reason="x", at=NOW) == 3


def test_giving_up_on_everything_applies_nothing_of_it_also_in_a_rebuild(source: MemoryLog, store: Memory) -> None:
    selection = Selection()
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="x", now=NOW)
    assert count == 5
    retry(worker(source, sink=mended(store)), store)
    assert orders(store) == {"c": 1}
    assert store.parked(0) == []
    book = store.read_book()
    assert book
    assert book.skips_of(0) == {0, 1, 2, 3, 5}


def test_entries_come_page_by_page(store: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "_PAGE", 2)
    assert [entry.offset for entry in parked.entries(store)] == [0, 1, 2, 3, 5]
    assert [entry.offset for entry in parked.entries(store, partition=0, sequence="b")] == [1, 3]


def test_what_is_marked_is_put_on_record_before_it_leaves_whoever_meets_it(source: MemoryLog, store: Memory) -> None:
    """The worker that marked it came no further, and something else retries the sequence first."""
    at = store.positions()[0]
    entries = [entry for entry in store.parked(0) if entry.sequence == "b"]
    store.apply(plan_discard(entries, at, reason="x", at=NOW))
    assert [entry.offset for entry in store.parked(0) if entry.discarded == "x"] == [1, 3]
    parked.retry(store, parked.find(store, Selection()), Selection(), sink="db", now=NOW)
    retry(worker(source, sink=mended(store)), store)
    book = store.read_book()
    assert book
    assert (orders(store), book.skips_of(0)) == ({"a": 2, "c": 1}, {1, 3})
    assert parked.discarded(book, reason="x", at=NOW) == 2


def test_giving_up_on_everything_costs_the_book_as_much_as_there_are_ranges(source: MemoryLog, store: Memory) -> None:
    offsets = Offsets(range(1_000_000, 1_020_000))
    book = store.read_book()
    assert book
    empty = len(book.model_dump_json())
    books = [
        book.next(skips=book.skipping(0, some, reason="sent by a test", at=NOW))
        for some in (offsets, Offsets(range(1_000_000, 1_020_000, 10)))
    ]
    assert [len(made.model_dump_json()) - empty < size for made, size in zip(books, (200, 2_000 * 10), strict=True)]
    again = Book.model_validate_json(books[0].model_dump_json())
    assert again.skips_of(0) == offsets
    assert again.skipping(0, [1_000_007], reason="twice", at=NOW) == again.skips
    assert str(again.skipping(0, [1_020_000, 5], reason="sent by a test", at=NOW)[0].offsets) == "5,1000000-1020000"


@pytest.mark.parametrize("text", ["", "0", "3-5", "0,2,4-7,9"])
def test_offsets_are_a_set_that_its_text_gives_back(text: str) -> None:
    offsets = Offsets.read(text)
    assert str(offsets) == text
    assert Offsets(offsets) == offsets == set(offsets)
    assert [number for number in range(-1, 12) if number in offsets] == list(offsets)
    assert len(offsets) == len(list(offsets))
    assert Offsets([1, 3]) | offsets == {1, 3, *offsets}
