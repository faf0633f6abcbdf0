"""A log of its own for each test, and everything that stands in it, read back with the plain client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import BaseModel

from devstack import Stack
from logsync import Log
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Record
from logsync.log.topic import create_topic
from logsync.settings import Settings
from tests.waiting import PATIENCE


class Paid(BaseModel):
    basket: str
    cents: int = 0
    note: str = ""


@dataclass
class Shop:
    """One topic with its log, and eyes on it."""

    log: Log
    settings: Settings

    def records(self) -> list[Record]:
        """All records of the topic, partition by partition."""
        consumer = Consumer({"bootstrap.servers": self.settings.kafka, "group.id": "eyes", "enable.auto.commit": False})
        try:
            found = []
            partitions = consumer.list_topics(self.log.topic, 10).topics[self.log.topic].partitions
            for partition in sorted(partitions):
                low, high = _bounds(consumer, TopicPartition(self.log.topic, partition))
                consumer.assign([TopicPartition(self.log.topic, partition, low)])
                at = low
                while at < high:
                    for message in consumer.consume(10_000, 0.2):
                        assert message.error() is None, message.error()
                        at = message.offset() + 1
                        found.append(
                            Record(partition, message.offset(), message.key(), message.value(), message.headers() or [])
                        )
            return found
        finally:
            consumer.close()

    def ids(self) -> list[str]:
        return [id_of(record) for record in self.records()]

    def once(self) -> list[Record]:
        """The records that a consumer keeps: a marked one goes if its original stands in the marked range. # A1"""
        records = self.records()
        places = {(record.partition, record.offset): id_of(record) for record in records}
        return [
            record
            for record in records
            if (since := since_of(record)) is None
            or id_of(record) not in [places.get((record.partition, at)) for at in range(since, record.offset)]
        ]


def _bounds(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    for _ in range(300):  # a broker that was paused or started leads its partitions a moment later
        try:
            return consumer.get_watermark_offsets(place, 10)
        except KafkaException:
            time.sleep(0.1)
    return consumer.get_watermark_offsets(place, 10)


def id_of(record: Record) -> str:
    return (dict(record.headers)["ce_id"] or b"").decode()


def since_of(record: Record) -> int | None:
    value = dict(record.headers).get(RETRY_FROM)
    return None if value is None else int(value)


Open = Callable[..., Shop]


@pytest.fixture
def open_shop(settings: Settings, unique: str) -> Open:
    """Make the topic of this test, with so many partitions, for settings that differ in these fields."""

    def open_shop(partitions: int = 1, **changes: object) -> Shop:
        changed = settings.model_copy(update=changes)
        create_topic(settings, unique, partitions=partitions)
        log = Log(unique)
        log.event("basket.paid", key="basket")(Paid)
        return Shop(log, changed)

    return open_shop


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    return open_shop()


@pytest.fixture
def stalled(stack: Stack) -> Iterator[Stack]:
    """The stack, whose Kafka this test may pause; it goes on afterwards whatever happens."""
    yield stack
    stack.resume("kafka")


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition; the test fails if it does not come in half a minute."""

    def wait_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the condition never came"
            time.sleep(0.01)

    return wait_until
