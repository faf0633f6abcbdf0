"""`python -m benchmarks.reading`: what waiting for one's own event costs beside looking for the row by hand.

An idle system: one worker, one event at a time. From the moment at which an append is acknowledged two look for the
same event at the same time, each over a connection of its own: a loop by hand that asks for the row by its key every
millisecond, and ``Views.wait``. What is told is the difference, event by event. ``freshest`` is called with an event
that is applied, beside one question for the row.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import report
from benchmarks.contestants import LOGSYNC
from benchmarks.latency import STORES, percentiles
from benchmarks.run import Job, Process, directory
from benchmarks.stores import OpenSearchView, View, view
from benchmarks.workload import Case
from devstack import Stack
from logsync import Producer
from logsync.core.receipt import Receipt
from logsync.log.topic import create_topic
from logsync.reading import State, Views
from logsync.settings import Settings

LONGEST = 60.0


def by_hand(content: View, key: str) -> float:
    """When the row was there."""
    while not content.visible([key]):
        time.sleep(0.001)
    return time.perf_counter()


def one(store: str, probes: int, run: str, stack: Stack, settings: Settings) -> dict[str, Any]:
    """All figures of one store, in milliseconds."""
    from benchmarks import model

    sink, servers, case = getattr(model, store)(), stack.env(), Case("latency", store)
    content = view(case, run, servers)
    hand, waited, added, searchable = list[float](), list[float](), list[float](), list[float]()
    with (
        directory() as folder,
        Producer(model.log, settings=settings) as producer,
        Views(sink, settings=settings) as views,
        ThreadPoolExecutor(1) as other,
    ):
        process = Process(LOGSYNC, Job(case, run, run, servers, Path(folder)))
        try:

            def append(name: str) -> Receipt:
                return producer.append(model.OrderPlaced(order_id=name, customer=name, cents=1), timeout=30)

            assert views.wait(append(f"{store}-first"), sink.name, timeout=LONGEST).visible
            for number in range(probes):
                time.sleep(random.uniform(0.02, 0.12))  # the worker and the poller are idle, at no fixed beat
                key = f"{store}-{number}"
                receipt, began = append(key), time.perf_counter()
                seen = other.submit(by_hand, content, key)
                assert views.wait(receipt, sink.name, timeout=LONGEST).state is State.APPLIED
                ended = time.perf_counter()
                hand.append(seen.result() - began)
                waited.append(ended - began)
                added.append(max(0.0, ended - seen.result()))
            fresh = [timed(lambda: views.freshest(receipt, sink.name, timeout=5)) for _ in range(probes)]
            asked = [timed(lambda: content.visible([key])) for _ in range(probes)]
            if isinstance(content, OpenSearchView):
                for number in range(probes // 4):
                    time.sleep(random.uniform(0.25, 0.35))  # the last refresh does not hold up this one
                    receipt, began = append(f"s{number}"), time.perf_counter()
                    seen_by = views.wait(receipt, sink.name, timeout=LONGEST, searchable=True)
                    assert seen_by.state is State.SEARCHABLE
                    searchable.append(time.perf_counter() - began)
        finally:
            process.stop()
            content.drop()
    ways = {"row by hand": hand, "wait": waited, "wait adds": added, "freshest": fresh, "row once": asked}
    ways |= {"wait, searchable": searchable} if searchable else {}
    return {"store": store, "ways": {way: percentiles(times) for way, times in ways.items()}}


def timed(ask: Any) -> float:
    time.sleep(0.01)  # two looks in a row are kept apart, and this is about one
    began = time.perf_counter()
    assert ask()
    return time.perf_counter() - began


def main(
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    probes: Annotated[int, typer.Option(help="Events per store.")] = 300,
    stores: Annotated[str, typer.Option(help="Stores, with commas.")] = ",".join(STORES),
) -> None:
    """Measure waiting for one's own event. JSON on stdout, a table on stderr."""
    stack = Stack(name)
    stack.up(bench=True)
    run = f"v{int(time.time() * 10) % 100_000_000}"
    os.environ.update(BENCH_RUN=run, BENCH_TOPIC=run)  # benchmarks.model is imported after this
    fields = {key.removeprefix("LOGSYNC_").lower(): value for key, value in stack.env().items()}
    settings = Settings(_env_file=None, environment=run, **fields)  # type: ignore[call-arg, arg-type]
    create_topic(settings, run)
    found = [one(store, probes, run, stack, settings) for store in stores.split(",")]
    rows = [
        [f"{each['store']}: {way}", *(f"{times[part]:.1f}" for part in ("p50", "p95", "max"))]
        for each in found
        for way, times in each["ways"].items()
    ]
    print(report.markdown("Reading one's own write", ["", "p50 ms", "p95", "max"], rows), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
