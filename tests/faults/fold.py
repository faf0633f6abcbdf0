"""What the stores must hold: the log read and folded by plain code. Nothing here comes from logsync or its sinks.

The stores are read by the plain clients of `demo.proof`, which knows nothing of logsync either.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from demo.proof import TABLES, Part, compare, opensearch_docs, postgres_rows, redis_values

TOPIC = "shop.events"


class Fact(NamedTuple):
    """One record of the log. ``retry_from``: it may be a repeat of one that stands there or further on."""

    type: str
    id: str
    key: str
    retry_from: int | None
    data: dict[str, Any]


class Tail:
    """All records of the log so far, by offset."""

    def __init__(self, servers: str) -> None:
        config = {"bootstrap.servers": servers, "group.id": "tail", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(config)
        self._part = TopicPartition(TOPIC, 0)
        self._consumer.assign([TopicPartition(TOPIC, 0, 0)])
        self._facts: list[Fact] = []
        self._lock = threading.Lock()
        self.close = self._consumer.close

    def end(self) -> int:
        """Asked again while Kafka is between two leaders, as after its restart."""
        for _ in range(100):
            with suppress(KafkaException):
                return self._end()
            time.sleep(0.5)
        return self._end()

    def _end(self) -> int:
        return int(self._consumer.get_watermark_offsets(self._part, timeout=30)[1])

    def up_to(self, offset: int) -> list[Fact]:
        """The records before ``offset``, which must be in the log."""
        with self._lock:
            while len(self._facts) < offset:
                for message in self._consumer.consume(2000, 1):
                    if message.error() is None:
                        assert message.offset() == len(self._facts), "a hole: nobody writes transactions here"
                        self._facts.append(_fact(message))
            return self._facts[:offset]


def _fact(message: Any) -> Fact:
    headers = {name: value.decode() for name, value in message.headers()}
    retry = headers.get("logsync-retry-from")
    value = message.value()
    data = {} if value is None else json.loads(value)
    kind = "gone" if value is None else headers["ce_type"]
    return Fact(kind, headers["ce_id"], message.key().decode(), None if retry is None else int(retry), data)


class Fold:
    """The content of all three stores after the first ``at`` records."""

    def __init__(self) -> None:
        self.at = 0
        self.retried = self.doubles = 0
        self.tables: dict[str, dict[Any, list[Any]]] = {name: {} for name in TABLES}
        self.keys: dict[tuple[str, str, str], Any] = {}
        self.docs: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, list[int]] = {}

    def add(self, fact: Fact) -> None:
        seen = self._seen.setdefault(fact.id, [])
        double = fact.retry_from is not None and any(offset >= fact.retry_from for offset in seen)
        seen.append(self.at)
        self.at += 1
        self.retried += fact.retry_from is not None
        if double:
            self.doubles += 1
            return
        data, tables = fact.data, self.tables
        match fact.type:
            case "product.listed":
                product = data["product_id"]
                names = ("department", "manufacturer_id", "brand", "category", "description", "package_size")
                tables["products"][product] = [data[name] for name in names]
                self.docs[str(product)] = {**data, "sold": self.docs.get(str(product), {}).get("sold", 0)}
            case "gone":
                product = int(fact.key.removeprefix("product:"))
                tables["products"].pop(product, None)
                self.docs.pop(str(product), None)
            case "basket.paid":
                cents = sum(line["cents"] for line in data["lines"])
                basket = tables["baskets"].setdefault(data["basket_id"], [None] * 6)
                paid_at = datetime.fromisoformat(data["paid_at"])
                basket[:5] = [data["household_id"], data["store_id"], paid_at, len(data["lines"]), cents]
                for line in data["lines"]:
                    place = data["basket_id"], line["product_id"]
                    tables["lines"][place] = [line["quantity"], line["cents"]]
                self._household(data)[9] += 1
                self.keys["string", f"shop:household:{data['household_id']}:last", ""] = str(data["basket_id"])
                self._sold(data, 1, {"baskets": 1, "cents": cents})
            case "basket.returned":
                cents = sum(line["cents"] for line in data["lines"])
                basket = tables["baskets"].setdefault(data["basket_id"], [None] * 6)
                basket[5] = datetime.fromisoformat(data["returned_at"])
                self._sold(data, -1, {"returns": 1, "cents": -cents})
            case "household.described":
                names = ("age", "income", "size", "kids", "composition", "home_ownership", "marital_status")
                self._household(data)[:7] = [data[name] for name in names]
            case "address.changed":
                self._household(data)[7:9] = [data["street"], data["postcode"]]
            case "coupon.redeemed":
                coupon = tables["coupons"].setdefault((data["coupon_upc"], data["campaign_id"]), [0])
                coupon[0] += 1
            case other:
                raise AssertionError(f"an event that nobody writes: {other}")

    def _household(self, data: dict[str, Any]) -> list[Any]:
        return self.tables["households"].setdefault(data["household_id"], [None] * 9 + [0, 0])

    def _sold(self, data: dict[str, Any], sign: int, card: dict[str, int]) -> None:
        self._household(data)[10] += card["cents"]
        for name, by in card.items():
            field = "hash", f"shop:household:{data['household_id']}", name
            self.keys[field] = str(int(self.keys.get(field, 0)) + by)
        for line in data["lines"]:
            product, units = line["product_id"], sign * line["quantity"]
            sales = self.tables["sales"].setdefault(product, [0, 0])
            sales[:] = [sales[0] + units, sales[1] + sign * line["cents"]]
            score = "zset", f"shop:best:{line['department']}", str(product)
            self.keys[score] = self.keys.get(score, 0) + units
            doc = self.docs.setdefault(str(product), {})
            doc["sold"] = doc.get("sold", 0) + units

    def differences(self, kind: str, url: str) -> list[str]:
        """Everything in the store that is not as it must be, missing or too much, in words."""
        return [f"{part.what}: {text}" for part in self._parts(kind, url) if part.differences for text in part.first]

    def _parts(self, kind: str, url: str) -> Iterator[Part]:
        if kind == "db":
            for table, rows in self.tables.items():
                expected = {key: tuple(row) for key, row in rows.items()}
                yield compare("Postgres", f"table {table}", expected, postgres_rows(url, table))
        elif kind == "cache":
            yield compare("Redis", "keys", dict(self.keys), redis_values(url))
        else:
            yield compare("OpenSearch", "documents", dict(self.docs), opensearch_docs(url))
