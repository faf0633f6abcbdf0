"""The sink: `logsync consume demo.existing.accounts:sink`. Rows, and counters that a repeat would break."""

from __future__ import annotations

import os
from collections.abc import Iterator

from demo.existing.events import OrderPlaced, PaymentMade, log
from logsync import Event, Sink
from logsync.stores.postgres import Increment, Postgres, Upsert

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (basket_id bigint PRIMARY KEY, household_id int, cents int);
CREATE TABLE IF NOT EXISTS payments (payment_id bigint PRIMARY KEY, household_id int, cents int);
CREATE TABLE IF NOT EXISTS accounts (
    household_id int PRIMARY KEY,
    orders bigint DEFAULT 0, ordered bigint DEFAULT 0, payments bigint DEFAULT 0, paid bigint DEFAULT 0
);
"""
store = Postgres(os.environ.get("DEMO_STORE"), schema=SCHEMA, tables=["orders", "payments", "accounts"])
sink = Sink("accounts", log, store)


@sink.on(OrderPlaced)
def order_placed(event: Event[OrderPlaced]) -> Iterator[Upsert | Increment]:
    order = event.data
    household = {"household_id": order.household_id}
    yield Upsert("orders", {"basket_id": order.basket_id}, {**household, "cents": order.cents})
    yield Increment("accounts", household, {"orders": 1, "ordered": order.cents})


@sink.on(PaymentMade)
def payment_made(event: Event[PaymentMade]) -> Iterator[Upsert | Increment]:
    payment = event.data
    household = {"household_id": payment.household_id}
    yield Upsert("payments", {"payment_id": payment.payment_id}, {**household, "cents": payment.cents})
    yield Increment("accounts", household, {"payments": 1, "paid": payment.cents})
