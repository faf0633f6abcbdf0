"""Whatever is parked, retried, replayed and cut off in between: in the end the content is the fold. # I3 I7 I8 K4"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from logsync import Event
from logsync.core.book import Request
from logsync.core.parked import Parking
from logsync.core.plan import Plan
from logsync.core.store import Traits
from logsync.errors import StoreOutcomeUnknown, StoreUnavailable, WriteRejected
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.worker_status import WorkerStatus
from logsync.writes.rows import Increment, Upsert
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.test_worker import Clock

NOON = datetime(2026, 1, 1, tzinfo=UTC)


class Weather(Memory):
    """Trouble around applies, and a constraint that some rows break until ``mended``."""

    troubles: list[str]
    refused: int | None = None
    traits = Traits(atomic=True, parked_per_retry=3)

    def apply(self, plan: Plan) -> None:
        trouble = self.troubles.pop() if self.troubles else ""
        if trouble == "down":
            raise StoreUnavailable("down")
        for offset, write in zip(plan.offsets, plan.writes, strict=True):
            if isinstance(write, Upsert) and write.values["cents"] == self.refused:
                raise WriteRejected("constraint", offset=offset)
        super().apply(plan)
        if trouble == "unknown":
            raise StoreOutcomeUnknown("unknown")


def run(
    store: Weather, source: MemoryLog, cut: int, hours: Sequence[int], *, poisonous: frozenset[int], retry: bool
) -> WorkerStatus:
    """A worker to the log's end (and, with ``retry``, until what was asked for is through).

    ``hours``: where its wall clock stands each time it looks, from NOON on; it goes back as often as ahead.
    """

    def handler(event: Event[OrderPlaced]) -> list[object]:
        if event.data.cents in poisonous:
            raise ValueError("poison")
        return [
            Upsert("orders", {"order": event.data.order}, {"cents": event.data.cents}),
            Increment("totals", {"order": event.data.order}, {"n": event.data.cents}),
        ]

    sink = make_sink(store, on_error="park", parking=Parking(age=timedelta(days=50_000)))
    sink.handlers[OrderPlaced] = handler  # type: ignore[assignment]
    environment = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]
    jumps = cycle(hours)
    worker = Worker(
        sink,
        MemoryReader(source, at_most=cut),
        environment,
        clock=Clock(),
        now=lambda: NOON + timedelta(hours=next(jumps)),
    )
    turns = iter(range(3000))

    def done(report: WorkerStatus) -> bool:
        assert next(turns, None) is not None, report
        book = store.read_book()
        at_end = bool(worker._read) and worker._read[0].stored.next_offset == len(source.records[0])
        return at_end and book is not None and not (retry and book.requests)

    worker.run(done)
    return worker.status


def ask(store: Memory) -> None:
    book = store.read_book()
    assert book
    store.write_book(book.next(requests=(Request(id="all", partitions=(0,), at=NOON),)))


def content(store: Memory) -> dict[str, tuple[int, int]]:
    return {
        str(row["order"]): (row["cents"], int(store.content.row("totals", order=row["order"])["n"]))  # type: ignore[index]
        for row in store.content.tables.get("orders", [])
    }


def fold(events: list[OrderPlaced]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for event in events:
        found[event.order] = (event.cents, found.get(event.order, (0, 0))[1] + event.cents)
    return found


events = st.lists(st.builds(OrderPlaced, order=st.sampled_from("abc"), cents=st.integers(0, 5)), max_size=25)
troubles = st.lists(st.sampled_from(["", "", "down", "unknown"]), max_size=8)
wall_clock = st.lists(st.integers(-100_000, 100_000), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(events, events, troubles, troubles, st.integers(1, 7), wall_clock, st.integers(0, 5), st.integers(0, 5))
def test_parked_then_retried_equals_the_fold(
    first: list[OrderPlaced],
    second: list[OrderPlaced],
    before: list[str],
    after: list[str],
    cut: int,
    hours: list[int],
    poison: int,
    refused: int,
) -> None:
    source, store = MemoryLog(log), Weather()
    store.open("db")
    for event in first:
        source.append(event)
    store.troubles, store.refused = before, refused
    report = run(store, source, cut, hours, poisonous=frozenset({poison}), retry=False)

    held: set[str] = set()
    expected: list[OrderPlaced] = []
    for event in first:  # what must be applied: everything before the first bad event of its key
        if event.order in held or event.cents in (poison, refused):
            held.add(event.order)
        else:
            expected.append(event)
    assert content(store) == fold(expected)
    waiting = store.parked(0, limit=1000)
    assert len(waiting) + len(expected) == len(first)  # I7
    assert report.waiting.get(0, 0) == len(waiting)
    assert {entry.sequence for entry in waiting} == held
    assert store.sequences(0).keys() == held

    for event in second:
        source.append(event)
    store.troubles, store.refused = after, None
    ask(store)
    run(store, source, cut, hours, poisonous=frozenset(), retry=True)
    assert content(store) == fold(first + second)
    assert store.parked(0) == []
