"""The handlers, written by hand as a team would: one event at a time, or a batch in one round trip.

Nothing remembers where it was: whoever calls these commits its offsets to Kafka, before or afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

RUN, TOPIC, STORE, MODEL = (os.environ.get(f"BENCH_{name}", "") for name in ("RUN", "TOPIC", "STORE", "MODEL"))
KAFKA = os.environ.get("LOGSYNC_KAFKA", "")
SESSION_MS = 6000


class Order(BaseModel):
    order_id: str
    customer: str
    cents: int


class Writes(NamedTuple):
    one: Callable[[Order], Awaitable[Any]]
    many: Callable[[Sequence[Order]], Awaitable[Any]]


UPSERT = (
    f"INSERT INTO {RUN}_orders VALUES ($1, $2, $3) "
    "ON CONFLICT (order_id) DO UPDATE SET customer = excluded.customer, cents = excluded.cents"
)
ADD = (
    f"INSERT INTO {RUN}_customers AS t VALUES ($1, $2, 1) "
    "ON CONFLICT (customer) DO UPDATE SET cents = t.cents + excluded.cents, orders = t.orders + 1"
)


async def postgres() -> Writes:
    import asyncpg

    pool = await asyncpg.create_pool(os.environ["LOGSYNC_POSTGRES"], min_size=1, max_size=10)

    async def one(order: Order) -> None:
        if MODEL == "upsert":
            await pool.execute(UPSERT, order.order_id, order.customer, order.cents)
            return
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(UPSERT, order.order_id, order.customer, order.cents)
            await connection.execute(ADD, order.customer, order.cents)

    async def many(orders: Sequence[Order]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.executemany(UPSERT, [(order.order_id, order.customer, order.cents) for order in orders])
            if MODEL == "mixed":
                await connection.executemany(ADD, [(order.customer, order.cents) for order in orders])

    return Writes(one, many)


async def redis() -> Writes:
    import redis.asyncio as client

    db: Any = client.Redis.from_url(os.environ["LOGSYNC_REDIS"])

    def queue(pipeline: Any, order: Order) -> None:
        pipeline.hset(f"{RUN}:order:{order.order_id}", mapping={"customer": order.customer, "cents": order.cents})
        if MODEL == "mixed":
            pipeline.hincrby(f"{RUN}:customer:{order.customer}", "cents", order.cents)
            pipeline.hincrby(f"{RUN}:customer:{order.customer}", "orders", 1)

    async def many(orders: Sequence[Order]) -> None:
        async with db.pipeline(transaction=MODEL == "mixed") as pipeline:
            for order in orders:
                queue(pipeline, order)
            await pipeline.execute()

    async def one(order: Order) -> None:
        if MODEL == "mixed":
            await many([order])
        else:
            mapping = {"customer": order.customer, "cents": order.cents}
            await db.hset(f"{RUN}:order:{order.order_id}", mapping=mapping)

    return Writes(one, many)


async def opensearch() -> Writes:
    from opensearchpy import AsyncOpenSearch

    db: Any = AsyncOpenSearch(os.environ["LOGSYNC_OPENSEARCH"], timeout=60)
    source = "ctx._source.cents += params.cents; ctx._source.orders += 1"

    def actions(order: Order) -> list[dict[str, Any]]:
        document = {"customer": order.customer, "cents": order.cents}
        lines: list[dict[str, Any]] = [{"index": {"_index": f"{RUN}-orders", "_id": order.order_id}}, document]
        if MODEL == "mixed":
            script = {"source": source, "params": {"cents": order.cents}}
            lines.append({"update": {"_index": f"{RUN}-customers", "_id": order.customer, "retry_on_conflict": 3}})
            lines.append({"script": script, "upsert": {"cents": order.cents, "orders": 1}})
        return lines

    async def many(orders: Sequence[Order]) -> None:
        answer = await db.bulk(body=[line for order in orders for line in actions(order)])
        if answer["errors"]:
            raise RuntimeError(str([item for item in answer["items"] if "error" in next(iter(item.values()))][:1]))

    async def one(order: Order) -> None:
        if MODEL == "mixed":
            await many([order])
        else:
            document = {"customer": order.customer, "cents": order.cents}
            await db.index(index=f"{RUN}-orders", id=order.order_id, body=document)

    return Writes(one, many)


async def writes() -> Writes:
    return await {"postgres": postgres, "redis": redis, "opensearch": opensearch}[STORE]()
