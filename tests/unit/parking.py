"""A log with an event that cannot be applied, and workers that park it and try it again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from logsync import Event, Sink
from logsync.core.book import Request
from logsync.core.plan import Plan
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from logsync.worker import Worker
from logsync.writes.rows import Increment, Upsert
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.test_worker import finish, worker

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


def retry(made: Worker, store: Memory) -> Worker:
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


class Interrupts(Memory):
    """Does something just after the event at an offset was released, once."""

    def __init__(self) -> None:
        super().__init__()
        self.after: dict[int, Callable[[], None]] = {}

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        for offset in plan.released:
            self.after.pop(offset, lambda: None)()
