"""Reading the log without being a member of any group: what a worker asks about records that it is not reading just
now, and what people ask. ``assign`` instead of ``subscribe`` and no commit: it takes no partition from a worker and
moves no committed offset.

Non-obvious: questions about offsets are asked here, never over the group's consumer. A broker answers one
connection's requests in turn, and a consumer at the log's end always has a fetch waiting there: each question
would wait behind it, up to half a second, and with it the worker.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logsync.core.cloudevents import CLOUD_EVENTS
from logsync.core.codec import Codec
from logsync.core.event import Fault, Record
from logsync.errors import ConfigError, LogUnavailable
from logsync.log import closing, faults
from logsync.log.admin import failure
from logsync.log.config import LastError, build, consumer_config
from logsync.settings import Settings

Progress = Callable[[int, int], None]
"""Called while a scan goes on with the offsets read so far and the offsets there are."""

ANSWER = 10.0
"""Seconds that Kafka may take to answer a question about the log."""
_FIRST_TRY = 0.5  # seconds until a question is put again; twice as long each time
_TICK = 0.1  # seconds between two calls of ``between`` while Kafka sends nothing
# The last: the client gives a broker up that has gone, and with it what it was asked (seen: one of three killed).
_STALE = (KafkaError._TIMED_OUT, KafkaError._UNKNOWN_PARTITION, KafkaError._TRANSPORT, KafkaError._DESTROY_BROKER)
_SILENCE = 3.0  # seconds of a range until it is asked what Kafka sends; and how long that may take
_BATCH = 1_000  # records between two calls of ``between``; a few milliseconds
_BEFORE_MS, _AFTER_MS = 60_000, 600_000  # how far a record's timestamp may stray from the time in its event's id


class Span(NamedTuple):
    """The offsets of one partition: ``low`` is the first that is still there, ``high`` the next to be written."""

    low: int
    high: int


class Lookup:
    """Read-only access to one topic. Connects with the first question; belongs to one thread.

    ``timeout`` in seconds bounds every question to the brokers, and the silence of a range that is read; a range may
    take as many of them as it needs while records come. Every method raises LogUnavailable when Kafka does not
    answer, ConfigError when the topic is not there or may not be read.
    ``between`` is called between the batches of a range; what it raises ends the reading of that range.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        codec: Codec = CLOUD_EVENTS,
        group_id: str = "logsync-lookup",
        timeout: float = ANSWER,
        between: Callable[[], None] = lambda: None,
        uncommitted: bool = False,
    ) -> None:
        """``uncommitted``: also what stands in transactions that are open, or were aborted."""
        self.topic = topic
        self._settings, self._codec, self._group = settings, codec, group_id
        self._timeout, self._between, self._uncommitted = timeout, between, uncommitted
        self._last = LastError()
        self._consumer: Consumer | None = None

    def __enter__(self) -> Lookup:
        return self

    def __exit__(self, *_: object) -> None:
        closing.close(self)

    def close(self) -> None:
        """Let go of the connection. Takes as long as librdkafka takes: see ``logsync.log.closing``."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def spans(self) -> dict[int, Span]:
        """First and end offset of every partition, the end as a reader of committed records sees it."""
        with self._answered():
            found = self._use().list_topics(self.topic, self._timeout).topics[self.topic]
            if found.error is not None:
                raise KafkaException(found.error)
        return {partition: self.bounds(partition) for partition in sorted(found.partitions)}

    def bounds(self, partition: int) -> Span:
        """The partition's first offset and its end, as a reader of committed records sees it."""
        consumer, place = self._use(), TopicPartition(self.topic, partition)
        deadline, patience = time.monotonic() + self._timeout, _FIRST_TRY
        with self._answered():
            while True:
                found = None
                limit = max(0.01, min(patience, deadline - time.monotonic()))
                try:
                    found = consumer.get_watermark_offsets(place, timeout=limit)
                except KafkaException as error:
                    if error.args[0].code() not in _STALE or time.monotonic() >= deadline:
                        raise
                if found is not None:
                    return Span(*found)
                if time.monotonic() >= deadline:
                    raise self._failure(None)
                patience *= 2
                # It asks the broker that led when the metadata were read. If that one has died, it does so for as long
                # as it is dead, though another leads by now (seen); and where there was no leader for a while, it knows
                # of no partition and asks nobody (seen). Newer metadata come from any broker.
                with suppress(KafkaException):
                    consumer.list_topics(self.topic, limit)
                time.sleep(_TICK)

    def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """What ``group_id`` committed to Kafka; a partition without a commit is left out."""
        with self._answered():
            asked = [TopicPartition(self.topic, partition) for partition in partitions]
            try:
                answer = self._use().committed(asked, self._timeout)
            except KafkaException:
                told = self._use().poll(0)  # a refusal to name the group's coordinator comes here alone
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
        return next(self.read(partition, max(offset, span.low), span.high), None)

    def at(self, partition: int, offset: int) -> Record | None:
        """The record that stands at ``offset``, or None when there is none."""
        first = self.first_at(partition, offset)
        return first if first is not None and first.offset == offset else None

    def id_at(self, partition: int, offset: int) -> str | Fault | None:
        """The event id at ``offset``, None if no record with an id stands there, or why that cannot be read."""
        for record in self.read(partition, offset, offset + 1):
            return record.fault or self.id_of(record)
        return None

    def id_of(self, record: Record) -> str | None:
        """The event id of this record, None if it has none that can be read."""
        if record.fault is not None:
            return None
        place = f"{self.topic}/{record.partition}/{record.offset}"
        return self._codec.id_of(record.headers, record.value, place)

    def scan(self, *, progress: Progress, spans: Mapping[int, Span] | None = None) -> Iterator[Record]:
        """All records of ``spans`` (default: the log as it is now), partition by partition in log order."""
        spans = self.spans() if spans is None else spans
        total = sum(span.high - span.low for span in spans.values())
        done = 0
        for partition, span in spans.items():
            for count, record in enumerate(self.read(partition, span.low, span.high), 1):
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
        for spans in (self._around(event_id), None):
            scanned = self.scan(progress=progress, spans=spans)
            found = [record for record in scanned if self.id_of(record) == event_id]
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
            answer = self._use().offsets_for_times(asked, self._timeout)
        return {found.partition: found.offset if found.offset >= 0 else spans[found.partition].high for found in answer}

    def read(self, partition: int, start: int, stop: int, *, whole: bool = False) -> Iterator[Record]:
        """The records in [start, stop). Ends at ``stop`` or at the partition's end, whichever is first.

        Where nothing can be read stands one record with a ``fault``, and the reading goes on behind that. # L6
        It takes as long as it needs while Kafka goes on sending; memory is bounded by what a consumer prefetches.
        Raises LogUnavailable, also in the middle; with ``whole``, if the partition ends before ``stop``.
        """
        while start < stop:
            for record in self._stretch(partition, start, stop, whole=whole):
                yield record
                if record.offset == stop - 1:
                    return  # what stands behind it may not be there yet
                if record.fault is not None and record.fault.last is not None:
                    start = record.fault.last + 1
                    break
            else:
                return

    def _stretch(self, partition: int, start: int, stop: int, *, whole: bool) -> Iterator[Record]:
        """``read`` up to the first place where nothing can be read, which is told as its last record."""
        consumer, following, told, refusals = self._use(), start, start, 0
        with self._answered():
            consumer.assign([TopicPartition(self.topic, partition, start)])
            try:
                heard, asked = time.monotonic(), False
                while time.monotonic() - heard < self._timeout:
                    self._between()
                    first: Any = consumer.poll(_TICK)
                    # consume() waits for its whole timeout unless it is full, so it only collects what is here.
                    messages = [] if first is None else [first, *consumer.consume(_BATCH - 1, 0)]
                    for message in messages:
                        error = message.error()
                        if error is None:
                            if message.offset() >= stop:
                                return
                            yield faults.record_of(message)
                            following = message.offset() + 1
                            continue
                        code = error.code()
                        if code == KafkaError._PARTITION_EOF:
                            # consumer_config turns it on: the end of a range without records (markers, aborted) is
                            # told, not waited for.
                            if whole and (end := message.offset()) < stop:
                                raise LogUnavailable(f"{self.topic}: partition {partition} ends at {end} for now")
                            return
                        if code in _REFUSED:
                            raise KafkaException(error)
                        refusals += code in faults.REFUSED
                        if code in faults.BROKEN or refusals >= faults.REFUSALS:
                            consumer.unassign()
                            last = self._last_of(partition, message.offset(), following, code)
                            yield Record(partition, following, None, None, [], fault=Fault(faults.why(error), last))
                            return
                        # The client goes on by itself; silence in the end is the error. Whether its group may be used
                        # does not matter: nothing is asked of it.
                    if following > told:
                        # After the yields: the caller may have taken its time.
                        told, heard, asked = following, time.monotonic(), False
                    if not messages and not asked and time.monotonic() - heard > _SILENCE:
                        asked = True
                        if self._makes_nothing_of(partition, following):
                            yield Record(
                                partition, following, None, None, [], fault=Fault(faults.MADE_NOTHING, following)
                            )
                            return
            finally:
                consumer.unassign()
        raise self._failure(None)

    def _last_of(self, partition: int, base: int, offset: int, code: int) -> int:
        """The last offset of the broken batch that begins at ``base`` and holds ``offset``.

        Nothing names it, but reading from any of its offsets fails with the same base. An error that tells none is
        taken to be about ``offset`` alone: to search on could jump over good records between two bad ones.
        """
        if code not in faults.BROKEN or base > offset:
            return offset
        bad, step, good = offset, 1, self.bounds(partition).high
        while bad + step < good and self._base_at(partition, bad + step) == base:
            bad, step = bad + step, 2 * step
        good = min(good, bad + step)
        while good - bad > 1:
            middle = (bad + good) // 2
            if self._base_at(partition, middle) == base:
                bad = middle
            else:
                good = middle
        return bad

    def _base_at(self, partition: int, offset: int) -> int | None:
        """Where the broken batch at ``offset`` begins; None if nothing is told that is wrong there."""
        # A client of its own for each question. Seen: after a bad checksum a client goes on at an offset made of
        # damaged bytes, is refused there and begins again at the log's start, also under the next assignment.
        config = {**consumer_config(self._settings, self._group), "auto.offset.reset": "error", "fetch.wait.max.ms": 10}
        consumer = build(Consumer, {**config, "error_cb": self._last})
        consumer.assign([TopicPartition(self.topic, partition, offset)])
        try:
            # Silence is no answer on a busy machine: taken for one, a broken batch would be told in pieces.
            deadline = time.monotonic() + self._timeout
            while time.monotonic() < deadline:
                self._between()
                message: Any = consumer.poll(_TICK)
                error = None if message is None else message.error()
                if message is not None and (error is None or error.code() == KafkaError._PARTITION_EOF):
                    return None
                if error is not None and error.code() in faults.BROKEN:
                    return int(message.offset())
        finally:
            closing.close(consumer)
        return None

    def _makes_nothing_of(self, partition: int, offset: int) -> bool:
        """Does Kafka send what stands at ``offset``, and the client make nothing of it? Asked after a silence.

        By a client of its own, because statistics that nobody takes pile up.
        """
        seen = faults.Progress(self.topic, partition)
        settings = {"statistics.interval.ms": seen.EVERY, "fetch.wait.max.ms": 10}
        config = {**consumer_config(self._settings, self._group), **settings, "error_cb": self._last}
        consumer = build(lambda given: Consumer({**given, "stats_cb": seen}), config)
        try:
            consumer.assign([TopicPartition(self.topic, partition, offset)])
            deadline = time.monotonic() + _SILENCE
            while time.monotonic() < deadline and not seen.stands_still:
                self._between()
                if consumer.poll(_TICK) is not None:
                    return False
        finally:
            closing.close(consumer)
        return seen.stands_still

    def _use(self) -> Consumer:
        if self._consumer is None:
            config = consumer_config(self._settings, self._group)
            # At the end of a range nothing waits for more, and the next question not behind such a fetch.
            config = {**config, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
            if self._uncommitted:
                config["isolation.level"] = "read_uncommitted"
            self._consumer = build(Consumer, {**config, "error_cb": self._last})
        return self._consumer

    def _failure(self, error: KafkaError | None) -> Exception:
        # Records want Read; of the group a lookup asks only what it committed, which is Describe.
        of_group = error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        right = "Describe" if of_group else "Read"
        return failure(self.topic, error, self._last, self._settings.kafka, right, group=self._group)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._failure(error.args[0]) from error


_REFUSED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
