"""`python -m benchmarks.writers`: what it costs to get an event into the log, beside other ways to write it down.

Each writer is a process of its own; the clock and the CPU count from its first event on, connected and warm. The bare
client writes the same bytes: JSON by pydantic under the headers of a CloudEvent, each with an id of its own. Without
delivery reports it would not learn which events failed, so it comes both ways. The outbox is what a team without a log
would write: one row per event, each in a transaction of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from benchmarks import model, report
from benchmarks.latency import percentiles
from benchmarks.run import ROOT
from devstack import Stack
from logsync.log.topic import create_topic
from logsync.settings import Settings

MANY, ONE = 200_000, 3_000
"""Events of a run in bulk, and of one that waits for each."""
AT_ONCE = 200
"""Appends that an asyncio app has under way."""
Cost = tuple[int, float, float, list[float]]
"""Events, seconds, seconds of CPU, and how long each took if each was waited for."""


class Clock:
    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def cost(self, count: int, each: list[float] | None = None) -> Cost:
        return count, time.perf_counter() - self._began, time.process_time() - self._cpu, each or []


def _raw() -> tuple[Any, Callable[..., None]]:
    """The bare client, and a call that produces one event with it."""
    from confluent_kafka import Producer
    from uuid_utils import uuid7

    settings = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": LINGER}
    producer = Producer({"bootstrap.servers": os.environ["LOGSYNC_KAFKA"], **settings})
    topic = model.log.topic
    names = ("ce_specversion", "ce_type", "ce_source", "ce_time", "content-type")
    values = (b"1.0", b"order.placed", topic.encode(), b"2026-01-01T00:00:00.000000+00:00", b"application/json")
    same: list[tuple[str, str | bytes | None]] = list(zip(names, values, strict=True))

    def produce(event: Any, **options: Any) -> None:
        headers = [*same, ("ce_id", str(uuid7()).encode())]
        producer.produce(topic, event.model_dump_json().encode(), event.order_id, 0, headers=headers, **options)

    produce(next(model.orders(1)))
    producer.flush()
    return producer, produce


LINGER = 5


def raw_many(events: Iterator[Any], count: int, reports: bool = False) -> Cost:
    producer, produce = _raw()
    failed: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    options = {"on_delivery": delivered} if reports else {}
    clock = Clock()
    for number, event in enumerate(events):
        while True:
            try:
                produce(event, **options)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 256 == 0:
            producer.poll(0)
    producer.flush()
    assert not failed
    return clock.cost(count)


def raw_many_told(events: Iterator[Any], count: int) -> Cost:
    return raw_many(events, count, reports=True)


def append_many(events: Iterator[Any], count: int) -> Cost:
    from logsync import Producer

    with Producer(model.log) as producer:
        producer.append(next(model.orders(1)))
        clock = Clock()
        producer.append_many(events)
        return clock.cost(count)


def raw_one(events: Iterator[Any], count: int) -> Cost:
    global LINGER
    LINGER = 0
    producer, produce = _raw()
    return _each(events, count, lambda event: (produce(event), producer.flush()))


def append(events: Iterator[Any], count: int) -> Cost:
    from logsync import Producer

    with Producer(model.log) as producer:
        producer.append(next(model.orders(1)))
        return _each(events, count, producer.append)


def outbox(events: Iterator[Any], count: int) -> Cost:
    import psycopg
    from uuid_utils import uuid7

    with psycopg.connect(os.environ["LOGSYNC_POSTGRES"], autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS bench_outbox (id uuid PRIMARY KEY, type text, key text, payload jsonb)")

        def write(event: Any) -> None:
            db.execute(
                "INSERT INTO bench_outbox VALUES (%s, 'order.placed', %s, %s)",
                (str(uuid7()), event.order_id, event.model_dump_json()),
            )

        cost = _each(events, count, write)
        db.execute("DROP TABLE bench_outbox")
        return cost


def _each(events: Iterator[Any], count: int, write: Callable[[Any], Any]) -> Cost:
    each = []
    clock = Clock()
    for event in events:
        began = time.perf_counter()
        write(event)
        each.append(time.perf_counter() - began)
    return clock.cost(count, each)


def async_many(events: Iterator[Any], count: int) -> Cost:
    """AT_ONCE coroutines that append one event after the other."""
    from logsync.log.aio import AsyncProducer

    async def run() -> Cost:
        async with AsyncProducer(model.log) as producer:
            await producer.append(next(model.orders(1)))
            return await _together(events, count, producer.append)

    return asyncio.run(run())


async def _together(events: Iterator[Any], count: int, write: Callable[[Any], Any]) -> Cost:
    each = []

    async def one() -> None:
        for event in events:
            began = time.perf_counter()
            await write(event)
            each.append(time.perf_counter() - began)

    clock = Clock()
    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return clock.cost(count, each)


def aiokafka(_: Iterator[Any], count: int) -> Cost:
    """In the interpreter that has the peers installed."""
    python = ROOT / ".venv-peers" / "bin" / "python"
    command = [str(python), "-m", "benchmarks.peers.aiowriter", model.log.topic, str(count), str(AT_ONCE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    _, seconds, cpu, each = json.loads(done.stdout.splitlines()[-1])
    return count, seconds, cpu, each


BULK: dict[str, Callable[[Iterator[Any], int], Cost]] = {
    "bare client": raw_many,
    "bare client, delivery reports": raw_many_told,
    "append_many": append_many,
}
SINGLE: dict[str, Callable[[Iterator[Any], int], Cost]] = {
    "bare client, flush": raw_one,
    "append": append,
    "outbox row": outbox,
}
ASYNC: dict[str, Callable[[Iterator[Any], int], Cost]] = {"aiokafka": aiokafka, "AsyncProducer": async_many}
ALL = {**BULK, **SINGLE, **ASYNC}


def child(who: str, count: int) -> None:
    events = iter(list(model.orders(count)) if who in ASYNC else model.orders(count))
    done, seconds, cpu, each = ALL[who](events, count)
    found: dict[str, Any] = {"per_second": done / seconds, "cpu_us": cpu / done * 1e6, "failure": ""}
    print(json.dumps({**found, **(percentiles(each) if each else {})}))


def run(who: str, count: int, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.writers", "--child", who, "--count", str(count)]
    done = subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"per_second": 0.0, "cpu_us": 0.0, "failure": (done.stderr.splitlines() or ["?"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(
    rounds: Annotated[int, typer.Option(help="Rounds; each runs every writer once, in turn.")] = 3,
    scale: Annotated[float, typer.Option(help="Part of the events.")] = 1.0,
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    who: Annotated[str, typer.Option("--child", hidden=True)] = "",
    count: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Measure the writers. Prints tables and JSON."""
    if who:
        child(who, count)
        return
    stack = Stack(name)
    stack.up(only=["kafka", "postgres"], bench=True)
    env = {**stack.env(), "BENCH_TOPIC": f"w{int(time.time())}"}
    create_topic(Settings(_env_file=None, kafka=env["LOGSYNC_KAFKA"]), env["BENCH_TOPIC"])  # type: ignore[call-arg]
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in ALL}
    for number in range(rounds):
        for group, size in ((BULK, MANY), (SINGLE, ONE), (ASYNC, 10 * ONE)):
            names = list(group)
            for one in names[number % len(names) :] + names[: number % len(names)]:
                found[one].append(run(one, int(size * scale), env))
    show("In bulk", "append_many", found, BULK)
    show("Waiting for each", "append", found, SINGLE)
    show(f"From asyncio, {AT_ONCE} at once", "AsyncProducer", found, ASYNC)
    print(json.dumps(found))


def show(title: str, mine: str, found: dict[str, list[dict[str, Any]]], group: dict[str, Any]) -> None:
    lines = []
    waits = group is not BULK
    for one in group:
        good = [outcome for outcome in found[one] if not outcome["failure"]]
        what = "p50" if group is SINGLE else "per_second"
        against = None if one == mine else report.ratio(found[mine], found[one], what)
        cells = [one, "" if against is None else against.show(".2f")]
        for what, form in [("per_second", ",.0f"), ("cpu_us", ".1f"), *((p, ".2f") for p in PARTS if waits)]:
            spread = report.Spread.of([outcome[what] for outcome in good])
            cells.append("-" if spread is None else spread.show(form))
        lines.append([*cells, "; ".join({outcome["failure"] for outcome in found[one]} - {""})])
    ratio = "its latency, p50: append / it" if group is SINGLE else f"{mine} / it"
    columns = ["", ratio, "events per s", "CPU us per event", *(f"{part} ms" for part in PARTS if waits), ""]
    print(report.markdown(title, columns, lines), file=sys.stderr)


PARTS = ("p50", "p95", "p99", "max")

if __name__ == "__main__":
    typer.run(main)
