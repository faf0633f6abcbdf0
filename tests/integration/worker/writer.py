"""A writer as a process of its own: appends puts one by one, over keys that others write, too.

python -m tests.integration.worker.writer SERVERS TOPIC WRITER

Goes on until the file STOP is there: then a test can wait until several of them have really taken turns. It pauses
after each event, so that the log stays short while the test looks.
"""

from __future__ import annotations

import sys
import time
import uuid
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from confluent_kafka import Producer

from logsync.core.codec import encode

from .sinks import ItemPut, declare

STOP = "stop"


def main(servers: str, topic: str, writer: str) -> None:
    log = declare(topic)
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0})
    for n in count():
        event = ItemPut(k=f"k{n % 5}", n=n, writer=writer)
        coded = encode(log, event, event_id=str(uuid.uuid4()), time=datetime.now(UTC))
        producer.produce(topic, coded.value, coded.key, headers=coded.headers)
        assert producer.flush(30) == 0
        if Path(STOP).exists():
            return
        time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
