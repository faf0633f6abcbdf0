"""Looking into the log without being a member of any group: for people's questions, never for applying.

``assign`` instead of ``subscribe`` and no commit: a lookup takes no partition from a worker and moves no
committed offset.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logsync.core.codec import id_of
from logsync.core.event import Record
from logsync.errors import ConfigError
from logsync.log import closing
from logsync.log.config import LastError, build, consumer_config
from logsync.log.topic import failure
from logsync.settings import Settings

Progress = Callable[[int, int], None]
"""Called while a scan goes on with the offsets read so far and the offsets there are."""

_BATCH = 2_000
_BEFORE_MS, _AFTER_MS = 60_000, 600_000  # how far a record's timestamp may stray from the time in its event's id


class Span(NamedTuple):
    """The offsets of one partition: ``low`` is the first that is still there, ``high`` the next to be written."""

    low: int
    high: int


class Lookup:
    """Read-only access to one topic. Opens a connection; use it in a ``with``.

    ``timeout`` in seconds bounds every question to the brokers; a scan may take as many of them as it needs
    while it advances. Every method raises LogUnavailable when Kafka does not answer, ConfigError when the
    topic is not there.
    """

    def __init__(
        self, settings: Settings, topic: str, *, group_id: str = "logsync-lookup", timeout: float = 10.0
    ) -> None:
        self.topic = topic
        self._servers = settings.kafka
        self._group = group_id
        self._timeout = timeout
        self._last = LastError()
        self._consumer = build(Consumer, {**consumer_config(settings, group_id), "error_cb": self._last})

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, *_: object) -> None:
        closing.close(self._consumer)

    def spans(self) -> dict[int, Span]:
        """First and end offset of every partition, the end as a reader of committed records sees it."""
        with self._answered():
            found = self._consumer.list_topics(self.topic, self._timeout).topics[self.topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return {
                partition: Span(
                    *self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), self._timeout)
                )
                for partition in sorted(found.partitions)
            }

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """What ``group_id`` committed to Kafka; a partition without a commit is left out."""
        with self._answered():
            asked = [TopicPartition(self.topic, partition) for partition in partitions]
            try:
                answer = self._consumer.committed(asked, self._timeout)
            except KafkaException:
                told = self._consumer.poll(0)  # a refusal to name the group's coordinator comes here alone
                if told is None or told.error() is None:
                    raise
                raise KafkaException(told.error()) from None
        return {found.partition: found.offset for found in answer if found.offset >= 0}

    def first_at(self, partition: int, offset: int) -> Record | None:
        """The first record at or after ``offset``, or None when there is none. Offsets have holes."""
        spans = self.spans()
        if partition not in spans:
            raise ConfigError(f"{self.topic} has no partition {partition}; it has {', '.join(map(str, spans))}")
        span = spans[partition]
        return next(self._read(partition, max(offset, span.low), span.high), None)

    def at(self, partition: int, offset: int) -> Record | None:
        """The record that stands at ``offset``, or None when there is none."""
        first = self.first_at(partition, offset)
        return first if first is not None and first.offset == offset else None

    def id_at(self, partition: int, offset: int) -> str | None:
        """The event id at ``offset``, None if no record with an id stands there."""
        record = self.at(partition, offset)
        if record is None:
            return None
        return id_of(record.headers, record.value, f"{self.topic}/{partition}/{offset}")

    def scan(self, *, progress: Progress, spans: Mapping[int, Span] | None = None) -> Iterator[Record]:
        """All records of ``spans`` (default: the log as it is now), partition by partition in log order."""
        spans = self.spans() if spans is None else spans
        total = sum(span.high - span.low for span in spans.values())
        done = 0
        for partition, span in spans.items():
            count = 0
            for count, record in enumerate(self._read(partition, span.low, span.high), 1):
                yield record
                if count % _BATCH == 0:
                    progress(done + record.offset - span.low, total)
            done += span.high - span.low
            progress(done, total)

    def find(self, event_id: str, *, progress: Progress) -> list[Record]:
        """The records that carry this event id: none, one, or more when an append was retried. # A1

        A UUIDv7 says when it was made, so its surroundings are searched first. Only when it is not there is
        the whole log read: a record's timestamp may have been set by a broker or writer with another clock.
        """
        wanted = ("ce_id", event_id.encode())
        for spans in (self._around(event_id), None):
            found = [record for record in self.scan(progress=progress, spans=spans) if wanted in record.headers]
            if found:
                return found
        return []

    def _around(self, event_id: str) -> dict[int, Span]:
        """Where the log was written when this id was made; nowhere if the id does not tell."""
        try:
            parsed = uuid.UUID(event_id)
        except ValueError:
            return {}
        if parsed.version != 7:
            return {}
        made = parsed.int >> 80  # the first 48 bits: milliseconds since 1970
        spans = self.spans()
        low = self._offsets_at(spans, max(0, made - _BEFORE_MS))
        high = self._offsets_at(spans, made + _AFTER_MS)
        return {partition: Span(low[partition], max(low[partition], high[partition])) for partition in spans}

    def _offsets_at(self, spans: Mapping[int, Span], timestamp: int) -> dict[int, int]:
        """The first offset of every partition whose record is not older; the end if there is none."""
        with self._answered():
            asked = [TopicPartition(self.topic, partition, timestamp) for partition in spans]
            answer = self._consumer.offsets_for_times(asked, self._timeout)
        return {found.partition: found.offset if found.offset >= 0 else spans[found.partition].high for found in answer}

    def _read(self, partition: int, start: int, end: int) -> Iterator[Record]:
        """The records in ``[start, end)``. Ends at ``end`` or at the partition's end, whichever is first."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(self.topic, partition, start)])
        try:
            while True:
                with self._answered():
                    first = self._consumer.poll(self._timeout)
                    # consume() waits out its timeout unless it is full, so it only takes what is already here.
                    messages = [] if first is None else [first, *self._consumer.consume(_BATCH, 0)]
                if not messages:
                    raise failure(self.topic, None, self._last, self._servers)
                for message in messages:
                    error = message.error()
                    if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                        continue  # nothing is asked of the group: whoever may only read the topic may look
                    if error is not None:
                        # consumer_config turns this on: the end of a range without records (markers, aborted)
                        # is told, not waited for.
                        if error.code() == KafkaError._PARTITION_EOF:
                            return
                        raise failure(self.topic, error, self._last, self._servers, "Read")
                    record = _record(message)
                    if record.offset >= end:
                        return
                    yield record
                    if record.offset >= end - 1:
                        return
        finally:
            self._consumer.unassign()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise failure(self.topic, error.args[0], self._last, self._servers, group=self._group) from error


def _record(message: Any) -> Record:
    return Record(
        message.partition(), message.offset(), message.key(), message.value(), message.headers() or [],
        message.leader_epoch(), message.timestamp()[1],
    )  # fmt: skip
