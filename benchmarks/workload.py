"""The events of a case, the content that they must leave, and the topic that holds them. One source for everybody.

An event is a small order. Beside the orders stand *markers*: one in a hundred events, with a key of its own, spread
evenly through each partition. They are applied like any other event, and by looking for them in the store the
harness knows how far a contestant is, without asking it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

from confluent_kafka import Producer

CUSTOMERS = 5000
MARKS = 100
Row = dict[str, str | int]
Headers = list[tuple[str, str | bytes | None]]
Encode = Callable[[int, Row], tuple[bytes, bytes, Headers]]
"""An event's number and content to the key, value and headers of its record."""


@dataclass(frozen=True)
class Case:
    """One point of the comparison: the base point, and what of it is varied."""

    name: str
    store: str = "postgres"
    model: str = "upsert"
    """`upsert` writes the order, `increment` adds to its customer's counters, `mixed` does both."""
    columns: int = 3
    """With the key. 3 are order_id, customer and cents; from 4 on short texts follow; 2 leave the customer out."""
    pad: int = 0
    """Characters of a text column that makes the event larger."""
    keys: str | int = "new"
    """`new`: three of four are new, one repeats; `unique`; or the number of keys, used again and again."""
    partitions: int = 1
    kinds: int = 1
    """Event types that are used in turn."""
    events: int = 200_000

    @property
    def values(self) -> list[str]:
        """The columns beside the key."""
        texts = [f"text{n:02}" for n in range(3, self.columns)]
        return [*(["customer"] if self.columns > 2 else []), "cents", *texts, *(["pad"] if self.pad else [])]

    @property
    def marks(self) -> int:
        """Markers per partition, beside the one at the beginning."""
        return max(4, min(MARKS, self.events // 20) // self.partitions)

    def marker(self, partition: int, number: int) -> str:
        return f"mark-{partition}-{number}"


def events(case: Case) -> Iterator[tuple[int, Row]]:
    """(partition, content) of every event in log order; markers included, first and last in each partition."""
    every = max(1, case.events // case.marks)
    for n in range(case.events):
        if n % every == 0 and n // every < case.marks:
            yield from _markers(case, n // every)
        key = f"order-{_key(case.keys, n):012}"
        yield (
            crc32(key.encode()) % case.partitions,
            _row(case, key, f"customer-{n % CUSTOMERS:05}-of-the-shop-in-harbour-row", n),
        )
    yield from _markers(case, case.marks)


def _markers(case: Case, number: int) -> Iterator[tuple[int, Row]]:
    for partition in range(case.partitions):
        name = case.marker(partition, number)
        yield partition, _row(case, name, name, 1)


def _key(keys: str | int, n: int) -> int:
    if keys == "unique":
        return n
    return (n if n % 4 else n // 2) if keys == "new" else n % int(keys)


def _row(case: Case, key: str, customer: str, n: int) -> Row:
    row: Row = {"order_id": key, "customer": customer, "cents": n % 9999}
    if case.columns < 3:
        del row["customer"]
    row.update((name, f"{n % 997:08}") for name in case.values if name.startswith("text"))
    if case.pad:
        row["pad"] = f"{n:010}" + "x" * (case.pad - 10)
    return row


@dataclass
class Content:
    """What a store holds, or must hold: orders by key, and per customer [cents, orders]."""

    orders: dict[str, tuple[str | int, ...]]
    counters: dict[str, tuple[int, int]]


def expected(case: Case) -> Content:
    """The fold of the events, by plain dictionaries."""
    content = Content({}, {})
    for _, row in events(case):
        if case.model != "increment":
            content.orders[str(row["order_id"])] = tuple(row[name] for name in case.values)
        if case.model != "upsert":
            cents, orders = content.counters.get(str(row["customer"]), (0, 0))
            content.counters[str(row["customer"])] = cents + int(row["cents"]), orders + 1
    return content


_SPEC = ("ce_specversion", b"1.0")
_REST: Headers = [
    ("ce_source", b"/bench"),
    ("ce_time", b"2026-01-01T00:00:00.000000+00:00"),
    ("content-type", b"application/json"),
]


def cloudevent(case: Case) -> Encode:
    """JSON under the headers of a CloudEvent, as `Producer.append` writes it."""
    names = [kind(n).encode() for n in range(case.kinds)]

    def encode(number: int, row: Row) -> tuple[bytes, bytes, Headers]:
        event_id = b"0199aa00-0000-7000-8000-%012x" % number
        headers: Headers = [_SPEC, ("ce_id", event_id), ("ce_type", names[number % case.kinds]), *_REST]
        return str(row["order_id"]).encode(), json.dumps(row, separators=(",", ":")).encode(), headers

    return encode


def kind(number: int) -> str:
    return f"order.placed.{number}" if number else "order.placed"


def fill(servers: str, topic: str, case: Case, encode: Encode) -> tuple[int, float]:
    """Append the case's events. Returns (how many, markers included; mean bytes of a value)."""
    options = {"enable.idempotence": True, "compression.type": "lz4", "linger.ms": 20, "batch.size": 1_000_000}
    producer = Producer({"bootstrap.servers": servers, **options})
    failed: list[object] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(error)

    count = size = 0
    for partition, row in events(case):
        key, value, headers = encode(count, row)
        count, size = count + 1, size + len(value)
        while True:
            try:
                producer.produce(topic, value, key, partition, headers=headers, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
    left = producer.flush(120)
    if left or failed:
        raise SystemExit(f"filling {topic} failed: {left} records not sent, {failed[:1]}")
    return count, size / count
