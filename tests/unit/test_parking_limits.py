"""When a worker halts although its sink parks: limits, refusals of the store, and errors that are not parked."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from logsync import Sink
from logsync.core.parked import Parking
from logsync.core.plan import Plan
from logsync.core.policy import Halt, Park, disposition
from logsync.errors import (
    ConfigError,
    DecodeError,
    EventError,
    HandlerError,
    ParkingFull,
    UnknownEventType,
    WriteRejected,
)
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Upsert
from tests.unit.parking import NOON, allowing, ask, mended, orders, parked, poisoned, retry, total
from tests.unit.shop import OrderPlaced, log, make_sink, order_placed
from tests.unit.test_worker import Clock, finish, settings, worker


def test_the_default_halts() -> None:
    with pytest.raises(HandlerError):
        finish(worker(poisoned(), Memory()), poisoned())


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
    retry(worker(source, sink=mended(store)), store)
    assert orders(store) == {"a": 6, "b": 9, "c": 1}


def test_a_retry_that_the_store_refuses_in_the_middle_applies_what_is_before_it() -> None:
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
    retry(worker(source, sink=mended(refusing)), refusing)
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


def test_what_waits_too_long_halts_but_can_still_be_retried() -> None:
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
    retry(at(later, mended(store), only_retry=True), store)
    assert store.parked(0) == []


def test_what_waits_too_long_does_not_halt_the_worker_that_retries_it() -> None:
    source, store = MemoryLog(log), Memory()
    for number in range(20):  # more than one turn of the loop retries
        source.append(OrderPlaced(order=str(number), cents=-1))

    def at(moment: datetime, sink: Sink) -> Worker:
        return Worker(sink, MemoryReader(source), settings(), clock=Clock(), now=lambda: moment)

    finish(at(NOON, make_sink(store, on_error="park")), source)
    ask(store)
    retry(at(NOON + timedelta(days=8), mended(store)), store)
    assert store.parked(0) == []


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
    retry(made, store)
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
