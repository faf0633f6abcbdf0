"""Retries of parked events: what people asked for, what comes next, and as which plan. # K1

The worker asks for an attempt and its plan, applies the plan like any other, and reports the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import takewhile

from logsync.bookkeeping import Bookkeeper
from logsync.core.attempt import Attempt
from logsync.core.codec import Decode
from logsync.core.parked import GivenUp, Parked, given_up, name_of
from logsync.core.plan import Plan
from logsync.core.planning import plan_discard, plan_retry
from logsync.core.retries import Discard, RetryQueue, SequenceRetry, within
from logsync.core.sink import Sink
from logsync.errors import ConfigError, ParkingFull
from logsync.partition import Partition

WATCH_EVERY = 2.0
"""Seconds between two looks at the book, where people leave requests."""
RETRY_FOR = 1.0
"""Seconds of one turn of the loop that may go to parked events."""
RETRY_BYTES = 8_000_000
"""Bytes of records that one retry may carry; a single record may be larger."""


CarryOut = Callable[[Partition, Attempt, Callable[[], Plan]], Plan]
"""Makes a plan and applies it, which is the worker's part; returns it."""


@dataclass
class ParkedAttempt(Attempt):
    """The next events of one sequence, or those to be given up."""

    task: SequenceRetry | Discard = field(kw_only=True)
    entries: Sequence[Parked] = field(kw_only=True)


class ParkedRetries:
    """How parked events leave. Reads the store; only the worker applies."""

    def __init__(
        self,
        sink: Sink,
        books: Bookkeeper,
        decode: Decode,
        *,
        only_retry: bool,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._sink, self._books, self._decode = sink, books, decode
        self._only_retry, self._now, self._clock = only_retry, now, clock
        self._asked = 0  # the revision whose requests are queued; the book that is known may be newer
        self._watched_at = float("-inf")
        self._last = -1  # the partition that had its turn last
        self._retried_at = clock()  # when everything that waits was last tried unasked

    def resume(self, number: int) -> RetryQueue:
        """What the store has parked of this partition. Raises ConfigError if its sequences have other names there."""
        queue = RetryQueue(self._sink.store.sequences(number))
        if queue.waiting and not self._only_retry:
            self._check_sequences(number)
        return queue

    def _check_sequences(self, partition: int) -> None:
        """Raise ConfigError if ``sequence_by`` changed: later events would not wait behind what is parked. # I8

        Only one parked event is checked, so a rule that changed for some keys only is not noticed.
        """
        for entry in self._sink.store.parked(partition, limit=1):
            name = name_of(self._sink.sequence_by, entry.record)
            if name != entry.sequence:
                raise ConfigError(
                    f"sink {self._sink.name}: the event at partition {partition}, offset {entry.offset} is parked in "
                    f"sequence {entry.sequence!r}, which sequence_by now calls {name!r}: later events of it would be "
                    "applied before it",
                    fix=f"`logsync parked retry {self._sink.address} --all --yes` or `parked discard` first, or bring "
                    "the former sequence_by back",
                )

    def turn(
        self, read: Sequence[Partition], carry_out: CarryOut, may: Callable[[Partition], bool],
        stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Try parked events again, for a bounded time: what is new must not wait for all of it. # K1

        Releases that were interrupted are finished first, in all partitions and however long it takes. ``may``: those
        of this partition may be tried now.
        """
        began, last = self._clock(), self._last
        for partition in read:
            while partition.retries.urgent:
                self._next(partition, carry_out)
                if stopping():
                    return
        for partition in sorted(read, key=lambda each: (each.number <= last, each.number)):  # all get their turn
            self._last = partition.number
            while partition.retries.queue and may(partition):
                self._next(partition, carry_out)
                if stopping() or self._clock() - began >= RETRY_FOR:
                    return

    def _next(self, partition: Partition, carry_out: CarryOut) -> None:
        attempt = self.begin(partition)
        if attempt is not None:
            made = carry_out(partition, attempt, partial(self.plan, partition, attempt))
            self.applied(partition, attempt, made)

    def begin(self, partition: Partition) -> ParkedAttempt | None:
        """Begin the next attempt. None if nothing of the next sequence can be released now."""
        retries, store = partition.retries, self._sink.store
        if retries.discards and not retries.urgent:
            return self._give_up(partition, retries.discards[0])
        retry = retries.queue[0]
        entries = store.parked(partition.number, sequence=retry.sequence, limit=store.traits.parked_per_retry)
        # A replayable store parks before it moves: events at or after the position will be met again. Not yet.
        due = [entry for entry in entries if entry.offset < partition.stored.next_offset]
        if not entries:
            retries.empty(retry)
        if not due:
            self._through(partition)
            return None
        retries.known(retry, due[0])
        entries = within(due, RETRY_BYTES)
        self._record(partition.number, given_up(entries))  # the worker that marked them may have died after that
        return ParkedAttempt([self._decode(entry.record) for entry in entries], task=retry, entries=entries)

    def _give_up(self, partition: Partition, asked: Discard) -> ParkedAttempt | None:
        """Mark what is still parked, then put it on record, and only then let it leave, as any other skip does.

        The mark decides. It is made in the store and moves the position, so the event was either applied
        before, by the worker that held that position, and is no longer parked; or nobody applies it from now on.
        """
        store, discards = self._sink.store, partition.retries.discards
        for first, last in asked.offsets.ranges:
            if last <= asked.after:
                continue
            after = max(first - 1, asked.after)
            found = store.parked(
                partition.number, sequence=asked.sequence, after=after, limit=store.traits.parked_per_retry
            )
            entries = within([entry for entry in found if entry.offset <= last], RETRY_BYTES)
            fresh = list(takewhile(lambda entry: entry.discarded is None, entries))
            if fresh:
                return ParkedAttempt((), task=asked, entries=fresh)
            if entries:  # marked before an interruption, or for another reason
                discards[0] = asked.through(entries[:1])
                return None
        self._record(partition.number, asked.marked)
        discards.popleft()
        return None

    def _record(self, number: int, events: Sequence[GivenUp]) -> None:
        skips = self._books.skips_of(number)
        if any(event.offset not in skips for event in events):
            self._books.skip(number, events)

    def plan(self, partition: Partition, attempt: ParkedAttempt) -> Plan:
        """Called again after ``attempt.judge``."""
        task = attempt.task
        if type(task) is Discard:
            return plan_discard(attempt.entries, partition.stored, reason=task.reason, at=task.at)
        return plan_retry(
            self._sink, attempt.entries[: attempt.count], attempt.tried, partition.stored,
            now=self._now(), refused=attempt.refused, skips=self._books.skips_of(partition.number),
            partitions=self._books.book.log.partitions,
        )  # fmt: skip

    def applied(self, partition: Partition, attempt: ParkedAttempt, made: Plan) -> None:
        """The store has carried out the plan."""
        task, retries = attempt.task, partition.retries
        if type(task) is Discard:
            retries.discards[0] = task.through(made.still_parked)
            return
        assert type(task) is SequenceRetry
        retries.tried(task, made)
        if made.still_parked:
            self._through(partition)
        elif task.unfinished:
            retries.finished()

    def _through(self, partition: Partition) -> None:
        request = partition.retries.done()
        if request is not None:
            self._books.close(request, partition.number)

    def watch_if_due(self, partitions: Collection[Partition]) -> None:
        """What did people ask for, and does anything wait for too long? Raises ParkingFull."""
        if self._clock() - self._watched_at < WATCH_EVERY:
            return
        self._watched_at = self._clock()
        if self._books.look().revision != self._asked:
            self.ask(partitions)
        limits = self._sink.parking
        if limits.retry_every and self._clock() - self._retried_at >= limits.retry_every.total_seconds():
            self._retried_at = self._clock()
            for partition in partitions:
                partition.retries.ask_all()
        # While the worker does what a person asked for, that person has looked: halting would only slow it down.
        if not self._only_retry and not any(partition.retries.asked for partition in partitions):
            for partition in partitions:
                self._check_age(partition)

    def _check_age(self, partition: Partition) -> None:
        limit, oldest = self._sink.parking.age, partition.retries.oldest()
        if oldest is not None and self._now() - oldest[1].since > limit:
            name, waiting = oldest
            first = next(iter(self._sink.store.parked(partition.number, sequence=name, limit=1)), None)
            raise ParkingFull(
                f"sequence {name!r} has waited since {waiting.since:%Y-%m-%d %H:%M} UTC: longer than {limit}",
                topic=self._sink.log.topic,
                partition=partition.number,
                offset=first.offset if first else waiting.first,
                event_id=first.event_id if first else None,
                event_type=first.type if first else None,
                fix=f"`logsync parked list {self._sink.address}` shows why; then `logsync parked retry` or `discard`; "
                "or allow more with Parking(age=...)",
            )

    def ask(self, partitions: Collection[Partition]) -> None:
        """Queue what people asked for in the book."""
        self._asked = self._books.book.revision
        requests = self._books.book.requests
        for partition in partitions:
            for request in partition.retries.ask(requests, partition.number):
                self._books.close(request, partition.number)
