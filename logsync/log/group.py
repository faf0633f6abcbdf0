"""The Kafka edge of a worker: one member of a consumer group, as logsync.log.contract asks for.

Non-obvious: a newly assigned partition is *not* handed to the client in the rebalance callback. The callback
only notes it; ``start`` assigns it with the offset that the store named. Until then the member holds it in the
group and fetches nothing, for as long as the store is down. ``stop`` uses the same: un-assigned locally, the
partition stays ours in the group, its prefetched records are dropped, and ``start`` begins cleanly.

A range of the log that is looked through may be long. Meanwhile the group is served by polls like any other; the
few records that these bring are kept for the next ``poll``, and so is what one poll finds too large for one batch.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logsync.core.codec import LOOK_BACK, EventTypes, ids_of
from logsync.core.event import Fault, Record
from logsync.core.position import LogIdentity, Position
from logsync.errors import LogUnavailable, PositionGap
from logsync.log.admin import Kafka, denied
from logsync.log.contract import BATCH_BYTES, Batch, Part
from logsync.log.facts import check_topic, tell
from logsync.log.faults import BROKEN, REFUSED, Quiet, without_headers
from logsync.log.ids import IdWindow
from logsync.log.lookup import ANSWER, Lookup
from logsync.log.member import FENCED, PASSING, Member, Membership
from logsync.settings import Settings

log = logging.getLogger("logsync.log")
_SERVE_EVERY = 0.5
"""Seconds between two looks after the group while a long range is read. Far below any max.poll.interval.ms, and how
long a rebalance of the whole group may wait for this member."""
_WINDOWS = 8  # partitions whose ids are remembered: a few megabytes each
_AGAIN = 5  # errors at one offset, which another client reads, until it counts as unreadable for this worker
_OWED_EVERY = 0.5
"""Seconds between two attempts to make a commit that failed."""


class KafkaReader:
    """Member of the group ``logsync.<environment>.<sink>`` on one topic."""

    def __init__(
        self, log: EventTypes, sink: str, settings: Settings, membership: Membership = Membership.DYNAMIC
    ) -> None:
        self._log, self.topic = log, log.topic
        self.group = group_id(settings.environment, sink)
        self._member = Member(settings, self.topic, self.group, membership)
        self._fenced = False  # another member has our instance id
        self._settings = settings
        self._kafka: Kafka | None = None
        self._warned = False
        self._held: set[int] = set()  # assigned by the group
        self._started: set[int] = set()  # and being read
        self._assigned: list[int] = []  # news for the next batch
        self._revoked: list[int] = []
        self._owed: dict[int, Position] = {}  # commits to be sent
        self._sent: dict[int, Position] = {}  # the one request that is under way; see _send
        self._send_at = 0.0
        self._early: list[Any] = []  # of polls before: brought while a scan served the group, or too much for a batch
        self._following: dict[int, int] = {}  # of what is being read: the next offset to be returned
        self._quiet = Quiet()
        self._again: dict[int, tuple[int, int]] = {}  # where an error came that another client did not meet; how often
        self._windows: dict[int, IdWindow] = {}  # of the partitions in which retried appends were looked up last
        self._serve_at = 0.0
        self._interrupted = False
        self._consumer: Consumer | None = None
        self._lookup = Lookup(settings, log.topic, group_id=self.group + ".lookup", between=self._serve)

    def open(self) -> None:
        self._kafka = Kafka(self._settings, timeout=ANSWER)
        self._join()

    def _join(self) -> None:
        self._consumer = self._member.join(
            on_commit=self._on_commit, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def close(self) -> None:
        if self._consumer is None:
            return
        self._sent, self._send_at = {}, 0.0  # the last commits follow at once; closing waits for them
        self._send()
        self._owed, self._sent = {}, {}  # and none of them is made again
        self._member.close(self._consumer, self._lookup)
        self._consumer = None

    def interrupt(self) -> None:
        self._interrupted = True

    # The callbacks run inside poll. They note what happened and do no work: a slow callback loses the membership.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign([])
        if consumer is not self._consumer:
            return  # it was fenced, and is being closed
        self._held.update(part.partition for part in partitions)
        self._assigned += [part.partition for part in partitions]

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {part.partition for part in partitions}
        # A callback that takes nothing away makes the client take away all of them by itself, and it raises if one is
        # not being read: seen when a waiting worker lost its partition. An empty list counts as having done it.
        consumer.incremental_unassign([])
        if consumer is not self._consumer:
            return
        self._drop(consumer, gone)
        self._held -= gone
        for number in gone:
            self._owed.pop(number, None)
        self._revoked += sorted(gone)
        self._assigned = [number for number in self._assigned if number not in gone]

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Another member may own them already. Nothing of them is committed any more: commits happen only in
        # Worker.step, after poll, for partitions that it still knows.
        log.warning("partitions lost", extra={"group": self.group, "partitions": [p.partition for p in partitions]})
        self._on_revoke(consumer, partitions)

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        sent, self._sent = self._sent, {}
        if error is not None and error.code() in FENCED:
            self._fenced = True  # told before the heartbeat would: until then both apply, and run into each other
            return
        for part in partitions:
            if (error or part.error) and part.partition in self._held & sent.keys():
                # Made again: the next event might repair it, but on an idle partition there is none.
                self._owed.setdefault(part.partition, sent[part.partition])
                self._send_at = time.monotonic() + _OWED_EVERY
        if error is not None and error.code() not in PASSING:
            log.warning("commit failed; the store's position is not affected", extra={"error": error.str()})
        self._send()

    def _anew(self) -> None:
        """Be another member, without an instance id: whoever has ours has our partitions, too. # F3"""
        fenced, self._consumer = self._use(), None
        self._member.fenced(fenced)
        self._revoked += sorted(self._held)
        self._held, self._started = set(), set()
        self._assigned, self._early, self._owed, self._sent, self._fenced = [], [], {}, {}, False
        self._join()

    def poll(self, timeout: float, limit: int) -> Batch:
        if self._fenced:
            self._anew()
        consumer = self._use()
        self._send()
        messages, self._early = self._early, []
        if not messages and (first := consumer.poll(timeout)) is not None:
            messages = [first]
        if messages:
            # consume() waits for its whole timeout unless it is full, so it only collects what is already here: F2. It
            # serves the group as well, and is called for that also where there is enough.
            room = limit - len(messages) if sum(map(len, messages)) < BATCH_BYTES else 1
            messages += consumer.consume(max(1, room), 0)
            count = min(limit, max(1, bisect_right(list(accumulate(map(len, messages))), BATCH_BYTES)))
            # In both calls a partition may have gone away; started again, it must not find what is here of it. What the
            # client says of itself has no partition.
            ours = {*self._started, None}
            self._early = [message for message in messages[count:] if message.partition() in ours]
            messages = messages[:count]
        self._serve_at = time.monotonic() + _SERVE_EVERY
        records: dict[int, list[Record]] = {}
        ends: dict[int, int] = {}
        told: dict[int, str] = {}  # what the client says of it
        broken: dict[int, int] = {}  # how many records of a partition came before what cannot be read
        for message in messages:
            partition = message.partition()
            if message.error() is not None:
                if message.error().code() in BROKEN | REFUSED and partition in self._started:
                    broken.setdefault(partition, len(records.get(partition, ())))
                    told.setdefault(partition, message.error().str())
                elif partition not in broken:
                    self._note(message, ends)
                continue
            try:
                # Not by Record(...): its generated __new__ is a call more, and takes twice as long.
                record = tuple.__new__(Record, (
                    partition, message.offset(), message.key(), message.value(), message.headers() or [],
                    message.leader_epoch(), message.timestamp()[1], None,
                ))  # fmt: skip
            except Exception as error:  # noqa: BLE001 - the client's own, whatever it is
                record = without_headers(message, error)
            if partition in records:
                records[partition].append(record)
            else:
                records[partition] = [record]
        for partition, count in broken.items():
            # What came after the error is noise: the checksum's may have been of a batch that is simply left out. # L6
            del records.setdefault(partition, [])[count:]
            ends.pop(partition, None)
        # A partition that was revoked while this batch was collected is not started any more.
        for partition in (records.keys() | ends.keys()) & self._started:
            self._following[partition] = max(
                records[partition][-1].offset + 1 if records.get(partition) else 0,
                ends.get(partition, self._following[partition]),
            )
        for partition in broken.keys() & self._started:
            self._drop(consumer, {partition})  # what the client fetches after an error is noise
            at = self._following[partition]
            if self._end_with_fault(partition, records, ends):
                continue
            self._again[partition] = (
                at,
                self._again[partition][1] + 1 if self._again.get(partition, (-1,))[0] == at else 1,
            )
            if self._again[partition][1] < _AGAIN:
                log.warning("read again", extra={"partition": partition, "next": at})
                self._read_from(partition, at)
            else:  # another client reads it, and this one never does: as little as nobody
                fault = Fault(f"a batch that this worker cannot read, and another client can ({told[partition]})", at)
                self._fault(partition, Record(partition, at, None, None, [], fault=fault), records, ends)
        for partition in self._quiet.due(self._started - records.keys() - ends.keys(), self._following):
            with suppress(LogUnavailable):  # a slow Kafka, and not a broken log
                self._end_with_fault(partition, records, ends)
        seen = sorted((records.keys() | ends.keys()) & self._started)
        parts = [Part(number, records.get(number, []), ends.get(number, 0)) for number in seen]
        batch = Batch(parts, self._assigned, self._revoked, bool(self._early))
        self._assigned, self._revoked = [], []
        return batch

    def _end_with_fault(self, partition: int, records: dict[int, list[Record]], ends: dict[int, int]) -> bool:
        """Look by another client at what comes next. If that cannot read it either, the part ends with that fault."""
        at = self._following[partition]
        record = next(self._lookup.read(partition, at, self._lookup.bounds(partition).high), None)
        if record is None or record.fault is None or record.fault.last is None:
            return False
        self._fault(partition, record, records, ends)
        return True

    def _fault(self, partition: int, record: Record, records: dict[int, list[Record]], ends: dict[int, int]) -> None:
        """The part ends with this; what follows is read from behind it."""
        assert record.fault is not None
        assert record.fault.last is not None
        records.setdefault(partition, []).append(record)
        ends[partition] = self._following[partition] = record.fault.last + 1
        self._read_from(partition, record.fault.last + 1)

    def _read_from(self, partition: int, offset: int) -> None:
        self._drop(self._use(), {partition})
        self._use().incremental_assign([TopicPartition(self.topic, partition, offset)])
        self._started.add(partition)

    def _note(self, message: Any, ends: dict[int, int]) -> None:
        error = message.error()
        partition = message.partition()
        if error.code() in FENCED:
            self._fenced = True  # what the client has brought before that is whole; the next poll begins anew
        elif error.code() == KafkaError._PARTITION_EOF:
            ends[partition] = message.offset()
        elif error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self._started:
            (low, high), following = self.bounds(partition), self._following[partition]
            if low <= following <= high < (message.offset() or 0):  # it has none where only the epoch differs
                # Where the client went by the noise of a damaged batch; told late, as no restart takes it back.
                self._read_from(partition, following)
                return
            raise PositionGap(
                f"{self.topic}, partition {partition}: the next offset {message.offset()} is outside the log, which "
                f"holds {low} to {high}: {error.str()}",
                fix="`logsync status` shows where each sink stands; `logsync rebuild SINK --yes` makes the store "
                "equal to the log as it is now",
            )
        elif refused := denied(error, self.topic, self._settings.kafka, "Read", self.group):
            raise refused  # the client would ask again without end
        else:  # the client recovers by itself; a topic that is gone is found by the identity check
            log.warning("kafka", extra={"error": error.str(), "partition": partition})

    def start(self, position: Position) -> None:
        if position.partition not in self._held:
            return  # revoked since; the next batch says so
        self._drop(self._use(), {position.partition})
        self._use().incremental_assign([self._place(position)])
        self._started.add(position.partition)
        self._following[position.partition] = position.next_offset
        self._windows.pop(position.partition, None)  # the log may have lost what it was read from

    def stop(self, *partitions: int) -> None:
        self._drop(self._use(), set(partitions) or self._started)

    def _drop(self, consumer: Consumer, partitions: set[int]) -> None:
        """Stop reading these, and forget their records that are here: the next ``start`` may be before them."""
        reading = self._started & partitions
        if reading:
            consumer.incremental_unassign([TopicPartition(self.topic, number) for number in reading])
            self._started -= reading
            self._early = [message for message in self._early if message.partition() not in reading]

    def commit(self, position: Position) -> None:
        if position.partition in self._held:
            self._owed[position.partition] = position
            self._send()

    def _send(self) -> None:
        """Send the owed commits, one request at a time: a later one of the same partition takes the place of one
        that waits. Small plans come faster than a busy broker takes commits; heartbeats would queue up behind
        them, and the group would take the worker for dead."""
        if not self._owed or self._sent or time.monotonic() < self._send_at:
            return
        self._sent, self._owed = self._owed, {}
        try:
            self._use().commit(offsets=[self._place(position) for position in self._sent.values()], asynchronous=True)
        except KafkaException as error:
            self._owed, self._sent = self._sent, {}
            self._send_at = time.monotonic() + _OWED_EVERY
            log.warning("commit failed; the store's position is not affected", extra={"error": str(error)})

    def _place(self, position: Position) -> TopicPartition:
        if position.leader_epoch is None:
            return TopicPartition(self.topic, position.partition, position.next_offset)
        # The broker can then tell a log that lost its tail from one that never had it (KIP-320). # L2
        return TopicPartition(self.topic, position.partition, position.next_offset, leader_epoch=position.leader_epoch)

    def check(self) -> None:
        findings = check_topic(self._cluster().describe(self.topic), self._settings.accept_finite_retention)
        if not self._warned:
            tell(findings, log)
        self._warned = True

    def identity(self) -> LogIdentity:
        return self._cluster().identify(self.topic)

    def bounds(self, partition: int) -> tuple[int, int]:
        found = self._lookup.bounds(partition)
        self._quiet.ends[partition] = found.high
        return found

    def written(self, partitions: Collection[int]) -> dict[int, int]:
        ends = self._cluster().offsets(self.topic, max(partitions) + 1, "end") if partitions else {}
        return {partition: ends[partition] for partition in partitions}

    def id_at(self, partition: int, offset: int) -> str | Fault | None:
        return self._lookup.id_at(partition, offset)

    def records(
        self, partition: int, start: int, stop: int, meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[Record]:
        # A leader that is new, or is one no more, may show less than what was polled: what stands in the rest would
        # count as not there. # A1
        for number, record in enumerate(self._lookup.read(partition, start, stop, whole=True)):
            if number % 1_000 == 0:
                meanwhile()
            yield record

    def find(
        self,
        partition: int,
        ids: Collection[str],
        start: int,
        stop: int,
        meanwhile: Callable[[], None] = lambda: None,
        unread: Callable[[Record], None] = lambda _: None,
    ) -> dict[str, int]:
        def read(start: int, stop: int) -> Iterator[tuple[int, str | None]]:
            return ids_of(self._log, self.records(partition, start, stop, meanwhile), unread)

        window = self._windows.pop(partition, None) or IdWindow(LOOK_BACK)
        self._windows[partition] = window  # the newest is the last
        if len(self._windows) > _WINDOWS:
            self._windows.pop(next(iter(self._windows)))
        return window.find(ids, start, stop, read)

    def _serve(self) -> None:
        """Stay in the group while a range is read: called every few milliseconds of it.

        The records being looked up belong to a batch that is not applied yet. If a partition goes away now, its new
        owner applies them, so the caller must not: LogUnavailable makes it drop what it planned and begin where the
        stores are.
        """
        if self._interrupted:
            raise LogUnavailable(f"{self.topic}: reading a range of the log was interrupted: the worker ends")
        if time.monotonic() >= self._serve_at:
            self._serve_at = time.monotonic() + _SERVE_EVERY
            message = self._use().poll(0)
            if message is not None:
                self._early.append(message)
        if self._revoked:
            raise LogUnavailable(f"{self.topic}: partitions {self._revoked} were revoked while the log was read")

    def _cluster(self) -> Kafka:
        if self._kafka is None:
            raise RuntimeError("the reader is not open")
        return self._kafka

    def _use(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError("the reader is not open")
        return self._consumer


def group_id(environment: str, sink: str) -> str:
    """The sink's consumer group. The environment is part of it: a clone is another group. # P3"""
    return f"logsync.{environment}.{sink}"
