"""aiokafka as a writer: `python -m benchmarks.peers.aiowriter TOPIC COUNT AT_ONCE`, one line of JSON.

The same bytes as the bare client of `benchmarks.writers`: JSON by pydantic, a CloudEvent's headers, an id for each.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid

from aiokafka import AIOKafkaProducer
from pydantic import BaseModel

from benchmarks.workload import Case, events


class Order(BaseModel):
    order_id: str
    customer: str
    cents: int


async def main(topic: str, count: int, at_once: int) -> None:
    made = events(Case("", events=count))
    orders = iter([Order.model_validate(row) for _, (_, row) in zip(range(count), made, strict=False)])
    names = ("ce_specversion", "ce_type", "ce_source", "ce_time", "content-type")
    values = (b"1.0", b"order.placed", b"/bench", b"2026-01-01T00:00:00.000000+00:00", b"application/json")
    same = list(zip(names, values, strict=True))
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["LOGSYNC_KAFKA"], enable_idempotence=True, acks="all")
    await producer.start()
    each: list[float] = []

    async def write(order: Order) -> None:
        headers = [*same, ("ce_id", str(uuid.uuid4()).encode())]
        value, key = order.model_dump_json().encode(), order.order_id.encode()
        await producer.send_and_wait(topic, value, key, partition=0, headers=headers)

    async def one() -> None:
        for order in orders:
            began = time.perf_counter()
            await write(order)
            each.append(time.perf_counter() - began)

    await write(Order(order_id="first", customer="first", cents=1))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(at_once)))
    print(json.dumps([len(each), time.perf_counter() - began, time.process_time() - cpu, each]))
    await producer.stop()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
