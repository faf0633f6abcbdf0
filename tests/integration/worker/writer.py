"""A writer as a process of its own: appends COUNT puts as fast as it can, over keys that others write, too.

python -m tests.integration.worker.writer SERVERS TOPIC WRITER COUNT

Says READY, and begins when the file GO is there: then several of them begin at once.
"""

from __future__ import annotations

import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from logsync.core.codec import encode

from .sinks import ItemPut, declare

GO = "go"


def main(servers: str, topic: str, writer: str, count: str) -> None:
    log = declare(topic)
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
    producer.list_topics(topic, 30)
    print("READY", flush=True)
    while not Path(GO).exists():
        time.sleep(0.01)
    for n in range(int(count)):
        event = ItemPut(k=f"k{n % 5}", n=n, writer=writer)
        coded = encode(log, event, event_id=str(uuid.uuid4()), time=datetime.now(UTC))
        producer.produce(topic, coded.value, coded.key, headers=coded.headers)
        if n % 10 == 9:
            producer.flush(30)  # in small steps, so that two writers really take turns
    assert producer.flush(30) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
