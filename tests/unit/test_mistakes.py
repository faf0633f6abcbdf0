"""Mistakes of people who write handlers: which of them halt a sink whatever it parks, and what is said about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from logsync import Event, HandlerError, Sink
from logsync.core.raised import in_words, last_lines
from logsync.errors import ConfigError
from logsync.stores.memory import Memory
from logsync.stores.postgres import Postgres
from logsync.testing import MemoryLog
from logsync.writes.keys import HSet
from logsync.writes.rows import Upsert
from tests.unit.shop import OrderCancelled, OrderPlaced, log, make_sink
from tests.unit.test_worker import finish, worker

Handler = Callable[[Event[Any]], Any]


class OnlyRows(Memory):
    """A store that takes Upsert and nothing else."""

    kind = "rows"
    accepts = frozenset({Upsert})


def upsert(event: Event[Any]) -> Upsert:
    return Upsert("orders", {"order": event.key})


def other(event: Event[Any]) -> HSet:
    return HSet("order", {"order": "1"})


async def waits(event: Event[Any]) -> Upsert:
    return upsert(event)


def yields(*values: object) -> Handler:
    def handler(event: Event[Any]) -> Iterator[object]:
        yield upsert(event)
        yield from values

    return handler


def sink_of(handler: Handler, store: Memory, **options: object) -> Sink:
    made = Sink("db", log, store, on_error="park", **options)  # type: ignore[arg-type]
    made.on(OrderPlaced)(handler)
    return made


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (lambda event: other(event), "HSet is no write of rows"),
        (yields(HSet("k", {})), "HSet is no write of rows"),
        (lambda event: waits(event), "returned coroutine"),
        (lambda event: "orders", "returned str instead"),
        (lambda event: b"orders", "returned bytes instead"),
        (lambda event: {"order": upsert(event)}, "returned dict instead"),
        (lambda event: event.data, "returned OrderPlaced instead"),
        (lambda event: 42, "returned int instead"),
        (lambda event: True, "returned bool instead"),
        (lambda event: upsert, "returned function instead"),
        (lambda event: [42], "yielded int among"),
        (lambda event: [[upsert(event)]], "`yield from` it, or return one flat list"),
        (yields([1]), "`yield from` it, or return one flat list"),
        (yields(yields()(None)), "`yield from` it, or return one flat list"),  # type: ignore[arg-type]
        (yields(None), "yielded NoneType among"),
        (yields(Upsert), r"make one: Upsert\(...\)"),
        (yields({}), "yielded dict among"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_no_write_of_the_sink_halts_it_and_parks_nothing(handler: Handler, words: str) -> None:
    source, store = MemoryLog(log), OnlyRows()
    source.append(OrderPlaced(order="a", cents=5))
    with pytest.raises(ConfigError, match=words) as caught:
        finish(worker(source, sink=sink_of(handler, store)), source)
    assert "partition 0, offset 0: the handler " in caught.value.message
    assert "test_mistakes.py:" in caught.value.message
    assert not store.content
    assert not store.parked(0)
    assert store.positions()[0].next_offset == 0


@pytest.mark.parametrize("handler", [lambda event: [], lambda event: (), lambda event: None, lambda event: iter(())])
def test_a_handler_may_write_nothing(handler: Handler) -> None:
    source, store = MemoryLog(log), OnlyRows()
    source.append(OrderPlaced(order="a", cents=5))
    finish(worker(source, sink=sink_of(handler, store)), source)
    assert store.positions()[0].next_offset == 1


def test_an_overwrite_that_only_shows_when_it_is_made_is_never_parked() -> None:  # S2
    source, store = MemoryLog(log, partitions=2), OnlyRows()
    source.append(OrderPlaced(order="a", cents=5))
    with pytest.raises(ConfigError, match="per-key") as caught:
        finish(worker(source, sink=sink_of(lambda event: upsert(event), store)), source)
    assert "offset 0" in caught.value.message
    assert not store.parked(0)


def test_an_overwrite_that_the_code_names_is_refused_before_the_first_event() -> None:  # S2
    source, store = MemoryLog(log, partitions=2), OnlyRows()
    with pytest.raises(ConfigError, match="per-key") as caught:
        finish(worker(source, sink=sink_of(upsert, store)), source)
    assert "the handler upsert (test_mistakes.py:" in caught.value.message
    finish(worker(source, sink=sink_of(upsert, store, order="per-key")), source)


def test_a_write_of_another_store_that_the_code_names_is_refused_at_registration() -> None:
    sink = Sink("db", log, Postgres())
    with pytest.raises(
        ConfigError, match=r"HSet is no write of postgres\n.*takes Delete, InTransaction, Increment"
    ) as e:
        sink.on(OrderPlaced)(other)
    assert "the handler other (test_mistakes.py:" in e.value.message
    assert not sink.handlers


@pytest.mark.parametrize(
    ("models", "words"), [((), "names no event type"), ((upsert,), "found upsert"), (("OrderPlaced",), "found str")]
)
def test_on_wants_event_types(models: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_sink().on(*models)


def cents(event: Event[OrderPlaced]) -> int:
    return 100 // event.data.cents  # the line that raises


def divides(event: Event[OrderPlaced]) -> Upsert:
    try:
        {}["a"]
    except KeyError as error:
        password = "hunter2"
        if event.data.cents == 1:
            raise ValueError("bad") from error
        return Upsert("orders", {"order": event.data.order}, {"cents": cents(event), "no": password})
    return upsert(event)


LINE = cents.__code__.co_firstlineno + 1


def test_a_handler_that_raises_is_shown_with_its_file_and_the_last_lines_of_its_traceback() -> None:
    source, store = MemoryLog(log), Memory()
    source.append(OrderPlaced(order="a", cents=0))
    made = make_sink(store)
    made.handlers[OrderPlaced] = divides
    with pytest.raises(HandlerError) as caught:
        finish(worker(source, sink=made), source)
    shown = str(caught.value)
    assert f"the handler divides raised ZeroDivisionError: integer division or modulo by zero at test_mistakes.py:{LINE} in cents" in shown  # fmt: skip  # noqa: E501
    assert f'File "{__file__}", line {LINE}, in cents' in shown
    assert "return 100 // event.data.cents  # the line that raises" in shown
    assert "because of KeyError: 'a'" in shown
    assert "planning.py" not in shown
    assert "hunter2" not in shown


def test_a_parked_event_keeps_where_its_handler_raised(caplog: pytest.LogCaptureFixture) -> None:
    source, store = MemoryLog(log), Memory()
    source.append(OrderPlaced(order="a", cents=0))
    made = make_sink(store, on_error="park")
    made.handlers[OrderPlaced] = divides
    finish(worker(source, sink=made), source)
    (entry,) = store.parked(0)
    first, *trace = entry.message.splitlines()
    assert f"test_mistakes.py:{LINE} in cents" in first
    assert f'File "{__file__}", line {LINE}, in cents' in trace
    assert type(entry).from_json(entry.to_json()) == entry
    (line,) = [record for record in caplog.records if record.getMessage() == "parked"]
    assert line.why == first  # type: ignore[attr-defined]
    assert f"line {LINE}, in cents | return 100" in line.trace  # type: ignore[attr-defined]


def deep(event: Event[OrderPlaced]) -> None:
    deep(event)


def long(event: Event[OrderPlaced]) -> None:
    raise ValueError("x" * 1_000_000)


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def unsayable(event: Event[OrderPlaced]) -> None:
    raise Unsayable


def leaves(event: Event[OrderPlaced]) -> None:
    sys.exit(3)


def raises_in_a_library(event: Event[OrderPlaced]) -> None:
    OrderCancelled.model_validate({"order": [event]})


def fails_late(event: Event[OrderPlaced]) -> Iterator[Upsert]:
    yield upsert(event)
    raise LookupError("late")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (deep, "RecursionError"),
        (long, "ValueError: xxx"),
        (unsayable, "Unsayable: (its text cannot be had: RuntimeError)"),
        (leaves, "SystemExit: 3"),
        (raises_in_a_library, "ValidationError"),
        (fails_late, "LookupError: late"),
    ],
)
def test_whatever_a_handler_raises_is_an_error_of_its_event_in_bounded_words(handler: Handler, words: str) -> None:
    source, store = MemoryLog(log), Memory()
    source.append(OrderPlaced(order="a", cents=0))
    made = make_sink(store, on_error="park")
    made.handlers[OrderPlaced] = handler
    finish(worker(source, sink=made), source)
    (entry,) = store.parked(0)
    assert entry.error == "HandlerError"
    assert words in entry.message
    assert (
        f"at test_mistakes.py:{handler.__code__.co_firstlineno + (2 if handler is fails_late else 1)} in"
        in entry.message
    )
    assert len(entry.message) <= 4_000
    assert not store.content


def test_a_chain_of_causes_is_bounded() -> None:
    error: Exception = ValueError("first")
    for number in range(100):
        try:
            raise ValueError(f"number {number}") from error
        except ValueError as again:
            error = again
    assert sum(line.startswith("because of") for line in last_lines(error)) == 2
    assert in_words(error).startswith("ValueError: number 99 at test_mistakes.py:")
