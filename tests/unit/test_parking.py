"""Parking in the worker, over the memory store: what waits, what goes on, and what a retry does. # I8 K1-K4"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from logsync import Event, Log, Sink
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Record
from logsync.core.parked import Parked
from logsync.core.position import Position
from logsync.errors import (
    HandlerError,
    StoreUnavailable,
)
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from logsync.writes.rows import Increment
from tests.unit.parking import NOON, allowing, ask, mended, orders, parked, poisoned, retry, total
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink, order_placed
from tests.unit.test_worker import Flaky, finish, worker


def test_a_parked_event_holds_back_its_own_sequence_and_no_other() -> None:
    source, store = poisoned(), Memory()
    made = parked(source, store)
    assert orders(store) == {"a": 6, "c": 1}
    assert total(store) == 12
    found = store.parked(0)
    assert [(entry.offset, entry.sequence, entry.error, entry.attempts) for entry in found] == [
        (1, "b", "HandlerError", 1),
        (2, "b", "", 0),
        (4, "b", "", 0),
    ]
    assert "negative" in found[0].message
    assert found[0].record == source.records[0][1]
    assert found[0].event_id == "event-0-1"
    assert (made.status.parked, made.status.applied, made.status.waiting) == (3, 3, {0: 3})


def test_what_is_parked_survives_the_worker_and_still_holds_back_its_key() -> None:  # I8
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="b", cents=10))
    source.append(OrderPlaced(order="a", cents=11))
    finish(worker(source, sink=mended(store)), source)  # the handler would succeed now: order comes first
    assert orders(store) == {"a": 11, "c": 1}
    assert [entry.offset for entry in store.parked(0)] == [1, 2, 4, 6]


def test_an_undecodable_record_is_parked_with_its_key_and_retried_after_an_upgrade() -> None:
    source, store = MemoryLog(log), Memory()
    good = source.append(OrderPlaced(order="b", cents=3))
    source.append_raw(b"b", b"{not json", list(good.headers))
    source.append(OrderPlaced(order="b", cents=4))
    parked(source, store)
    assert [(entry.offset, entry.error) for entry in store.parked(0)] == [(1, "DecodeError"), (2, "")]
    assert orders(store) == {"b": 3}
    book = store.read_book()
    assert book
    assert store.parked(0)[0].record.value == b"{not json"


def test_a_type_that_nobody_knew_is_applied_after_an_upgrade() -> None:  # T1
    source, store = MemoryLog(log), Memory()
    newer = Log("test.shop")
    newer.event("order.placed", key="order")(OrderPlaced)
    newer.event("page.rated", key="page")(PageSeen)
    coded = MemoryLog(newer)
    record = coded.append(PageSeen(page="/"))
    source.append_raw(record.key, record.value, record.headers)
    parked(source, store)
    assert store.parked(0)[0].error == "UnknownEventType"
    ask(store)
    sink = Sink("db", newer, store, on_error="park")
    sink.on(PageSeen)(lambda event: Increment("pages", {"page": event.data.page}, {"n": 1}))
    sink.on(OrderPlaced)(allowing)  # type: ignore[type-var]
    # The log declares another set of types, which is what an upgrade is; the store and the topic are the same.
    retry(worker(source, sink=sink), store)
    assert store.content.row("pages", page="/") == {"page": "/", "n": 1}


def test_of_a_long_error_the_beginning_is_kept() -> None:
    source, store = poisoned(), Memory()
    sink = make_sink(store, on_error="park")

    def verbose(event: Event[OrderPlaced]) -> list[object]:
        raise ValueError("x" * 1_000_000)

    sink.handlers[OrderPlaced] = verbose  # type: ignore[assignment]
    finish(worker(source, sink=sink), source)
    ask(store, sequence="b")
    retry(worker(source, sink=sink), store)
    found = store.parked(0, sequence="b")[0]
    assert found.attempts == 2
    assert "ValueError: xxx" in found.message
    assert all(len(entry.message) < 5_000 for entry in store.parked(0))


def test_an_unknown_outcome_of_parking_or_retrying_doubles_nothing() -> None:
    source = poisoned()
    store = Flaky()
    store.after = [StoreUnavailable("after parking"), StoreUnavailable("after parking, again")]
    parked(source, store)
    assert len(store.parked(0)) == 3
    assert total(store) == 12
    store.after = [StoreUnavailable("after the retry")]
    ask(store)
    retry(worker(source, sink=mended(store)), store)
    assert total(store) == 22
    assert store.parked(0) == []


def test_a_retried_append_that_could_not_be_decoded_is_retried_once() -> None:  # A1
    source, store = MemoryLog(log), Memory()
    newer = Log("test.shop")
    newer.event("order.placed", key="order")(OrderPlaced)
    newer.event("page.rated", key="page")(PageSeen)
    record = MemoryLog(newer).append(PageSeen(page="/"))
    source.append_raw(record.key, record.value, record.headers)
    source.append_raw(record.key, record.value, [*record.headers, (RETRY_FROM, b"0")])
    parked(source, store)
    assert len(store.parked(0)) == 1  # judged at once: when it is retried, retention may have deleted the first copy
    source.holes[0].update({0, 1})
    source.starts[0] = 2
    ask(store)
    sink = Sink("db", newer, store, on_error="park")
    sink.on(PageSeen)(lambda event: Increment("pages", {"page": event.data.page}, {"n": 1}))
    sink.on(OrderPlaced)(allowing)  # type: ignore[type-var]
    retry(worker(source, sink=sink), store)
    assert store.content.row("pages", page="/") == {"page": "/", "n": 1}


def test_an_event_that_is_replayed_stays_parked_although_its_handler_succeeds_now() -> None:  # K2
    """As in a replayable store: parked first, then the position; a crash in between replays the event."""
    source, store = poisoned(), Memory()
    parked(source, store)
    store.server.positions["db"][0] = Position(0, 0)
    store.content.tables.clear()
    finish(worker(source, sink=mended(store)), source)
    assert orders(store) == {"a": 6, "c": 1}
    assert [entry.offset for entry in store.parked(0)] == [1, 2, 4]


def test_events_of_a_sequence_from_before_its_first_parked_one_are_applied_on_replay() -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (1, -2, 3):
        source.append(OrderPlaced(order="b", cents=cents))
    parked(source, store)
    store.server.positions["db"][0] = Position(0, 0)
    store.content.tables.clear()
    finish(worker(source, sink=mended(store)), source)
    assert orders(store) == {"b": 1}
    assert [entry.offset for entry in store.parked(0)] == [1, 2]


@pytest.mark.parametrize("on_error", ["halt", "park"])
def test_an_event_whose_handler_raises_half_way_leaves_none_of_its_writes(on_error: str) -> None:  # I7
    source, store = poisoned(), Memory()

    def half(event: Event[OrderPlaced]) -> Iterator[object]:
        yield Increment("totals", {"name": "cents"}, {"n": 1000})
        yield from order_placed(event)

    sink = make_sink(store, on_error=on_error)
    sink.handlers[OrderPlaced] = half  # type: ignore[assignment]
    try:
        finish(worker(source, sink=sink), source)
    except HandlerError:
        assert on_error == "halt"
        assert total(store) == 1005
    else:
        assert total(store) == 3012


@pytest.mark.parametrize("text", ["\udcff \x00", "\ud83d\ude00", "\U0001f600", "\\ud83d"])
def test_the_json_of_a_parked_event_gives_it_back(text: str) -> None:
    record = Record(3, 9, b"\xff", None, [("a", b"\x00"), (text, None)], None, 5)
    entry = Parked(3, 9, "s", text, None, "", text, NOON, NOON, 0, record)
    assert Parked.from_json(entry.to_json()) == entry
    assert entry.to_json().isascii()
