"""`python -m benchmarks.relay`: a relay of outbox rows beside a loop by hand, its latency, and what an outbox costs.

The loop by hand reads the same stream and appends with the same client, and promises nothing: it numbers nothing, reads
nothing back, and confirms what was acknowledged. All figures of one table are taken turn by turn in one run.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any

import psycopg
import typer
from confluent_kafka import Consumer, Producer
from pydantic import BaseModel

from devstack import Stack
from logsync import Log
from logsync.core.codec import Encoded
from logsync.log.topic import create_topic
from logsync.outbox import Outbox
from logsync.settings import Settings
from logsync.sources import Source
from logsync.sources.kafka import KafkaChannel
from logsync.sources.postgres import PostgresLog
from logsync.sources.relay import Relay

_AT_ONCE = 500  # rows of one transaction


class OrderPlaced(BaseModel):
    shopper: str
    number: int
    note: str


class Setting:
    """One outbox, one source, one topic of their own."""

    def __init__(self, env: dict[str, str], name: str, *, made: bool = False) -> None:
        name = name if made else f"{name}-{time.time_ns() % 10**9}"
        self.settings = Settings(kafka=env["LOGSYNC_KAFKA"], postgres=env["LOGSYNC_POSTGRES"])  # type: ignore[arg-type]
        self.name, self.log = name, Log(f"relay-{name}")
        self.log.event("order.placed", key="shopper")(type("Placed", (OrderPlaced,), {}))
        self.model = next(model for model in self.log.by_model if issubclass(model, OrderPlaced))
        self.origin = PostgresLog(outbox=True)
        self.outbox = Outbox(self.log)
        if not made:
            create_topic(self.settings, self.log.topic)
            self.origin.manager().create(name, self.settings)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.settings.address("postgres"))

    def fill(self, events: int) -> None:
        with self.connect() as db:
            for start in range(0, events, _AT_ONCE):
                with db.transaction():
                    for number in range(start, start + _AT_ONCE):
                        self.outbox.append(db, self.model(shopper=f"s{number % 100}", number=number, note="x" * 60))

    def relay(self) -> Relay:
        return Relay(Source(self.name, self.log, self.origin), KafkaChannel(self.log, self.settings), self.settings)

    def drop(self) -> None:
        self.origin.close()
        with self.connect() as db:  # else the next source brings what the loop by hand has left there
            db.execute("DELETE FROM logsync.outbox")
        self.origin.manager().drop(self.name, self.settings)


def by_relay(setting: Setting, events: int) -> float:
    """Facts per second from the first one on, read back and confirmed."""
    relay, began = setting.relay(), 0.0
    while relay.status.relayed < events:
        relay.step()
        began = began or (time.perf_counter() if relay.status.relayed else 0.0)
    took = time.perf_counter() - began
    relay.stopping = True
    while not relay.through:
        relay.step()
    relay.close()
    return events / took


def by_hand(setting: Setting, events: int) -> float:
    """The same stream into the same client, and nothing else."""
    config = {"bootstrap.servers": setting.settings.kafka, "enable.idempotence": True, "linger.ms": 1}
    producer, done, began = Producer({**config, "compression.type": "lz4"}), 0, 0.0
    setting.origin.open(setting.name, setting.settings)
    while done < events:
        portion = setting.origin.take(_AT_ONCE, 0.2)
        for fact in portion.facts:
            assert isinstance(fact.of, Encoded)
            while True:
                try:
                    producer.produce(setting.log.topic, fact.of.value, fact.of.key, headers=fact.of.headers)  # type: ignore[arg-type]
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
        done += len(portion.facts)
        began = began or time.perf_counter()
    producer.flush()
    return events / (time.perf_counter() - began)


def speed(env: dict[str, str], rounds: int, events: int) -> dict[str, list[float]]:
    ways: dict[str, Callable[[Setting, int], float]] = {"relay": by_relay, "by hand": by_hand}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            setting = Setting(env, f"{way.replace(' ', '-')}-{number}")
            setting.fill(events)
            found[way].append(run(setting, events))
            setting.drop()
    return found


def write_steadily(env: dict[str, str], name: str, rate: float, seconds: float) -> None:
    """One transaction per event; its text tells when the commit had returned the time before."""
    setting, began = Setting(env, name, made=True), time.monotonic()
    with setting.connect() as db:
        for number in range(int(rate * seconds)):
            while number > rate * (time.monotonic() - began):
                time.sleep(0.0005)
            with db.transaction():
                setting.outbox.append(db, setting.model(shopper="s", number=number, note=repr(time.monotonic())))


def latency(env: dict[str, str], rate: float, seconds: float) -> list[float]:
    """Seconds from just before a commit to the arrival at a consumer."""
    setting = Setting(env, "latency")
    relay, ended = setting.relay(), threading.Event()

    def run() -> None:
        while not ended.is_set():
            relay.step()
        relay.close()

    consumer = Consumer({"bootstrap.servers": setting.settings.kafka, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe([setting.log.topic])
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while relay.status.state.value != "running":
        time.sleep(0.1)
    writer = multiprocessing.get_context("spawn").Process(
        target=write_steadily, args=(env, setting.name, rate, seconds)
    )
    writer.start()
    found, wanted = list[float](), int(rate * seconds)
    while len(found) < wanted:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        now, value = time.monotonic(), json.loads(message.value() or b"{}")
        if "note" in value:
            found.append(now - float(value["note"]))
    writer.join()
    ended.set()
    thread.join()
    consumer.close()
    setting.drop()
    return found[int(rate) :]  # the first second warms up


def insert_cost(env: dict[str, str], count: int) -> dict[str, list[float]]:
    """Seconds of an app's transaction, an UPDATE and an INSERT: alone, with an event, and with any third statement.

    Transaction by transaction in turn: on a busy machine nothing else can be compared.
    """
    setting = Setting(env, "cost")
    found: dict[str, list[float]] = {"without": [], "with": [], "select": []}
    with setting.connect() as db:
        db.execute("DROP TABLE IF EXISTS stock, orders")
        db.execute("CREATE TABLE stock (id int PRIMARY KEY, n int)")
        db.execute("CREATE TABLE orders (id serial PRIMARY KEY, shopper text, cents int)")
        db.execute("INSERT INTO stock SELECT n, 0 FROM generate_series(0, 99) AS n")
        db.commit()
        for number in range(count):
            for way in sorted(found, key=lambda _: random.random()):
                began = time.perf_counter()
                with db.transaction():
                    db.execute("UPDATE stock SET n = n + 1 WHERE id = %s", (number % 100,))
                    db.execute("INSERT INTO orders (shopper, cents) VALUES (%s, %s)", ("s", number))
                    if way == "with":
                        setting.outbox.append(db, setting.model(shopper="s", number=number, note="x" * 60))
                    elif way == "select":
                        db.execute("SELECT 1")
                found[way].append(time.perf_counter() - began)
    setting.drop()
    return found


def main(
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    rounds: int = 5,
    events: int = 30_000,
    rate: float = 500,
    seconds: float = 8,
) -> None:
    """Measure a relay. JSON on stdout, tables on stderr."""
    stack = Stack(name)
    stack.up(only=["kafka", "postgres"], bench=True)
    env = stack.env()
    fast, late, cost = speed(env, rounds, events), latency(env, rate, seconds), insert_cost(env, 500 * rounds)
    medians = {way: statistics.median(values) for way, values in {**fast, **cost}.items()}
    shown = statistics.quantiles(late, n=100)
    lines = [
        "## Relay", "", "| | |", "|---|---|",
        f"| facts per second, relay | {medians['relay']:,.0f} |",
        f"| the loop by hand that promises nothing | {medians['by hand']:,.0f} |",
        f"| relay / by hand | {medians['relay'] / medians['by hand']:.2f} |",
        f"| commit to log at {rate:.0f} rows/s, p50 and p99 | {shown[49] * 1e3:.1f} ms, {shown[98] * 1e3:.1f} ms |",
        f"| a transaction with an event / without | {medians['with'] / medians['without']:.2f} |",
        f"| the same with SELECT 1 for the event | {medians['select'] / medians['without']:.2f} |",
    ]  # fmt: skip
    print("\n".join(lines), file=sys.stderr)
    print(json.dumps({"speed": fast, "latency": shown, "insert": cost}))


if __name__ == "__main__":
    typer.run(main)
