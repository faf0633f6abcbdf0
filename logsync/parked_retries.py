"""Parked events, tried again: what people asked for, what comes next, and as which plan. # K1

The worker asks for an attempt and its plan, applies it like any other, and tells what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from logsync.bookkeeping import Bookkeeper
from logsync.core.event import Decoded, Record
from logsync.core.parked import GivenUp, Parked, given_up, name_of
from logsync.core.plan import Plan
from logsync.core.planning import plan_discard, plan_retry
from logsync.core.position import Position
from logsync.core.retries import Discard, RetryQueue, SequenceRetry, within
from logsync.core.sink import Sink
from logsync.errors import ConfigError, EventError, ParkingFull

WATCH_EVERY = 2.0
"""Seconds between two looks at the book, where people leave requests."""
RETRY_BYTES = 8_000_000
"""Bytes of records that one drain may carry; a single record may be larger."""


@dataclass
class Attempt:
    """The next events of one sequence, tried in one plan, or in several where the store refuses one of them."""

    drain: SequenceRetry | Discard
    stored: Position
    entries: Sequence[Parked]
    events: Sequence[Decoded] = ()
    count: int = 0
    """How many of them the next plan tries."""
    refused: dict[int, EventError] = field(default_factory=dict)
    """The store's verdicts, by offset."""

    def judge(self, event: Decoded, error: EventError) -> None:
        """The store refused this event. Raises ``error`` if that is not news."""
        if event.offset in self.refused:
            raise error
        if event is self.events[0]:
            self.refused[event.offset] = error
        else:  # it is judged when it stands first
            self.count = self.events.index(event)


class ParkedRetries:
    """What waits in a worker's partitions, and the way out of it. Reads the store; only the worker applies."""

    def __init__(
        self,
        sink: Sink,
        books: Bookkeeper,
        decode: Callable[[Record], Decoded],
        *,
        only_retry: bool,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._sink, self._books, self._decode = sink, books, decode
        self._only_retry, self._now, self._clock = only_retry, now, clock
        self._asked = 0  # the revision whose requests are queued; the book that is known may be newer
        self._watched_at = float("-inf")
        self._drained_at = clock()  # when everything that waits was last tried unasked
        self.queue = RetryQueue()

    def resume(self, partition: int) -> None:
        """Begin with what the store holds of this partition. Raises ConfigError if it has other names there."""
        self.queue.load(partition, self._sink.store.sequences(partition))
        if self.queue.waiting[partition] and not self._only_retry:
            self._check_sequences(partition)

    def _check_sequences(self, partition: int) -> None:
        """Under another ``sequence_by`` later events would not wait behind what is parked. # I8

        One parked event is looked at, not all: a rule that was changed for some keys only is not noticed.
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

    def begin(self, positions: Mapping[int, Position]) -> Attempt | None:
        """Begin the next attempt. None if nothing of the sequence that is next can be drained now."""
        if self.queue.discards and not self.queue.urgent:
            asked = self.queue.discards[0]
            return self._give_up(asked, positions[asked.partition])
        drain, store = self.queue.queue[0], self._sink.store
        stored = positions[drain.partition]
        entries = store.parked(drain.partition, sequence=drain.sequence, limit=store.traits.parked_per_retry)
        # A replayable store parks before it moves: events at or after the position will be met again. Not yet.
        due = [entry for entry in entries if entry.offset < stored.next_offset]
        if not entries:
            self.queue.empty(drain)
        if not due:
            self._through()
            return None
        self.queue.known(drain, due[0])
        entries = within(due, RETRY_BYTES)
        self._record(drain.partition, given_up(entries))  # whoever marked them may have come no further
        events = [self._decode(entry.record) for entry in entries]
        return Attempt(drain, stored, entries, events, len(events))

    def _give_up(self, asked: Discard, stored: Position) -> Attempt | None:
        """Mark what is still parked, then put it on record, and only then let it leave, as any other skip does.

        # The mark is the verdict. It is made in the store and moves the position, so the event was either applied
        # before, by whoever held that position, and is parked no longer; or nobody applies it from now on.
        """
        for first, last in asked.offsets.ranges:
            if last <= asked.after:
                continue
            after = max(first - 1, asked.after)
            found = self._sink.store.parked(
                asked.partition, sequence=asked.sequence, after=after, limit=self._sink.store.traits.parked_per_retry
            )
            entries = within([entry for entry in found if entry.offset <= last], RETRY_BYTES)
            fresh = list(takewhile(lambda entry: entry.discarded is None, entries))
            if fresh:
                return Attempt(asked, stored, fresh)
            if entries:  # marked before an interruption, or for another reason
                self.queue.discards[0] = asked.through(entries[:1])
                return None
        self._record(asked.partition, asked.marked)
        self.queue.discards.popleft()
        return None

    def _record(self, partition: int, events: Sequence[GivenUp]) -> None:
        skips = self._books.skips_of(partition)
        if any(event.offset not in skips for event in events):
            self._books.skip(partition, events)

    def plan(self, attempt: Attempt) -> Plan:
        """Called again after ``attempt.judge``."""
        drain = attempt.drain
        if type(drain) is Discard:
            return plan_discard(attempt.entries, attempt.stored, reason=drain.reason, at=drain.at)
        return plan_retry(
            self._sink, attempt.entries[: attempt.count], attempt.events[: attempt.count], attempt.stored,
            now=self._now(), refused=attempt.refused, skips=self._books.skips_of(drain.partition),
            partitions=self._books.book.log.partitions,
        )  # fmt: skip

    def applied(self, attempt: Attempt, made: Plan) -> None:
        """The store has carried out the plan."""
        drain = attempt.drain
        if type(drain) is Discard:
            self.queue.discards[0] = drain.through(made.still_parked)
            return
        assert type(drain) is SequenceRetry
        self.queue.tried(drain, made)
        if made.still_parked:
            self._through()
        elif drain.unfinished:
            self.queue.finished()

    def _through(self) -> None:
        through = self.queue.done()
        if through is not None:
            self._books.close(*through)

    def watch_if_due(self, partitions: Collection[int]) -> None:
        """What did people ask for, and does anything wait for too long? Raises ParkingFull."""
        if self._clock() - self._watched_at < WATCH_EVERY:
            return
        self._watched_at = self._clock()
        if self._books.look().revision != self._asked:
            self.ask(partitions)
        limits = self._sink.parking
        if limits.retry_every and self._clock() - self._drained_at >= limits.retry_every.total_seconds():
            self._drained_at = self._clock()
            self.queue.ask_all()
        # While it does what somebody asked for, that person has looked; a restart per second would only slow it down.
        oldest = None if self._only_retry or self.queue.asked else self.queue.oldest()
        if oldest is not None and self._now() - oldest[2].since > limits.age:
            partition, name, waiting = oldest
            first = next(iter(self._sink.store.parked(partition, sequence=name, limit=1)), None)
            raise ParkingFull(
                f"sequence {name!r} has waited since {waiting.since:%Y-%m-%d %H:%M} UTC: longer than {limits.age}",
                topic=self._sink.log.topic,
                partition=partition,
                offset=first.offset if first else waiting.first,
                event_id=first.event_id if first else None,
                event_type=first.type if first else None,
                fix=f"`logsync parked list {self._sink.address}` shows why; then `logsync parked retry` or `discard`; "
                "or allow more with Parking(age=...)",
            )

    def ask(self, partitions: Collection[int]) -> None:
        """Queue what people asked for in the book."""
        self._asked = self._books.book.revision
        for request, partition in self.queue.ask(self._books.book.requests, partitions):
            self._books.close(request, partition)
