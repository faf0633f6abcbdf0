"""The Kafka edge of a source: a producer for one term, and a reader of all partitions that sees every record.

Each term has a producer of its own. What an earlier one still has on its way may arrive: it carries a smaller term.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from logsync.core.codec import Encoded
from logsync.core.event import Record
from logsync.core.log import Log
from logsync.core.position import LogIdentity
from logsync.errors import AppendRejected, LogsyncError, LogUnavailable
from logsync.log import closing, faults
from logsync.log.admin import Kafka
from logsync.log.config import LastError, build, consumer_config, producer_config
from logsync.log.facts import check_topic, tell
from logsync.log.lookup import Lookup
from logsync.log.sending import UNFIT, partition_of
from logsync.settings import Settings
from logsync.sources.channel import Failure, Stretch

log = logging.getLogger("logsync.relay")
_GROUP = "logsync-relay"  # asked of by librdkafka; nothing is committed, and no partition is taken from anybody
_AT_ONCE = 2_000  # messages of one look


class KafkaChannel:
    """A Channel on the topic of ``log``. Its methods keep that contract."""

    def __init__(self, log: Log, settings: Settings) -> None:
        self._log, self._settings = log, settings
        self._last = LastError()
        self._asking: Kafka | None = None
        self._lookup: Lookup | None = None
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._failure: Failure | None = None
        self._partitions = 0
        self._places: dict[int, int] = {}
        self._warned = False

    def open(self) -> LogIdentity:
        self.close()
        topic, settings = self._log.topic, self._settings
        # Kept over all terms, as a relay that waits for another one tries again and again.
        self._asking = self._asking or Kafka(settings)
        self._partitions = self._asking.writable(topic).partitions
        facts = self._asking.describe(topic)
        findings = check_topic(facts, settings.accept_finite_retention)  # L5
        if not self._warned:
            tell(findings, log)
        self._warned = True
        self._lookup = Lookup(settings, topic, codec=self._log.codec, group_id=_GROUP, uncommitted=True)
        self._failure = None
        return facts.identity

    def identity(self) -> LogIdentity:
        return self._kafka().identify(self._log.topic)

    def bounds(self) -> dict[int, tuple[int, int]]:
        low = self._kafka().offsets(self._log.topic, self._partitions, "first")
        high = self._kafka().offsets(self._log.topic, self._partitions, "end")
        return {partition: (low[partition], high[partition]) for partition in low}

    def records(self, partition: int, start: int, stop: int) -> Iterator[Record]:
        assert self._lookup is not None
        return self._lookup.read(partition, start, stop, whole=True)

    def partition(self, key: bytes) -> int:
        return partition_of(key, self._partitions)

    def send(self, partition: int, encoded: Encoded) -> bool:
        producer = self._producer
        if producer is None:
            config = {"linger.ms": 1, **producer_config(self._settings), "error_cb": self._last}
            config["delivery.report.only.error"] = True  # what is in the log is read back there  # U2
            producer = self._producer = build(Producer, config)
        try:
            producer.produce(
                self._log.topic, encoded.value, encoded.key, partition,
                on_delivery=self._reported, headers=encoded.headers,  # type: ignore[arg-type]
            )  # fmt: skip
        except BufferError:
            producer.poll(0)
            return False
        except KafkaException as error:
            if error.args[0].code() in UNFIT:
                raise AppendRejected(f"Kafka refuses its record: {error.args[0].str()}") from None
            raise LogUnavailable(f"{self._log.topic}: {error.args[0].str()}{self._last}") from None
        return True

    def failure(self) -> Failure | None:
        if self._producer is not None:
            self._producer.poll(0)
        return self._failure

    def follow(self, places: Mapping[int, int]) -> None:
        config = consumer_config(self._settings, _GROUP)
        config = {**config, "isolation.level": "read_uncommitted", "error_cb": self._last}
        self._consumer = build(Consumer, config)
        self._places = dict(places)
        self._consumer.assign([TopicPartition(self._log.topic, *place) for place in places.items()])

    def read_back(self, timeout: float) -> list[Stretch]:
        assert self._consumer is not None
        if self._producer is not None:
            self._producer.poll(0)
        found: dict[int, list[Record]] = defaultdict(list)
        try:
            messages = self._consumer.consume(_AT_ONCE, timeout)
        except KafkaException as refused:
            raise self._unreadable(refused.args[0]) from None
        for message in messages:
            error = message.error()
            if error is None:
                record = faults.record_of(message)
                found[record.partition].append(record)
            elif error.code() == KafkaError._PARTITION_EOF:
                number, end = message.partition(), message.offset()
                if number is not None and end is not None and end > self._places[number]:
                    found[number] += []  # markers of transactions are offsets, too
                    self._places[number] = max(self._places[number], end)
            elif error.code() in faults.BROKEN or error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise self._unreadable(error)
        for number, records in found.items():
            if records:
                self._places[number] = max(self._places[number], records[-1].offset + 1)
        return [Stretch(number, records, self._places[number]) for number, records in found.items()]

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge(in_queue=True, in_flight=False, blocking=False)
        used = [each for each in (self._consumer, self._lookup) if each is not None]
        self._producer = self._consumer = self._lookup = None
        if used:
            closing.close(*used)

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is None or self._failure is not None:
            return
        kind = AppendRejected if error.code() in UNFIT else LogUnavailable
        text = f"{self._log.topic}: a record was not acknowledged: {error.str()}{self._last}"
        self._failure = Failure(kind(text), message.partition() or 0)

    def _unreadable(self, error: KafkaError) -> LogsyncError:
        return LogUnavailable(f"{self._log.topic}: what was sent cannot be read back: {error.str()}{self._last}")

    def _kafka(self) -> Kafka:
        assert self._asking is not None
        return self._asking
