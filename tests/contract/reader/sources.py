"""A log of two partitions, in memory and in Kafka, and a member of a group that reads it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import BaseModel

from logsync import Log
from logsync.core.event import Record
from logsync.log.contract import Batch, LogReader
from logsync.log.group import KafkaReader, group_id
from logsync.settings import Settings
from logsync.testing import MemoryLog, MemoryReader
from tests.waiting import PATIENCE


class Source(Protocol):
    """A log of two partitions, written to without the reader's code."""

    def reader(self) -> LogReader: ...
    def append(self, partition: int, *values: str) -> None:
        """Records whose value and id are this text."""

    def transaction(self, *values: str, commit: bool) -> None:
        """Records in partition 0 that are committed or aborted together; a marker follows them."""

    def trim(self, partition: int, before: int) -> None:
        """The partition begins at this offset from now on."""

    def committed(self) -> dict[int, int]: ...


class Anything(BaseModel):
    pass


class MemorySource:
    def __init__(self, name: str) -> None:
        self.log = MemoryLog(Log(name), partitions=2)
        self.members: list[MemoryReader] = []

    def reader(self) -> MemoryReader:
        made = MemoryReader(self.log)
        made.open = lambda: self.deal([*self.members, made])  # type: ignore[method-assign]
        made.close = lambda: self.deal([member for member in self.members if member is not made])  # type: ignore[method-assign]
        return made

    def deal(self, members: list[MemoryReader]) -> None:
        """As Kafka's coordinator does whenever a member joins or leaves."""
        self.members = members
        for number, member in enumerate(reversed(members)):
            member.assign(*range(number, 2, len(members)))

    def append(self, partition: int, *values: str) -> None:
        for value in values:
            self.log.append_raw(b"k", value.encode(), [("ce_id", value.encode())], partition=partition)

    def transaction(self, *values: str, commit: bool) -> None:
        first = len(self.log.records[0])
        self.append(0, *values)
        if not commit:
            self.log.holes[0].update(range(first, first + len(values)))
        self.log.append_marker()

    def trim(self, partition: int, before: int) -> None:
        self.log.starts[partition] = before

    def committed(self) -> dict[int, int]:
        return self.log.committed


class KafkaSource:
    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self.admin = AdminClient({"bootstrap.servers": settings.kafka})
        self.admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "-1"})])[name].result(PATIENCE)
        self._producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 1})

    def reader(self) -> KafkaReader:
        return KafkaReader(Log(self.name), "reader", self.settings)

    def append(self, partition: int, *values: str) -> None:
        for value in values:
            self._producer.produce(self.name, value, "k", partition=partition, headers=[("ce_id", value.encode())])
        assert self._producer.flush(20) == 0

    def transaction(self, *values: str, commit: bool) -> None:
        name = uuid.uuid4().hex
        producer = Producer({"bootstrap.servers": self.settings.kafka, "transactional.id": name, "linger.ms": 1})
        producer.init_transactions(30)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, value, "k", partition=0, headers=[("ce_id", value.encode())])
        assert producer.flush(20) == 0
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)

    def trim(self, partition: int, before: int) -> None:
        for future in self.admin.delete_records([TopicPartition(self.name, partition, before)]).values():
            future.result(PATIENCE)

    def committed(self) -> dict[int, int]:
        group = group_id(self.settings.environment, "reader")
        request = [ConsumerGroupTopicPartitions(group, [TopicPartition(self.name, number) for number in (0, 1)])]
        found = self.admin.list_consumer_group_offsets(request)[group].result(PATIENCE).topic_partitions
        return {part.partition: part.offset for part in found if part.offset >= 0}


class Member:
    """An open reader and everything that its polls brought."""

    def __init__(self, reader: LogReader) -> None:
        self.reader = reader
        self.records: list[Record] = []
        self.held: set[int] = set()
        self.ends: dict[int, int] = {}
        self.batches: list[Batch] = []
        reader.open()

    def poll(self, limit: int = 1000, timeout: float = 0.1) -> Batch:
        batch = self.reader.poll(timeout, limit)
        self.batches.append(batch)
        self.held = (self.held - set(batch.revoked)) | set(batch.assigned)
        for part in batch.parts:
            self.records += part.records
            if part.next_offset:
                self.ends[part.partition] = part.next_offset
        return batch

    def wait(self, condition: Callable[[], object], limit: int = 1000) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.batches[-5:]
            self.poll(limit)

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records if record.partition == partition]
