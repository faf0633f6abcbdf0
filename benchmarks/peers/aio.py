"""aiokafka and asyncpg, one event at a time: what most teams write first.

Offsets are committed by the client every five seconds (its default), whatever the store holds by then.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer

from benchmarks.peers.writes import KAFKA, RUN, SESSION_MS, TOPIC, Order, writes


async def main() -> None:
    handle = (await writes()).one
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=RUN, auto_offset_reset="earliest", session_timeout_ms=SESSION_MS
    )
    await consumer.start()
    async for message in consumer:
        await handle(Order.model_validate_json(message.value))


asyncio.run(main())
