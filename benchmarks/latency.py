"""`python -m benchmarks.latency`: from append to visible, with a real `logsync consume` between.

A process of its own appends events at a steady rate. Beside them `Producer.append` appends 40 probes per second, on a
schedule that waits for nothing, so a slow moment is not passed over. The clock of a probe starts before its append is
called, and ends when a look into the store has returned with it: acknowledgement, the worker and the look are all in
it. Looks are made about once a millisecond, for all probes that are due. In OpenSearch visible means by realtime GET;
searchable is measured apart, at the index's own refresh interval of one second.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import Producer as RawProducer
from pydantic import BaseModel

from benchmarks import report
from benchmarks.contestants import LOGSYNC
from benchmarks.run import Job, Process, directory, measure
from benchmarks.stores import OpenSearchView, View, view
from benchmarks.workload import Case, cloudevent, events, expected, fill
from devstack import Stack
from logsync import Log, Producer
from logsync.log.topic import create_topic
from logsync.settings import Settings

STORES = ("postgres", "redis", "opensearch")
RATES = "100,500,5000"
PROBES = 40  # per second; they are part of the rate
WARM = 3.0  # seconds of load before the first probe
TICK = 0.002  # seconds between two handfuls of the load
GIVE_UP = 15.0


class OrderPlaced(BaseModel):
    order_id: str
    customer: str
    cents: int


def load(servers: str, topic: str, rate: float, seconds: float) -> None:
    """Append ``rate`` events per second."""
    producer = RawProducer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0, "compression.type": "lz4"}
    )
    case = Case("load", events=int(rate * seconds))
    encode, began = cloudevent(case), time.perf_counter()
    for number, (partition, row) in enumerate(events(case)):
        while number > rate * (time.perf_counter() - began):
            producer.poll(0)
            time.sleep(TICK)
        key, value, headers = encode(number, row)
        producer.produce(topic, value, key, partition, headers=headers)
    producer.flush(30)


class Searchable:
    """Like a View, but asks the search."""

    def __init__(self, store: OpenSearchView) -> None:
        self.db, self.index = store.db, f"{store.run}-orders"

    def visible(self, keys: list[str]) -> set[str]:
        body = {"query": {"ids": {"values": keys}}, "size": len(keys), "_source": False}
        return {hit["_id"] for hit in self.db.search(index=self.index, body=body)["hits"]["hits"]}


class Prober:
    """Appends probes on a schedule, and looks for them."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._due: dict[str, float] = {}
        self.taken: list[float] = []
        self.acknowledged: list[float] = []

    def append(self, key: str) -> None:
        self._due[key] = began = time.perf_counter()
        self._producer.append(OrderPlaced(order_id=key, customer=key, cents=1), timeout=30)
        self.acknowledged.append(time.perf_counter() - began)

    def run(self, store: View | Searchable, seconds: float, name: str) -> None:
        count = int(seconds * PROBES)
        watcher = threading.Thread(target=self._watch, args=(store, count))
        watcher.start()
        began = time.perf_counter()
        with ThreadPoolExecutor(16) as pool:
            for number in range(count):
                time.sleep(max(0.0, began + number / PROBES - time.perf_counter()))
                pool.submit(self.append, f"{name}-{number}")
        watcher.join()

    def _watch(self, store: View | Searchable, count: int) -> None:
        moved = time.perf_counter()
        while len(self.taken) < count and time.perf_counter() - moved < GIVE_UP:
            due = list(self._due)
            found = store.visible(due) if due else set()
            now = time.perf_counter()
            for key in found:
                self.taken.append(now - self._due.pop(key))
                moved = now
            time.sleep(0.0005)


def one(store: str, rate: int, seconds: float, stack: Stack, *, search: bool = False) -> dict[str, Any]:
    """The latencies of one store at one rate, in milliseconds."""
    run, servers = f"l{int(time.time() * 10) % 100_000_000}", stack.env()
    case = Case("latency", store)
    settings = Settings(_env_file=None, kafka=servers["LOGSYNC_KAFKA"])  # type: ignore[call-arg]
    create_topic(settings, run)
    log = Log(run)
    log.event("order.placed", key="order_id")(OrderPlaced)
    content = view(case, run, servers)
    look = Searchable(content) if search and isinstance(content, OpenSearchView) else content
    length = WARM + seconds + 2
    fork = multiprocessing.get_context("spawn")
    with directory() as folder, Producer(log, settings=settings) as producer:
        process = Process(LOGSYNC, Job(case, run, run, servers, Path(folder)))
        other = fork.Process(target=load, args=(servers["LOGSYNC_KAFKA"], run, rate - PROBES, length))
        try:
            prober = Prober(producer)
            prober.append("first")
            deadline = time.perf_counter() + 60
            while not content.visible(["first"]):
                process.check()
                assert time.perf_counter() < deadline, "the worker does not begin"
                time.sleep(0.05)
            prober = Prober(producer)
            other.start()
            time.sleep(WARM)
            prober.run(look, seconds, "probe")
            lost = int(seconds * PROBES) - len(prober.taken)
        finally:
            process.stop()
            if other.pid is not None:
                other.join()
            content.drop()
    what = "searchable" if search else "visible"
    return {"store": store, "what": what, "rate": rate, "probes": len(prober.taken), "lost": lost,
            "append_p50": statistics.median(prober.acknowledged) * 1000, **percentiles(prober.taken)}  # fmt: skip


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and max in milliseconds."""
    ordered = sorted(seconds)
    at = {f"p{part}": ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 95, 99)}
    return {name: value * 1000 for name, value in {**at, "max": ordered[-1]}.items()}


def backlog(store: str, stack: Stack, count: int) -> dict[str, Any]:
    """Seconds that a stopped worker needs, from the start of its process, for what came in meanwhile."""
    run, servers, case = f"k{int(time.time() * 10) % 100_000_000}", stack.env(), Case("backlog", store, events=count)
    create_topic(Settings(_env_file=None, kafka=servers["LOGSYNC_KAFKA"]), run)  # type: ignore[call-arg]
    filled, _ = fill(servers["LOGSYNC_KAFKA"], run, case, cloudevent(case))
    with directory() as folder:
        outcome = measure(LOGSYNC, Job(replace(case), run, run, servers, Path(folder)), filled, expected(case))
    if outcome.failure:
        raise SystemExit(outcome.failure)
    return {"store": store, "events": filled, "seconds": outcome.start_up + outcome.progress[-1][0]}


def main(
    seconds: Annotated[float, typer.Option(help="How long each is measured.")] = 15,
    rates: Annotated[str, typer.Option(help="Events per second, with commas.")] = RATES,
    stores: Annotated[str, typer.Option(help="Stores, with commas.")] = ",".join(STORES),
    minutes: Annotated[float, typer.Option(help="The backlog, at 500 events per second; 0 for none.")] = 10,
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
) -> None:
    """Measure from append to visible. Prints tables and JSON."""
    stack = Stack(name)
    stack.up(bench=True)
    found = []
    for store in stores.split(","):
        for rate in map(int, rates.split(",")):
            found.append(one(store, rate, seconds, stack))
            if store == "opensearch":
                found.append(one(store, rate, seconds, stack, search=True))
    late = [backlog(store, stack, int(minutes * 60 * 500)) for store in stores.split(",") if minutes]
    headings = ["", "events per s", "p50 ms", "p95", "p99", "max", "probes", "lost", "of it append, p50"]
    rows = [
        [f"{f['store']} {f['what']}", str(f["rate"]), *(f"{f[p]:.1f}" for p in ("p50", "p95", "p99", "max")),
         str(f["probes"]), str(f["lost"]), f"{f['append_p50']:.1f}"]
        for f in found
    ]  # fmt: skip
    print(report.markdown("From append to visible", headings, rows), file=sys.stderr)
    lines = [[line["store"], f"{line['events']:,}", f"{line['seconds']:.1f}"] for line in late]
    title = f"A backlog of {minutes:g} minutes at 500 events per second"
    print(report.markdown(title, ["", "events", "seconds, start-up included"], lines), file=sys.stderr)
    print(json.dumps({"latency": found, "backlog": late}))


if __name__ == "__main__":
    typer.run(main)
