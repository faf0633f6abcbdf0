"""`python -m benchmarks.parking`: what parking costs a worker, in CPU time, while nothing or little is parked.

No server: the records are in memory and the store checks the position only, so that nothing hides the planner. Each
round runs every case once, in turn; the ratios are taken within a round.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from benchmarks.model import OrderPlaced, log, orders
from benchmarks.report import Spread
from logsync import Event, Sink
from logsync.core.codec import Decoder, encode
from logsync.core.event import Record
from logsync.core.parked import SequenceSummary, by_key
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner, plan
from logsync.core.position import Position
from logsync.core.retries import RetryQueue
from logsync.log.contract import Part
from logsync.stores.memory import Memory
from logsync.stores.postgres import Upsert

BATCH = 5000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(event: Event[Any]) -> Upsert:
    data = event.data
    return Upsert("orders", {"order_id": data.order_id}, {"customer": data.customer, "cents": data.cents})


class Place(Memory):
    """Compares and moves the position; the writes go nowhere."""

    stored = Position(0, 0)

    def apply(self, plan: Plan) -> None:
        assert self.stored.place == plan.start.place
        self.stored = plan.end


def parts(count: int) -> list[Part]:
    """The traffic as a worker polls it."""
    made: list[Record] = []
    for offset, event in enumerate(orders(count)):
        coded = encode(log, event, event_id=f"0199aa00-0000-7000-8000-{offset:012}", time=NOW)
        made.append(Record(0, offset, coded.key, coded.value, coded.headers, 0, 0))
    return [Part(0, made[at : at + BATCH], 0) for at in range(0, count, BATCH)]


def names(count: int) -> dict[str, SequenceSummary]:
    """Sequences of keys that the traffic does not meet, in the form that a store gives them."""
    return {
        str(by_key(b"parked-%d" % n, [])): SequenceSummary(
            0, 1, datetime.fromisoformat(NOW.isoformat()), "HandlerError"
        )
        for n in range(count)
    }


def cpu(traffic: list[Part], on_error: Any, waiting: dict[str, SequenceSummary] | None) -> float:
    """CPU seconds of decode, plan and apply for all of the traffic. ``waiting`` None: a plan that cannot park."""
    store = Place()
    sink = Sink("bench", log, store, on_error=on_error)
    sink.on(OrderPlaced)(row)
    decode, queue = Decoder(log, sink.handled), RetryQueue(waiting or {})
    gc.collect()
    began = time.process_time()
    for part in traffic:
        events = [decode(record) for record in part.records]
        aside = None if waiting is None else ParkingPlanner(sink, queue.waiting, part.record, NOW)
        made = plan(sink, events, store.stored, aside=aside)
        store.apply(made)
        queue.parked(made)
    seconds = time.process_time() - began
    assert store.stored.next_offset == sum(len(part.records) for part in traffic)
    return seconds


def resident() -> float:
    """MB that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(count: int) -> None:
    """Print the MB that so many sequences take in a worker; in a process of its own, which has freed nothing yet."""
    before = resident()
    queue = RetryQueue(names(count))
    gc.collect()
    print(f"{resident() - before:.0f} MB more with {len(queue.waiting):,} parked keys")


def main(
    events: Annotated[int, typer.Option(help="Events per case and round.")] = 50_000,
    rounds: Annotated[int, typer.Option(help="Rounds; each runs every case once, in turn.")] = 15,
    keys: Annotated[int, typer.Option(help="Only measure the memory of so many parked keys.")] = 0,
) -> None:
    """Measure the price of parking."""
    if keys:
        memory(keys)
        return
    traffic = parts(events)
    cases: dict[str, Callable[[], float]] = {
        "a: no parking in the plan": lambda: cpu(traffic, "halt", None),
        "b: may park, nothing is": lambda: cpu(traffic, "park", {}),
        "c: 1,000 parked keys": lambda: cpu(traffic, "park", names(1000)),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases)
    for number in range(rounds + 1):  # the first only warms up
        for name in order:
            seconds = cases[name]()
            if number:
                found[name].append(seconds)
        order.append(order.pop(0))  # whoever comes first may have it better
    base = found["a: no parking in the plan"]
    for name, spent in found.items():
        ratios = [mine / theirs for mine, theirs in zip(base, spent, strict=True)]
        took, speed = Spread.of([seconds / events * 1e6 for seconds in spent]), Spread.of(ratios)
        assert took is not None  # there is a round at least
        assert speed is not None
        print(f"{name:28} {took.show('.2f')} us per event, speed {speed.show('.3f')}")
    subprocess.run([sys.executable, "-m", "benchmarks.parking", "--keys", "100000"], check=True)


if __name__ == "__main__":
    typer.run(main)
