"""logsync's side: the log and the sink for the case that the environment names. `logsync consume` runs it.

A store's client is imported by its own sink only, as in an application.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, create_model

from benchmarks.stores import COUNTERS, mapping, schema
from benchmarks.workload import Case, events, kind
from logsync import Event, Log, Sink

RUN = os.environ.get("BENCH_RUN", "run")
MODEL = os.environ.get("BENCH_MODEL", "upsert")
VALUES = os.environ.get("BENCH_COLUMNS", "customer,cents").split(",")
log = Log(os.environ.get("BENCH_TOPIC", "bench"))


def registered(number: int) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (int if name == "cents" else str, ...) for name in ("order_id", *VALUES)}
    return log.event(kind(number), key="order_id")(create_model(f"OrderPlaced{number or ''}", **fields))


TYPES = [registered(number) for number in range(int(os.environ.get("BENCH_KINDS", "1")))]
OrderPlaced = TYPES[0]


def orders(count: int) -> Iterator[Any]:
    """The first events of the base point, as a web app would append them."""
    for _, (_, row) in zip(range(count), events(Case("orders", events=count)), strict=False):
        yield OrderPlaced(**row)


def postgres() -> Sink:
    from logsync.stores.postgres import Increment, Postgres, Upsert

    orders, customers = f"{RUN}_orders", f"{RUN}_customers"
    sink = Sink(f"{RUN}-pg", log, Postgres(schema=schema(VALUES, RUN), tables=[orders, customers]), order="per-key")

    def upsert(event: Event[Any]) -> Upsert:
        data = event.data
        return Upsert(orders, {"order_id": data.order_id}, {"customer": data.customer, "cents": data.cents})

    def upsert_wide(event: Event[Any]) -> Upsert:
        data = event.data
        return Upsert(orders, {"order_id": data.order_id}, {name: getattr(data, name) for name in VALUES})

    def increment(event: Event[Any]) -> Increment:
        data = event.data
        return Increment(customers, {"customer": data.customer}, {"cents": data.cents, "orders": 1})

    def mixed(event: Event[Any]) -> Iterator[Upsert | Increment]:
        yield upsert(event)
        yield increment(event)

    plain = upsert if VALUES == ["customer", "cents"] else upsert_wide
    return _handled(sink, {"upsert": plain, "increment": increment, "mixed": mixed})


def redis() -> Sink:
    from logsync.stores.redis import HIncr, HSet, Redis

    sink = Sink(f"{RUN}-redis", log, Redis(prefix=f"{RUN}:"))

    def upsert(event: Event[Any]) -> HSet:
        data = event.data
        return HSet(f"order:{data.order_id}", {"customer": data.customer, "cents": data.cents})

    def mixed(event: Event[Any]) -> Iterator[HSet | HIncr]:
        yield upsert(event)
        yield HIncr(f"customer:{event.data.customer}", {"cents": event.data.cents, "orders": 1})

    return _handled(sink, {"upsert": upsert, "mixed": mixed})


def opensearch() -> Sink:
    from logsync.stores.opensearch import IndexDoc, OpenSearch, UpdateDoc

    indices = {f"{RUN}-orders": mapping(VALUES)}
    if MODEL != "upsert":
        indices[f"{RUN}-customers"] = mapping(COUNTERS)
    sink = Sink(f"{RUN}-search", log, OpenSearch(indices=indices))

    def upsert(event: Event[Any]) -> IndexDoc:
        data = event.data
        return IndexDoc(f"{RUN}-orders", data.order_id, {"customer": data.customer, "cents": data.cents})

    def mixed(event: Event[Any]) -> Iterator[IndexDoc | UpdateDoc]:
        yield upsert(event)
        yield UpdateDoc(f"{RUN}-customers", event.data.customer, add={"cents": event.data.cents, "orders": 1})

    return _handled(sink, {"upsert": upsert, "mixed": mixed})


def _handled(sink: Sink, handlers: dict[str, Any]) -> Sink:
    for number, model in enumerate(TYPES):
        sink.on(model)(_named(handlers[MODEL], number))
    return sink


def _named(handler: Any, number: int) -> Any:
    """Each event type has a handler of its own, as in an application."""
    return handler if not number else lambda event: handler(event)


if "BENCH_STORE" in os.environ:
    sink = {"postgres": postgres, "redis": redis, "opensearch": opensearch}[os.environ["BENCH_STORE"]]()
