"""Parking in the worker, over the memory store: what waits, what goes on, and what a drain does. # I8 K1-K4"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from logsync import Event, Log, Sink
from logsync.core.book import Book, Request, Skip
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Record
from logsync.core.offsets import Offsets
from logsync.core.parked import NO_KEY, Parked, Parking, SequenceBy, by_key
from logsync.core.plan import Plan
from logsync.core.policy import Halt, Park, disposition
from logsync.core.position import Position
from logsync.core.retries import SequenceRetry
from logsync.core.store import Traits
from logsync.errors import (
    ConfigError,
    DecodeError,
    EventError,
    HandlerError,
    ParkingFull,
    StoreUnavailable,
    UnknownEventType,
    WriteRejected,
)
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Increment, Upsert
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink, order_placed
from tests.unit.test_worker import Clock, Flaky, finish, settings, worker

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def poisoned() -> MemoryLog:
    """Event 1 of order b cannot be applied (its amount is negative); 2 and 4 are later events of b."""
    source = MemoryLog(log)
    for order, cents in (("a", 5), ("b", -7), ("b", 8), ("a", 6), ("b", 9), ("c", 1)):
        source.append(OrderPlaced(order=order, cents=cents))
    return source


def allowing(event: Event[OrderPlaced]) -> list[object]:
    """The handler after the mistake was mended."""
    return [
        Upsert("orders", {"order": event.data.order}, {"cents": event.data.cents}),
        Increment("totals", {"name": "cents"}, {"n": event.data.cents}),
    ]


def mended(store: Memory, **options: object) -> Sink:
    sink = make_sink(store, on_error="park", **options)
    sink.handlers[OrderPlaced] = allowing  # type: ignore[assignment]
    return sink


def orders(store: Memory) -> dict[str, int]:
    return {row["order"]: row["cents"] for row in store.content.tables.get("orders", [])}


def total(store: Memory) -> int:
    return int(store.content.row("totals", name="cents")["n"])  # type: ignore[index]


def ask(
    store: Memory, *, sequence: str | None = None, error: str | None = None, partitions: int = 1, name: str = "r"
) -> None:
    book = store.read_book()
    assert book
    request = Request(id=name, partitions=tuple(range(partitions)), sequence=sequence, error=error, at=NOON)
    store.write_book(book.next(requests=(*book.requests, request)))


def drain(made: Worker, store: Memory) -> Worker:
    """Run until what was asked for is done."""
    turns = iter(range(200))

    def done(_: object) -> bool:
        assert next(turns, None) is not None, made.status
        book = store.read_book()
        return book is not None and not book.requests

    made.run(done)
    return made


def parked(source: MemoryLog, store: Memory, **options: object) -> Worker:
    return finish(worker(source, sink=make_sink(store, on_error="park", **options)), source)


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


def test_the_default_halts() -> None:
    with pytest.raises(HandlerError):
        finish(worker(poisoned(), Memory()), poisoned())


def test_what_is_parked_survives_the_worker_and_still_holds_back_its_key() -> None:  # I8
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="b", cents=10))
    source.append(OrderPlaced(order="a", cents=11))
    finish(worker(source, sink=mended(store)), source)  # the handler would succeed now: order comes first
    assert orders(store) == {"a": 11, "c": 1}
    assert [entry.offset for entry in store.parked(0)] == [1, 2, 4, 6]


def test_a_drain_applies_the_sequence_in_order_and_frees_its_key() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    ask(store)
    made = drain(worker(source, sink=mended(store)), store)
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
    drain(made, store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}


def test_a_retry_that_fails_keeps_the_event_and_everything_behind_it() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    before = store.parked(0)[0]
    ask(store)
    made = drain(worker(source, sink=make_sink(store, on_error="park")), store)
    found = store.parked(0)
    assert [(entry.offset, entry.attempts) for entry in found] == [(1, 2), (2, 0), (4, 0)]
    assert (found[0].first_at, found[0].record) == (before.first_at, before.record)
    assert made.status.released == 0
    assert total(store) == 12


def test_a_drain_stops_at_the_first_event_that_still_fails() -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, -3, 4):
        source.append(OrderPlaced(order="b", cents=cents))
    parked(source, store)
    ask(store)

    def forgiving_one(event: Event[OrderPlaced]) -> list[object]:
        return allowing(event) if event.data.cents == -1 else order_placed(event)

    sink = make_sink(store, on_error="park")
    sink.handlers[OrderPlaced] = forgiving_one  # type: ignore[assignment]
    drain(worker(source, sink=sink), store)
    assert total(store) == 1
    assert [(entry.offset, entry.attempts) for entry in store.parked(0)] == [(2, 1), (3, 0)]
    assert store.sequences(0)["b"].error == "HandlerError"


def test_a_request_names_a_sequence_or_an_error() -> None:
    source, store = MemoryLog(log), Memory()
    for order in "abc":
        source.append(OrderPlaced(order=order, cents=-1))
    parked(source, store)
    ask(store, error="WriteRejected")
    drain(worker(source, sink=mended(store)), store)
    assert len(store.parked(0)) == 3
    ask(store, sequence="b")
    drain(worker(source, sink=mended(store)), store)
    assert [entry.sequence for entry in store.parked(0)] == ["a", "c"]
    ask(store, error="HandlerError")
    drain(worker(source, sink=mended(store)), store)
    assert store.parked(0) == []


def test_a_skip_discards_a_parked_event_and_what_follows_it_is_tried() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    book = store.read_book()
    assert book
    skip = Skip(partition=0, offsets=Offsets([1]), reason="typo", at=NOON)
    store.write_book(book.next(skips=(skip,), requests=(Request(id="r", partitions=(0,), sequence="b", at=NOON),)))
    made = drain(worker(source, sink=make_sink(store, on_error="park")), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}
    assert store.parked(0) == []
    assert made.status.skipped["by-hand:order.placed"] == 1


def test_only_drain_applies_nothing_new() -> None:
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="d", cents=1))
    ask(store)
    drain(worker(source, sink=mended(store), only_retry=True), store)
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


def test_an_undecodable_record_is_parked_with_its_key_and_drained_after_an_upgrade() -> None:
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
    drain(worker(source, sink=sink), store)
    assert store.content.row("pages", page="/") == {"page": "/", "n": 1}


def test_records_without_a_key_are_one_sequence() -> None:  # K3
    source, store = MemoryLog(log), Memory()
    good = source.append(OrderPlaced(order="a", cents=1))
    source.append_raw(None, b"bad", list(good.headers))
    source.append_raw(None, good.value, list(good.headers))
    parked(source, store)
    assert [entry.sequence for entry in store.parked(0)] == [NO_KEY, NO_KEY]


@pytest.mark.parametrize("key", [b"\xff\x00", b"line\nbreak", b"nul\x00"])
def test_a_key_that_is_no_plain_text_still_names_a_sequence(key: bytes) -> None:
    name = by_key(key, [])
    assert name is not None
    assert name.isprintable()
    assert name != by_key(key + b"x", [])


@pytest.mark.parametrize("key", ["é 1", "漢字", "\u0378", "\U0001faf9", "\ue000"])
def test_the_name_of_a_key_does_not_depend_on_the_unicode_version(key: str) -> None:
    """Characters of all ages, and one that no Unicode version so far has given a meaning."""
    assert by_key(key.encode(), []) == key


def test_sequence_by_sees_key_and_headers() -> None:
    source, store = MemoryLog(log), Memory()
    for order, tenant, cents in (("a", "x", -1), ("b", "x", 2), ("c", "y", 3)):
        source.append(OrderPlaced(order=order, cents=cents), headers=[("tenant", tenant)])
    parked(source, store, sequence_by=lambda key, headers: str(dict(headers)["tenant"]))
    assert [entry.offset for entry in store.parked(0)] == [0, 1]
    assert orders(store) == {"c": 3}


def test_another_sequence_by_waits_until_nothing_is_parked_under_the_former_one() -> None:  # I8
    source, store = poisoned(), Memory()
    parked(source, store)
    source.append(OrderPlaced(order="b", cents=10))
    other = mended(store, sequence_by=lambda key, headers: "order " + str(key))
    with pytest.raises(ConfigError, match="is parked in sequence 'b'"):
        finish(worker(source, sink=other), source)
    ask(store)
    drain(worker(source, sink=other, only_retry=True), store)  # order does not depend on the name here
    finish(worker(source, sink=other), source)
    assert orders(store) == {"a": 6, "b": 10, "c": 1}


def test_of_a_long_error_the_beginning_is_kept() -> None:
    source, store = poisoned(), Memory()
    sink = make_sink(store, on_error="park")

    def verbose(event: Event[OrderPlaced]) -> list[object]:
        raise ValueError("x" * 1_000_000)

    sink.handlers[OrderPlaced] = verbose  # type: ignore[assignment]
    finish(worker(source, sink=sink), source)
    ask(store, sequence="b")
    drain(worker(source, sink=sink), store)
    found = store.parked(0, sequence="b")[0]
    assert found.attempts == 2
    assert "ValueError: xxx" in found.message
    assert all(len(entry.message) < 5_000 for entry in store.parked(0))


class Refuses(Memory):
    """Refuses every write for one order, as a constraint of a table would."""

    refused = "b"

    def apply(self, plan: Plan) -> None:
        for offset, write in zip(plan.offsets, plan.writes, strict=True):
            if isinstance(write, Upsert) and write.key.get("order") == self.refused:
                raise WriteRejected("constraint", offset=offset)
        super().apply(plan)


def test_what_the_store_refuses_is_parked_with_its_sequence() -> None:
    source, store = poisoned(), Refuses()
    finish(worker(source, sink=mended(store)), source)
    assert orders(store) == {"a": 6, "c": 1}
    assert [(entry.offset, entry.error) for entry in store.parked(0)] == [(1, "WriteRejected"), (2, ""), (4, "")]
    store.refused = ""
    ask(store)
    drain(worker(source, sink=mended(store)), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}


def test_a_drain_that_the_store_refuses_in_the_middle_applies_what_is_before_it() -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, 3, 4):
        source.append(OrderPlaced(order="b", cents=cents))
    parked(source, store)

    class RefusesThree(Memory):
        def apply(self, plan: Plan) -> None:
            for offset, write in zip(plan.offsets, plan.writes, strict=True):
                if isinstance(write, Upsert) and write.values.get("cents") == 3:
                    raise WriteRejected("no three", offset=offset)
            super().apply(plan)

    refusing = RefusesThree(store.server)
    refusing.open("db")
    ask(refusing)
    drain(worker(source, sink=mended(refusing)), refusing)
    assert total(refusing) == 1
    assert [(entry.offset, entry.error, entry.attempts) for entry in refusing.parked(0)] == [
        (2, "WriteRejected", 1),
        (3, "", 0),
    ]


def test_a_store_that_blames_an_event_outside_its_plan_halts_and_does_not_spin() -> None:
    class Confused(Memory):
        kind = "confused"

        def apply(self, plan: Plan) -> None:
            raise WriteRejected("whatever", offset=-1)

    with pytest.raises(ConfigError, match="confused store refused an event at offset -1"):
        finish(worker(poisoned(), Confused()), poisoned())


@pytest.mark.parametrize(
    ("on_error", "error", "parks"),
    [
        ("park", HandlerError("x"), True),
        ("halt", HandlerError("x"), False),
        ({HandlerError: "park"}, HandlerError("x"), True),
        ({HandlerError: "park"}, DecodeError("x"), False),
        ({EventError: "park", DecodeError: "halt"}, DecodeError("x"), False),
        ({EventError: "park", DecodeError: "halt"}, WriteRejected("x"), True),
        ({EventError: "park"}, UnknownEventType("x"), True),
    ],
)
def test_the_most_specific_error_class_decides(on_error: object, error: EventError, parks: bool) -> None:
    sink = make_sink(on_error=on_error)
    assert sink.parks(error) is parks
    assert isinstance(disposition(error, parks=sink.parks(error)), Park if parks else Halt)
    assert sink.with_store(Memory()).parks(error) is parks


def test_a_handler_can_say_otherwise_than_its_sink() -> None:
    sink = Sink("db", log, Memory(), on_error="park")
    sink.on(OrderPlaced, on_error="halt")(order_placed)  # type: ignore[type-var]
    with pytest.raises(HandlerError):
        finish(worker(poisoned(), sink=sink), poisoned())


def test_too_many_sequences_halt_with_everything_before_applied() -> None:
    source, store = MemoryLog(log), Memory()
    for order in "abc":
        source.append(OrderPlaced(order=order, cents=-1))
    with pytest.raises(ParkingFull, match="2 sequences are parked") as caught:
        parked(source, store, parking=Parking(sequences=2))
    assert (caught.value.partition, caught.value.offset) == (0, 2)
    assert "parked retry" in str(caught.value)
    assert len(store.parked(0)) == 2
    assert store.positions()[0].next_offset == 2


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_too_many_events_of_one_sequence_halt(cut: int) -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, 3, 4):
        source.append(OrderPlaced(order="b", cents=cents))
    sink = make_sink(store, on_error="park", parking=Parking(events=3))
    made = Worker(sink, MemoryReader(source, at_most=cut), settings(), clock=Clock())
    with pytest.raises(ParkingFull, match="holds 3 parked events"):
        finish(made, source)
    assert [entry.offset for entry in store.parked(0)] == [0, 1, 2]
    with pytest.raises(ParkingFull):  # and again after a restart: the limit is counted in the store
        finish(worker(source, sink=sink), source)


def test_what_waits_too_long_halts_but_can_still_be_drained() -> None:
    source, store = poisoned(), Memory()
    now = NOON

    def at(moment: datetime, sink: Sink, **options: object) -> Worker:
        return Worker(sink, MemoryReader(source), settings(), clock=Clock(), now=lambda: moment, **options)  # type: ignore[arg-type]

    finish(at(now, make_sink(store, on_error="park")), source)
    later = now + timedelta(days=8)
    said = "offset 1: event event-0-1 of type order.placed: sequence 'b' has waited since 2026-01-01 12:00 UTC"
    turns = iter(range(50))
    with pytest.raises(ParkingFull, match=said):
        at(later, mended(store)).run(lambda _: next(turns, None) is None)
    ask(store)
    drain(at(later, mended(store), only_retry=True), store)
    assert store.parked(0) == []


def test_what_waits_too_long_does_not_halt_the_worker_that_drains_it() -> None:
    source, store = MemoryLog(log), Memory()
    for number in range(20):  # more than one turn of the loop drains
        source.append(OrderPlaced(order=str(number), cents=-1))

    def at(moment: datetime, sink: Sink) -> Worker:
        return Worker(sink, MemoryReader(source), settings(), clock=Clock(), now=lambda: moment)

    finish(at(NOON, make_sink(store, on_error="park")), source)
    ask(store)
    drain(at(NOON + timedelta(days=8), mended(store)), store)
    assert store.parked(0) == []


def test_an_unknown_outcome_of_parking_or_draining_doubles_nothing() -> None:
    source = poisoned()
    store = Flaky()
    store.after = [StoreUnavailable("after parking"), StoreUnavailable("after parking, again")]
    parked(source, store)
    assert len(store.parked(0)) == 3
    assert total(store) == 12
    store.after = [StoreUnavailable("after the drain")]
    ask(store)
    drain(worker(source, sink=mended(store)), store)
    assert total(store) == 22
    assert store.parked(0) == []


def test_a_retried_append_that_could_not_be_decoded_is_drained_once() -> None:  # A1
    source, store = MemoryLog(log), Memory()
    newer = Log("test.shop")
    newer.event("order.placed", key="order")(OrderPlaced)
    newer.event("page.rated", key="page")(PageSeen)
    record = MemoryLog(newer).append(PageSeen(page="/"))
    source.append_raw(record.key, record.value, record.headers)
    source.append_raw(record.key, record.value, [*record.headers, (RETRY_FROM, b"0")])
    parked(source, store)
    assert len(store.parked(0)) == 1  # judged at once: when it is drained, retention may have taken the first copy
    source.holes[0].update({0, 1})
    source.starts[0] = 2
    ask(store)
    sink = Sink("db", newer, store, on_error="park")
    sink.on(PageSeen)(lambda event: Increment("pages", {"page": event.data.page}, {"n": 1}))
    sink.on(OrderPlaced)(allowing)  # type: ignore[type-var]
    drain(worker(source, sink=sink), store)
    assert store.content.row("pages", page="/") == {"page": "/", "n": 1}


def test_each_partition_is_drained_by_its_own_plans() -> None:
    source, store = MemoryLog(log, partitions=2), Memory()
    source.append(OrderPlaced(order="a", cents=-1))
    source.append(OrderPlaced(order="b", cents=-2), partition=1)
    finish(worker(source, sink=make_sink(store, on_error="park", order="per-key")), source)
    assert [len(store.parked(number)) for number in (0, 1)] == [1, 1]
    ask(store, partitions=2)
    drain(worker(source, sink=mended(store, order="per-key")), store)
    assert orders(store) == {"a": -1, "b": -2}


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


def test_a_replayable_store_finishes_its_drain_before_it_applies_anything() -> None:
    source, order = poisoned(), []

    class Unfinished(Memory):
        traits = Traits(atomic=True, parked_per_retry=1)

        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            return {name: known._replace(unfinished=True) for name, known in super().sequences(partition).items()}

        def apply(self, plan: Plan) -> None:
            order.append("drain" if plan.released else "apply")
            super().apply(plan)

    store = Unfinished()
    parked(source, store)
    source.append(OrderPlaced(order="d", cents=1))
    order.clear()
    finish(worker(source, sink=mended(store)), source)
    assert order == ["drain", "drain", "drain", "apply"]


def test_every_interrupted_drain_comes_before_what_is_new_however_long_that_takes() -> None:
    source = MemoryLog(log)
    for order in "abc":  # a sink's indices, restored from snapshots of different times, may name several
        source.append(OrderPlaced(order=order, cents=-1))

    class Unfinished(Memory):
        def sequences(self, partition: int) -> dict[str, object]:  # type: ignore[override]
            return {name: known._replace(unfinished=True) for name, known in super().sequences(partition).items()}

    class Slow(Clock):
        def __call__(self) -> float:
            self.now += 10
            return self.now

    store = Unfinished()
    parked(source, store)
    made = Worker(mended(store), MemoryReader(source), settings(), clock=Slow())
    made.step()
    assert store.parked(0) == []


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


def test_draining_many_sequences_looks_at_each_of_them_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a drain costs must not grow with the queue behind it."""
    looks = 0

    class Counting(deque[SequenceRetry]):
        def __iter__(self) -> Iterator[SequenceRetry]:
            nonlocal looks
            for drain in super().__iter__():
                looks += 1
                yield drain

    monkeypatch.setattr("logsync.core.retries.deque", Counting)
    source, store = MemoryLog(log), Memory()
    for number in range(200):
        source.append(OrderPlaced(order=str(number), cents=-1))
    parked(source, store)
    ask(store)
    turns = Worker(mended(store), MemoryReader(source), settings(), clock=lambda: 1000.0)  # one turn drains it all
    drain(turns, store)
    assert store.parked(0) == []
    assert looks <= 5 * 200


def test_a_worker_that_is_told_to_stop_ends_its_drain_after_the_plan() -> None:
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


class Interrupts(Memory):
    """Does something just after the event at an offset was drained, once."""

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[int, Callable[[], None]] = {}

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for offset in plan.released:
            self.after.pop(offset, lambda: None)()


def test_a_request_that_comes_while_another_one_is_closed_is_carried_out() -> None:
    source, store = MemoryLog(log), Interrupts()
    for order in "ab":
        source.append(OrderPlaced(order=order, cents=-1))
    parked(source, store)
    store.after = {0: lambda: ask(store, sequence="b", name="second")}
    ask(store, sequence="a", name="first")
    drain(worker(source, sink=mended(store)), store)
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
    drain(made, store)
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
    drain(worker(source, sink=mended(store)), store)
    assert store.parked(0) == []
    assert total(store) == 4


def test_age_counts_from_the_event_that_waits_and_not_from_one_that_is_through() -> None:
    source, store, now = MemoryLog(log), Memory(), [NOON]
    sink = make_sink(store, on_error="park", parking=Parking(age=timedelta(days=7)))
    made = Worker(sink, MemoryReader(source), settings(), clock=Clock(), now=lambda: now[0])
    source.append(OrderPlaced(order="b", cents=-1))
    finish(made, source)
    now[0] += timedelta(days=6)
    source.append(OrderPlaced(order="b", cents=-2))
    finish(made, source)
    sink.handlers[OrderPlaced] = lambda event: allowing(event) if event.data.cents == -1 else order_placed(event)
    ask(store)
    drain(made, store)
    assert [entry.offset for entry in store.parked(0)] == [1]
    now[0] += timedelta(days=2)
    made._retries._watched_at = float("-inf")
    made.step()  # a restarted worker would say the same


@pytest.mark.parametrize(
    ("sequence_by", "what"),
    [(lambda key, headers: 5, "it returned int"), (lambda key, headers: dict(headers)["tenant"], "it raised KeyError")],
)
def test_a_sequence_by_that_names_nothing_halts(sequence_by: object, what: str) -> None:
    source, store = poisoned(), Memory()
    with pytest.raises(ConfigError, match=f"partition 0, offset 1, {what}"):
        parked(source, store, sequence_by=sequence_by)


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


def test_a_book_that_is_rebuilt_meanwhile_stops_the_drain() -> None:
    source, store = poisoned(), Memory()
    made = parked(source, store)
    book = store.read_book()
    assert book
    change: Callable[[Book], Book] = lambda book: book.next(state="wiping", epoch=2)  # noqa: E731
    store.write_book(change(book), positions=[])
    made.run(lambda report: report.retries > 0)
    assert "rebuild" in made.status.reason or "changed" in made.status.reason or "moved" in made.status.reason


@pytest.mark.parametrize(
    "key", [b"a", b"", None, b"a\x00b", "\u202e".encode(), b"\xff", b"(no key)", "é 1".encode(), b" "]
)
@pytest.mark.parametrize("sequence_by", [by_key, lambda key, _: key[:1].hex() if key else None])
def test_the_short_way_names_what_by_key_names(key: bytes | None, sequence_by: SequenceBy) -> None:
    """The event at 0 is parked, and the one at 1 has its key: it waits, however its sequence's name is found. # I8"""
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 5):
        appended = source.append(OrderPlaced(order="a", cents=cents))
        source.records[0][-1] = appended._replace(key=key)
    parked(source, store, sequence_by=sequence_by)
    assert [entry.offset for entry in store.parked(0)] == [0, 1]
    assert {entry.sequence for entry in store.parked(0)} == {sequence_by(key, []) or NO_KEY}


def test_one_drain_carries_a_bounded_number_of_bytes_but_at_least_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = MemoryLog(log), Memory()
    for cents in (-1, 2, 3, 4, 5):
        source.append(OrderPlaced(order="b" * 300, cents=cents))
    parked(source, store)
    plans: list[Plan] = []
    apply = store.apply
    monkeypatch.setattr(store, "apply", lambda plan: (plans.append(plan), apply(plan)))
    monkeypatch.setattr("logsync.parked_retries.RETRY_BYTES", 700)
    ask(store)
    drain(worker(source, sink=mended(store)), store)
    assert [len(plan.released) for plan in plans if plan.released] == [2, 2, 1]
    assert total(store) == 13


def test_a_sequence_that_comes_back_into_the_store_is_drained_and_no_bug() -> None:
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
