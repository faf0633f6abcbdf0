"""What the content must be: the log read and folded by plain code. Nothing here comes from logsync.

If logsync's codec or plan misread the log, a fold that used them would misread it alike and agree.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

Content = dict[str, dict[str, Any]]
"""{"items": {key: {"n": ..., "writer": ..., "note": ...}}, "tally": {name: count}}"""


class Raw(NamedTuple):
    """One committed record."""

    partition: int
    offset: int
    value: bytes | None
    headers: dict[str, bytes]


def read_log(servers: str, topic: str) -> list[Raw]:
    """All records of the topic, each partition in its own order, as a reader of committed records sees them."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "nobody",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        numbers = consumer.list_topics(topic, 10).topics[topic].partitions
        ends = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in numbers}
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        found: list[Raw] = []
        unread = {number for number in numbers if ends[number]}
        while unread:
            for message in consumer.consume(5000, 0.05):
                error = message.error()
                if error is None:
                    headers = {name: value for name, value in message.headers() or [] if value is not None}
                    found.append(Raw(message.partition(), message.offset(), message.value(), headers))
                # Writers may go on: the end is the one seen at the beginning, or the note of a later one.
                if error is None and message.offset() < ends[message.partition()] - 1:
                    continue
                if error is None or error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
        return sorted(found, key=lambda raw: (raw.partition, raw.offset))
    finally:
        consumer.close()


def fold(records: list[Raw]) -> Content:
    """The content after these records. A retried append counts once: its original stands in the range it names."""
    items: dict[str, Any] = {}
    tally: dict[str, int] = {}
    at: dict[tuple[int, bytes], list[int]] = {}  # (partition, id) -> offsets so far

    def add(name: str, by: int) -> None:
        tally[name] = tally.get(name, 0) + by

    for raw in records:
        seen = at.setdefault((raw.partition, raw.headers["ce_id"]), [])
        retry_from = raw.headers.get("logsync-retry-from")
        double = retry_from is not None and any(offset >= int(retry_from) for offset in seen)
        seen.append(raw.offset)
        if double:
            continue
        data = json.loads(raw.value or b"null")
        match raw.headers["ce_type"]:
            case b"item.put":
                key = data.pop("k")
                items[key] = data
                add("all", data["n"])
                add(f"puts:{key}", 1)
            case b"item.dropped":
                items.pop(data["k"], None)
                add(f"drops:{data['k']}", 1)
            case b"item.looked":
                pass
            case other:
                raise AssertionError(f"an event that no test writes: {other!r}")
    return {"items": items, "tally": tally}
