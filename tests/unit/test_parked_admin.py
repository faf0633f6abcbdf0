"""What people do about parked events: what a selection means, and what it leaves in the book."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logsync import parked
from logsync.core.parking import Parking
from logsync.errors import ConfigError
from logsync.parked import Selection
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.test_parking import drain, mended, orders
from tests.unit.test_worker import finish, worker

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
    drain(worker(source, sink=mended(store)), store)
    assert orders(store) == {"a": 2, "b": 3, "c": 1}
    assert [entry.sequence for entry in store.parked(0)] == ["d"]


def test_giving_up_on_one_event_lets_what_waits_behind_it_go_on(source: MemoryLog, store: Memory) -> None:
    selection = Selection(event="0:1")
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="typo", now=NOW)
    assert count == 1
    drain(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"b": 3, "c": 1}
    book = store.read_book()
    assert book
    assert [(skip.offset, skip.reason) for skip in book.skips] == [(1, "typo")]
    assert book.audit[-1].detail["discarded"] == 1


def test_giving_up_on_an_error_takes_the_events_that_failed_with_it_and_no_others(
    source: MemoryLog, store: Memory
) -> None:
    selection = Selection(error="HandlerError")
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="x", now=NOW)
    assert count == 2
    drain(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"a": 2, "b": 3, "c": 1}
    assert [(entry.sequence, entry.attempts) for entry in store.parked(0)] == [("d", 1)]  # not meant, so not tried


def test_what_was_applied_meanwhile_cannot_be_given_up(source: MemoryLog, store: Memory) -> None:
    """A rebuild would leave it out."""
    everything, one = Selection(), Selection(event="0:1")
    found, found_one = parked.find(store, everything), parked.find(store, one)
    parked.retry(store, found, everything, sink="db", now=NOW)
    drain(worker(source, sink=mended(store)), store)
    with pytest.raises(ConfigError, match="not parked any more"):
        parked.discard(store, found_one, one, sink="db", reason="x", now=NOW)
    _, count = parked.discard(store, found, everything, sink="db", reason="x", now=NOW)
    book = store.read_book()
    assert book
    assert count == 1
    assert book.skips_of(0) == {5}


def test_giving_up_on_everything_applies_nothing_of_it_also_in_a_rebuild(source: MemoryLog, store: Memory) -> None:
    selection = Selection()
    _, count = parked.discard(store, parked.find(store, selection), selection, sink="db", reason="x", now=NOW)
    assert count == 5
    drain(worker(source, sink=mended(store)), store)
    assert orders(store) == {"c": 1}
    assert store.parked(0) == []
    book = store.read_book()
    assert book
    assert book.skips_of(0) == {0, 1, 2, 3, 5}


def test_entries_come_page_by_page(store: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "_PAGE", 2)
    assert [entry.offset for entry in parked.entries(store)] == [0, 1, 2, 3, 5]
    assert [entry.offset for entry in parked.entries(store, partition=0, sequence="b")] == [1, 3]
