"""A small log that unit tests share."""

from __future__ import annotations

from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.core.store import Store
from logsync.stores.memory import Memory
from logsync.writes.rows import Delete, Increment, Upsert

log = Log("test.shop")


@log.event("order.placed", key="order")
class OrderPlaced(BaseModel):
    order: str
    cents: int


@log.event("order.cancelled", key="order")
class OrderCancelled(BaseModel):
    order: str


@log.event("page.seen", key="page")
class PageSeen(BaseModel):
    page: str


def order_placed(event: Event[OrderPlaced]) -> list[object]:
    if event.data.cents < 0:
        raise ValueError("cents is negative")
    return [
        Upsert("orders", {"order": event.data.order}, {"cents": event.data.cents}),
        Increment("totals", {"name": "cents"}, {"n": event.data.cents}),
    ]


def order_cancelled(event: Event[OrderCancelled]) -> Delete:
    return Delete("orders", {"order": event.data.order})


def make_sink(store: Store | None = None, **options: object) -> Sink:
    sink = Sink("db", log, store or Memory(), **options)  # type: ignore[arg-type]
    sink.on(OrderPlaced)(order_placed)  # type: ignore[type-var]
    sink.on(OrderCancelled)(order_cancelled)
    return sink
