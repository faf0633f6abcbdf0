"""What a type checker must refuse of a handler, and what it must take. Read by mypy only: ``make check``.

Each ``type: ignore`` stands where mypy has to complain: strict, it complains of one that is not needed.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.stores.postgres import Delete, Increment, Postgres, Upsert

log = Log("orders")


@log.event("order.placed", key="order_id")
class OrderPlaced(BaseModel):
    order_id: str


@log.event("order.cancelled", key="order_id")
class OrderCancelled(BaseModel):
    order_id: str


@log.event("order.paid", key="order_id")
class OrderPaid(BaseModel):
    order_id: str


def taken(sink: Sink) -> None:
    @sink.on(OrderPlaced)
    def one(event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced, on_error="park")
    def several(event: Event[OrderPlaced]) -> Iterator[Upsert | Increment]:
        yield Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced, OrderCancelled)
    def of_two(event: Event[OrderPlaced | OrderCancelled]) -> list[Delete] | None:
        return [Delete("orders", {"order_id": event.data.order_id})]

    @sink.on(OrderPlaced, OrderCancelled, OrderPaid)
    def of_three(event: Event[OrderPlaced | OrderCancelled | OrderPaid]) -> None:
        print(event.data.order_id)

    @sink.on(OrderPlaced)
    def of_more_than_it_gets(event: Event[BaseModel]) -> Upsert:
        return Upsert("orders", {"order_id": event.key})

    def with_table(table: str, event: Event[OrderPlaced]) -> Upsert:
        return Upsert(table, {"order_id": event.data.order_id})

    sink.on(OrderPlaced)(functools.partial(with_table, "orders"))
    sink.on(OrderPlaced)(lambda event: Upsert("orders", {"order_id": event.data.order_id}))


def refused(sink: Sink) -> None:
    @sink.on(OrderPlaced)  # type: ignore[arg-type]
    def of_another_type(event: Event[OrderCancelled]) -> Upsert:
        return Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced, OrderCancelled)  # type: ignore[arg-type]
    def of_one_of_two(event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced)  # type: ignore[arg-type]
    def of_the_data(order: OrderPlaced) -> Upsert:
        return Upsert("orders", {"order_id": order.order_id})

    @sink.on(OrderPlaced)  # type: ignore[type-var]
    async def waits(event: Event[OrderPlaced]) -> Upsert:
        return Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced)  # type: ignore[type-var]
    async def waits_and_yields(event: Event[OrderPlaced]) -> AsyncIterator[Upsert]:
        yield Upsert("orders", {"order_id": event.data.order_id})

    @sink.on(OrderPlaced)  # type: ignore[type-var]
    def returns_text(event: Event[OrderPlaced]) -> str:
        return event.data.order_id

    @sink.on(OrderPlaced)  # type: ignore[type-var]
    def returns_a_mapping(event: Event[OrderPlaced]) -> dict[str, str]:
        return {"order_id": event.data.order_id}

    @sink.on(OrderPlaced)  # type: ignore[arg-type]
    def takes_two(event: Event[OrderPlaced], table: str) -> Upsert:
        return Upsert(table, {"order_id": event.data.order_id})


def events_are_read_only(event: Event[OrderPlaced]) -> Event[BaseModel]:
    event.data = OrderPlaced(order_id="2")  # type: ignore[misc]
    return event


def a_sink() -> Sink:
    return Sink("orders", log, Postgres(tables=["orders"]))
