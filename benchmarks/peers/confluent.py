"""confluent-kafka and psycopg, batch by batch: executemany, commit, and then the offsets.

`consume(n)` and executemany, which psycopg 3 sends as a pipeline, are what either documentation advises for throughput.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import psycopg
from confluent_kafka import Consumer

from benchmarks.peers.writes import ADD, KAFKA, MODEL, RUN, SESSION_MS, TOPIC, UPSERT, Order

BATCH = 5000

stop: list[int] = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
consumer = Consumer(
    {
        "bootstrap.servers": KAFKA,
        "group.id": RUN,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": SESSION_MS,
        "fetch.queue.backoff.ms": 5,
    }
)
consumer.subscribe([TOPIC])
upsert, add = (query.replace("$1", "%s").replace("$2", "%s").replace("$3", "%s") for query in (UPSERT, ADD))
db: Any = psycopg.connect(os.environ["LOGSYNC_POSTGRES"])
while not stop:
    messages = consumer.consume(BATCH, 0.2)
    if not messages:
        continue
    orders = [Order.model_validate_json(message.value() or b"") for message in messages]
    with db.cursor() as cursor:
        cursor.executemany(upsert, [(order.order_id, order.customer, order.cents) for order in orders])
        if MODEL == "mixed":
            cursor.executemany(add, [(order.customer, order.cents) for order in orders])
    db.commit()
    consumer.commit(asynchronous=False)
consumer.close()
