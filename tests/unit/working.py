"""Workers over a log and a store in memory, for tests of the loop."""

from __future__ import annotations

import pytest

from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.shop import OrderPlaced, log, make_sink


class Clock:
    """Time that stands still until a test moves it; every look at it costs a little, so waits end."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.2
        return self.now


class Flaky(Memory):
    """A Memory whose next applies do what the test says: an error before, or after, they took effect."""

    def __init__(self, server: Server | None = None) -> None:
        super().__init__(server)
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.opens = 0

    def open(self, sink: str, settings: Settings | None = None) -> None:
        self.opens += 1
        super().open(sink, settings)

    def apply(self, plan: Plan) -> None:
        if self.before:
            raise self.before.pop(0)
        super().apply(plan)
        if self.after:
            raise self.after.pop(0)


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, environment="test", **changes)  # type: ignore[call-arg, arg-type]


def worker(source: MemoryLog, store: Memory | None = None, *, sink: object = None, **options: object) -> Worker:
    sink = sink or make_sink(store)
    return Worker(sink, MemoryReader(source), settings(), clock=Clock(), chance=lambda: 0.5, **options)  # type: ignore[arg-type]


def finish(made: Worker, source: MemoryLog) -> Worker:
    """Run until every partition is at the log's end."""
    turns = iter(range(2000))

    def done(report: object) -> bool:
        read = {partition.number: partition.stored for partition in made._read}
        at_end = len(read) == len(source.records) and all(
            position.next_offset == len(source.records[number]) for number, position in read.items()
        )
        if not at_end and next(turns, None) is None:
            pytest.fail(f"the worker does not get to the end: {made.status}")
        return at_end

    made.run(done)
    return made


def three() -> MemoryLog:
    source = MemoryLog(log)
    source.append(OrderPlaced(order="a", cents=5))
    source.append(OrderPlaced(order="b", cents=7))
    source.append(OrderPlaced(order="a", cents=6))
    return source


def rebuilt(store: Memory, epoch: int) -> None:
    book = store.read_book()
    assert book
    wiping = book.next(state="wiping", epoch=epoch)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, epoch)])
