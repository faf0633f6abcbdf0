"""`python -m benchmarks.after`: what it costs a sink to come after another one whose store is ahead. # V1

The same events into OpenSearch, by a sink of its own in each run, in turn: one comes after the Postgres sink, which has
applied all of them before; one comes after nobody.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import BaseModel

from devstack import Stack
from logsync import Event, Log, Producer, Sink
from logsync.log.group import KafkaReader
from logsync.log.topic import create_topic
from logsync.settings import Settings
from logsync.stores.opensearch import IndexDoc, OpenSearch
from logsync.stores.postgres import Postgres, Upsert
from logsync.worker import Worker


class ItemPut(BaseModel):
    name: str
    number: int
    note: str


def declared(log: Log, name: str, after: Sequence[Sink] = ()) -> Sink:
    mappings = {"dynamic": False, "properties": {"number": {"type": "long"}}}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    store = OpenSearch(indices={name: {"settings": settings, "mappings": mappings}})
    sink = Sink(name, log, store, after=after)

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> IndexDoc:
        return IndexDoc(name, event.data.name, {"number": event.data.number, "note": event.data.note})

    return sink


def rows(log: Log, name: str) -> Sink:
    schema = f"CREATE TABLE {name} (name text PRIMARY KEY, number bigint NOT NULL, note text NOT NULL);"
    sink = Sink(f"{name}-db", log, Postgres(schema=schema, tables=[name]))

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> Upsert:
        return Upsert(name, {"name": event.data.name}, {"number": event.data.number, "note": event.data.note})

    return sink


def applied(sink: Sink, settings: Settings, events: int) -> float:
    """Events per second from the first that is applied on."""
    with Worker(sink, KafkaReader(sink.log, sink.name, settings), settings) as worker:
        while not worker.status.applied:
            worker.step()
        first, began = worker.status.applied, time.perf_counter()
        while worker.status.applied < events:
            worker.step()
        return (events - first) / (time.perf_counter() - began)


def main(
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    rounds: int = 5,
    events: int = 60_000,
) -> None:
    """Measure a sink that comes after another. JSON on stdout, a table on stderr."""
    stack = Stack(name)
    stack.up(only=["kafka", "postgres", "opensearch"], bench=True)
    env = stack.env()
    fields = {key.removeprefix("LOGSYNC_").lower(): value for key, value in env.items()}
    settings = Settings(**fields)  # type: ignore[arg-type]
    unique = f"after{time.time_ns() % 10**9}"
    log = Log(unique)
    log.event("item.put", key="name")(ItemPut)
    create_topic(settings, log.topic)
    with Producer(log, settings=settings) as producer:
        producer.append_many(ItemPut(name=f"n{n % 5_000}", number=n, note="x" * 60) for n in range(events))
    db = rows(log, unique)
    applied(db, settings, events)
    found: dict[str, list[float]] = {"alone": [], "after": []}
    for number in range(rounds):
        for way, speeds in found.items():
            sink = declared(log, f"{unique}-{way}-{number}", [db] if way == "after" else [])
            speeds.append(applied(sink, settings, events))
    medians = {way: statistics.median(speeds) for way, speeds in found.items()}
    lines = [
        "## A sink that comes after another", "", "| | |", "|---|---|",
        f"| events per second into OpenSearch, after nobody | {medians['alone']:,.0f} |",
        f"| after the Postgres sink, which is ahead | {medians['after']:,.0f} |",
        f"| after / alone | {medians['after'] / medians['alone']:.2f} |",
    ]  # fmt: skip
    print("\n".join(lines), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
