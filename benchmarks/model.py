"""What every contestant works on: one small event, one topic, and the three sinks over it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.stores.opensearch import IndexDoc, OpenSearch
from logsync.stores.postgres import Postgres, Upsert
from logsync.stores.redis import HSet, Redis

RUN = os.environ.get("BENCH_RUN", "run")
"""Names the tables, keys and indices of one round, so that rounds do not meet each other's data."""
log = Log(os.environ.get("BENCH_TOPIC", "bench"))


@log.event("order.placed", key="order_id")
class OrderPlaced(BaseModel):
    order_id: str
    customer: str
    cents: int


def orders(count: int) -> Iterator[OrderPlaced]:
    """Three keys in four are new, one repeats: a shop's tables grow and are updated."""
    for n in range(count):
        yield OrderPlaced(order_id=f"order-{n if n % 4 else n // 2}", customer=f"customer-{n % 5000}", cents=n % 9999)


SCHEMA = f"CREATE TABLE IF NOT EXISTS {RUN}_orders (order_id text PRIMARY KEY, customer text, cents bigint)"
MAPPING = {
    "settings": {"number_of_replicas": 0, "number_of_shards": 1},
    "mappings": {"properties": {"customer": {"type": "keyword"}, "cents": {"type": "long"}}},
}

postgres = Sink(f"{RUN}-pg", log, Postgres(schema=SCHEMA, tables=[f"{RUN}_orders"]))
redis = Sink(f"{RUN}-redis", log, Redis(prefix=f"{RUN}:"))
opensearch = Sink(f"{RUN}-search", log, OpenSearch(indices={f"{RUN}-orders": MAPPING}))


@postgres.on(OrderPlaced)
def row(event: Event[OrderPlaced]) -> Upsert:
    data = event.data
    return Upsert(f"{RUN}_orders", {"order_id": data.order_id}, {"customer": data.customer, "cents": data.cents})


@redis.on(OrderPlaced)
def card(event: Event[OrderPlaced]) -> HSet:
    data = event.data
    return HSet(data.order_id, {"customer": data.customer, "cents": data.cents})


@opensearch.on(OrderPlaced)
def document(event: Event[OrderPlaced]) -> IndexDoc:
    data = event.data
    return IndexDoc(f"{RUN}-orders", data.order_id, {"customer": data.customer, "cents": data.cents})
