"""FastStream with its confluent broker and hand-written handlers: `message` or `batch`.

Per message it runs as it comes: offsets are committed in the background (ACK_FIRST). In batches it acknowledges after
the handler (ACK), which costs one commit per batch, and takes up to 5,000 records as everybody here.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker

from benchmarks.peers.writes import KAFKA, RUN, SESSION_MS, TOPIC, Order, Writes, writes

broker = KafkaBroker(KAFKA, log_level=logging.DEBUG)  # a line per message is not what is measured
app = FastStream(broker)
found: list[Writes] = []
common: Any = {"group_id": RUN, "auto_offset_reset": "earliest", "session_timeout_ms": SESSION_MS}

if sys.argv[1] == "message":

    @broker.subscriber(TOPIC, **common)
    async def one(order: Order) -> None:
        await found[0].one(order)

else:

    @broker.subscriber(TOPIC, batch=True, max_records=5000, ack_policy=AckPolicy.ACK, **common)
    async def many(orders: list[Order]) -> None:
        await found[0].many(orders)


@app.on_startup
async def connect() -> None:
    found.append(await writes())


asyncio.run(app.run())
