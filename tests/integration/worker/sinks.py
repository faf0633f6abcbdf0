"""One log and three sinks that do the same with it, under names that only one test uses.

Every event both overwrites and counts. Counting is not idempotent, so an event that is applied twice, or not at
all, shows in the content; an upsert alone would hide the first.

``logsync consume tests.integration.worker.sinks:db`` finds its names in the environment (see ``make``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.core.write import Write
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc
from logsync.stores.postgres import Delete, Increment, Postgres, Sql, Upsert
from logsync.stores.redis import Del, HIncr, Redis, Set

NAME, ORDER = "WORKER_TEST_NAME", "WORKER_TEST_ORDER"
"""Environment variables: the name of topic, tables, prefix and indices; what the sinks say about order."""
PARK, MENDED = "WORKER_TEST_PARK", "WORKER_TEST_MENDED"
"""Set: the sinks park what cannot be applied; the handlers take what they used to raise at."""
AFTER = "WORKER_TEST_AFTER"
"""Set: search comes after db."""
POISON = "poison"
"""A note at which the handlers raise."""


class ItemPut(BaseModel):
    """The item holds ``n`` from now on, and ``writer`` said so."""

    k: str
    n: int
    writer: str = ""
    note: str = ""


class ItemDropped(BaseModel):
    k: str


class ItemLooked(BaseModel):
    """Known to the log and handled by no sink: passed over, and written down (T2)."""

    k: str


def on_error() -> Literal["halt", "park"]:
    return "park" if PARK in os.environ else "halt"


def taken(event: Event[ItemPut]) -> ItemPut:
    """What the event holds. Raises ValueError at poison, until that was mended."""
    if event.data.note == POISON and MENDED not in os.environ:
        raise ValueError("this note is poison")
    return event.data


def declare(topic: str) -> Log:
    log = Log(topic)
    log.event("item.put", key="k")(ItemPut)
    log.event("item.dropped", key="k")(ItemDropped)
    log.event("item.looked", key="k")(ItemLooked)
    return log


def make_db(log: Log, name: str, order: Literal["total", "per-key"]) -> Sink:
    items, tally = f"{name}_items", f"{name}_tally"
    schema = f"""
        CREATE TABLE {items} (k text PRIMARY KEY, n bigint NOT NULL, writer text NOT NULL, note text NOT NULL);
        CREATE TABLE {tally} (name text PRIMARY KEY, n bigint NOT NULL);
    """
    sink = Sink(f"{name}-db", log, Postgres(schema=schema, tables=[items, tally]), order=order, on_error=on_error())

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> Iterator[Write]:
        yield Upsert(items, {"k": event.data.k}, taken(event).model_dump(exclude={"k"}))
        yield Increment(tally, {"name": "all"}, {"n": event.data.n})
        yield Increment(tally, {"name": f"puts:{event.data.k}"}, {"n": 1})

    @sink.on(ItemDropped)
    def dropped(event: Event[ItemDropped]) -> Iterator[Write]:
        yield Delete(items, {"k": event.data.k})
        yield Sql(
            f"INSERT INTO {tally} AS t VALUES (%(name)s, 1) ON CONFLICT (name) DO UPDATE SET n = t.n + 1",
            {"name": f"drops:{event.data.k}"},
            touches=(tally,),
        )

    return sink


def make_cache(log: Log, name: str, order: Literal["total", "per-key"]) -> Sink:
    sink = Sink(f"{name}-cache", log, Redis(prefix=f"{name}:"), order=order, on_error=on_error())

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> Iterator[Write]:
        yield Set(f"item:{event.data.k}", json.dumps(taken(event).model_dump(exclude={"k"})))
        yield HIncr("tally", {"all": event.data.n, f"puts:{event.data.k}": 1})

    @sink.on(ItemDropped)
    def dropped(event: Event[ItemDropped]) -> Iterator[Write]:
        yield Del(f"item:{event.data.k}")
        yield HIncr("tally", {f"drops:{event.data.k}": 1})

    return sink


def make_search(log: Log, name: str, order: Literal["total", "per-key"], after: Sequence[Sink] = ()) -> Sink:
    items, tally = f"{name}-items", f"{name}-tally"
    note = {"type": "text", "index": False}
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    store = OpenSearch(
        indices={
            items: {"settings": settings, "mappings": {"properties": {"n": {"type": "long"}, "note": note}}},
            tally: {"settings": settings, "mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}}}},
        }
    )
    sink = Sink(f"{name}-search", log, store, order=order, on_error=on_error(), after=after)

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> Iterator[Write]:
        yield IndexDoc(items, event.data.k, taken(event).model_dump(exclude={"k"}))
        yield UpdateDoc(tally, "all", add={"n": event.data.n})
        yield UpdateDoc(tally, f"puts:{event.data.k}", add={"n": 1})

    @sink.on(ItemDropped)
    def dropped(event: Event[ItemDropped]) -> Iterator[Write]:
        yield DeleteDoc(items, event.data.k)
        yield UpdateDoc(tally, f"drops:{event.data.k}", add={"n": 1})

    return sink


def make(name: str, order: Literal["total", "per-key"] = "total") -> dict[str, Sink]:
    """The three sinks over topic ``name``. Opens nothing."""
    log = declare(name)
    db = make_db(log, name, order)
    return {
        "db": db,
        "cache": make_cache(log, name, order),
        "search": make_search(log, name, order, [db] if AFTER in os.environ else []),
    }


_sinks = make(os.environ.get(NAME, "unnamed"), "per-key" if os.environ.get(ORDER) == "per-key" else "total")
db, cache, search = _sinks.values()
