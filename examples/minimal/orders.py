"""The sink: `logsync consume orders:sink`. Rows and position move in one transaction."""

from collections.abc import Iterator

from order_events import OrderPlaced, log

from logsync import Event, Sink
from logsync.stores.postgres import Increment, Postgres, Upsert

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (order_id text PRIMARY KEY, customer text, cents bigint);
CREATE TABLE IF NOT EXISTS customers (customer text PRIMARY KEY, orders bigint DEFAULT 0, cents bigint DEFAULT 0);
"""
sink = Sink("orders", log, Postgres(schema=SCHEMA, tables=["orders", "customers"]))


@sink.on(OrderPlaced)
def order_placed(event: Event[OrderPlaced]) -> Iterator[Upsert | Increment]:
    order = event.data
    yield Upsert("orders", {"order_id": order.order_id}, {"customer": order.customer, "cents": order.cents})
    yield Increment("customers", {"customer": order.customer}, {"orders": 1, "cents": order.cents})
