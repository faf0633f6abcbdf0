"""The loop: poll, decode, skip, plan, apply, commit. The file to read first.

    store.apply(made)            the writes and the position, durable together
    reader.commit(made.end)      only then the bookmark in Kafka

A crash between the two lines costs a replay that the store's own position turns into nothing; the other order
would lose events. Everything else here answers one question: where does the next plan start? Always where the
STORE is. So every trouble has one way out: forget what was planned, ask the store again, begin there.
"""

from __future__ import annotations

import enum
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

from logsync.core.book import Book, Skip, check_book, check_identity, check_last, check_range, first_book
from logsync.core.codec import Decoder, retry_from
from logsync.core.drains import Drain, Drains, within
from logsync.core.event import Decoded, Event, Record, Undecodable
from logsync.core.parking import name_of
from logsync.core.plan import Aside, Plan, located, plan, plan_drain, skip_applied
from logsync.core.policy import Park, Retry, disposition
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError, EventError, LogsyncError, ParkingFull, PositionConflict, StoreUnavailable
from logsync.log.base import LogReader, Part
from logsync.settings import Settings

log = logging.getLogger("logsync.worker")

LOOK_EVERY = 1.0
"""Seconds between two looks at the log's identity and end. A topic that is deleted and made again is noticed
before the first apply that comes later than this after the last look; this window is the limit of L1."""
STORE_EVERY = 5.0
"""Seconds without an apply after which the store's position is compared: a store that was restored or rebuilt while
its log is quiet must not wait for the next event to be noticed."""
WATCH_EVERY = 2.0
"""Seconds between two looks at the book, where people leave requests."""
DRAIN_FOR = 1.0
"""Seconds of one turn of the loop that may go to parked events."""
DRAIN_BYTES = 8_000_000
"""Bytes of records that one drain may carry; a single record may be larger."""
STANDBY_AFTER = 10.0
"""Seconds without a partition after which a worker counts as a spare one."""
CONFLICTS_WITHIN = 600.0
"""Seconds in which conflicts add up (P3). Two programs on one sink name conflict all the time; restores do not."""
_SAY_EVERY = 30.0
"""Seconds between two lines about one and the same outage."""


class State(enum.Enum):
    """What the worker is doing, for health and metrics."""

    JOINING = "joining"
    STANDBY = "standby"  # a member without a partition: there are more workers than partitions
    RUNNING = "running"
    WAITING = "waiting"  # for its store, or for Kafka
    STOPPED = "stopped"


@dataclass
class Report:
    """What a worker has done and where it is; written by the worker's thread, read by health and progress."""

    state: State = State.JOINING
    reason: str = ""
    applied: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    parked: int = 0
    """Events that this worker set aside."""
    drained: int = 0
    """Parked events that it applied later, or passed over on somebody's word."""
    waiting: dict[int, int] = field(default_factory=dict)
    """Parked events by partition, as far as this worker knows."""
    batches: int = 0
    retries: int = 0
    conflicts: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    turned_at: float = 0.0
    """When the loop last turned, by the worker's clock."""
    moved_at: float = 0.0
    """When a position last moved or was found at the log's end."""
    looked_at: float = 0.0
    """When the log's end was last read from the broker."""

    @property
    def lag(self) -> int:
        """Offsets between the positions and the log's end, over all partitions of this worker."""
        return sum(max(0, self.ends.get(number, at) - at) for number, at in self.positions.items())


class Worker:
    """One member of a sink's consumer group: applies the log to the store until it is told to stop.

    Runs on one thread; ``stop`` may be called from any other or from a signal handler. ``step`` is one turn of
    the loop. Errors that time can mend are waited for without limit; all others leave ``run`` as they are.
    ``only_drain``: apply nothing new, only what people asked to be drained (K1: that is the owner's to do).
    """

    def __init__(
        self,
        sink: Sink,
        reader: LogReader,
        settings: Settings,
        *,
        from_log_start: bool = False,
        accept_from_now: bool = False,
        only_drain: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sink, self.reader, self.settings = sink, reader, settings
        self.report = Report(turned_at=clock(), moved_at=clock())
        self._from_log_start, self._accept_from_now = from_log_start, accept_from_now
        self._clock, self._now, self._chance = clock, now, chance
        self._only_drain = only_drain
        self._decode = Decoder(sink.log, sink.handled)
        self._book: Book | None = None
        self._skips: tuple[tuple[Skip, ...], dict[int, frozenset[int]]] = ((), {})
        self._asked = 0  # the revision whose requests are queued; _book may be newer
        self._assigned: set[int] = set()
        self._positions: dict[int, Position] = {}  # of the partitions being read; empty: resume first
        self._drains = Drains()
        self._watched_at = float("-inf")
        self._drained_at = clock()  # when everything that waits was last tried unasked
        self._opened = False
        self._attempt = 0
        self._conflicts: list[float] = []  # when, under the present assignment
        self._retry_at = 0.0
        self._met_store_at = float("-inf")  # applied, or compared positions
        self._alone_since = clock()
        self._looked_at = float("-inf")
        self._said_at = float("-inf")
        self._stopping = False

    def __enter__(self) -> Worker:
        self.reader.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.report.state = State.STOPPED
        self.reader.close()
        self.sink.store.close()

    def stop(self) -> None:
        """Ask the loop to end after the plan it is applying. A search of the log for a plan not yet made is cut off."""
        self._stopping = True
        self.reader.interrupt()

    @property
    def stopping(self) -> bool:
        """True once ``stop`` was called."""
        return self._stopping

    def run(self, until: Callable[[Report], bool] = lambda _: False) -> None:
        """Turn the loop until ``stop`` is called or ``until`` says so. Raises what a person has to mend."""
        while not self._stopping and not until(self.report):
            try:
                self.step()
            except LogsyncError as error:
                self._obey(error)

    def step(self) -> None:
        """One turn: at most one plan per partition. Raises LogsyncError; ``run`` obeys the policy about it."""
        self.report.turned_at = self._clock()
        waiting = self._assigned - self._positions.keys()
        batch = self.reader.poll(self._patience(bool(waiting)), self.settings.batch_records)  # 1 poll
        for partition in batch.revoked:
            self._forget(partition)
        self._assigned.update(batch.assigned)
        if batch.assigned or batch.revoked:
            self._conflicts.clear()
        if self._assigned - self._positions.keys() and self._clock() >= self._retry_at:
            self._resume()  # 0 resume
        if self._positions or not self._assigned:
            self._look_if_due()
        self._drain()
        for part in batch.parts:
            if part.partition in self._positions:
                self._apply(part)
        if self._positions and self._clock() - self._met_store_at >= STORE_EVERY:
            self._compare()
        if self._positions and self._clock() - self._watched_at >= WATCH_EVERY:
            self._watch()

    def _apply(self, part: Part) -> None:
        events = [self._decode(record) for record in part.records]  # 2 decode
        repeats = self._repeats(skip_applied(events, self._positions[part.partition]), part.record)
        verdicts: dict[int, EventError] = {}  # of the store, on events that it refused alone
        suspect: int | None = None
        while True:
            stored = self._positions[part.partition]
            fresh = skip_applied(events, stored)  # 3 skip
            if suspect is not None:  # only what comes before the refused event
                fresh = [event for event in fresh if event.offset < suspect]
            aside = Aside(self.sink, self._drains.waiting[part.partition], part.record, self._now(), verdicts)
            made = self._plan(fresh, stored, suspect or part.next_offset, repeats, aside)  # 4 plan
            if made.moves:
                self._look_if_due()  # L1: not once per poll, because an apply before this one may have taken long
                self._note_skipped(made)
                try:
                    self.sink.store.apply(made)  # 5 apply: when it returns, writes and position are durable
                except EventError as error:
                    at_fault = self._at_fault(error, made, fresh)
                    if at_fault.offset != fresh[0].offset:
                        suspect = at_fault.offset
                        continue
                    # It stands first in its plan. Only here is it judged: a store may refuse in a batch what it takes
                    # alone, and no event may halt a worker because of the company it came in. # G1
                    if at_fault.offset in verdicts or not self._parks(error):
                        raise
                    verdicts[at_fault.offset] = error
                    continue
                self._positions[part.partition] = made.end
                self._met_store_at = self._clock()
                self.reader.commit(made.end)  # 6 commit: only now; losing it costs a replay, never data  # I1
                self._drains.parked(made)
            self._count(made)
            if made.failure is not None:
                raise made.failure
            if suspect is None:
                return
            suspect = None

    def _parks(self, error: EventError) -> bool:
        return isinstance(disposition(error, parks=self.sink.parks(error)), Park)

    def _at_fault(self, error: EventError, made: Plan, events: Sequence[Decoded]) -> Decoded:
        """The event that the store refused; the error gets its coordinates."""
        if error.offset not in made.offsets:  # cutting the plan there could go on for ever, or past the log's end
            raise ConfigError(
                f"the {self.sink.store.kind} store refused an event at offset {error.offset}, of which there is no "
                f"write in its plan: {error.message}",
                fix="report it to the authors of that store",
            ) from error
        event = next(event for event in events if event.offset == error.offset)
        located(self.sink, event, error)
        return event

    def _drain(self) -> None:
        """Try parked events again, for a bounded time: what is new must not wait for all of it. # K1"""
        began = self._clock()
        while self._drains.queue:
            drain = self._drains.queue[0]
            if not self._drain_some(drain):
                through = self._drains.done()
                if through is not None:
                    self._close(*through)
            elif drain.unfinished:
                self._drains.finished()
            urgent = any(left.unfinished for left in self._drains.queue)
            if self._stopping or (not urgent and self._clock() - began >= DRAIN_FOR):
                return

    def _drain_some(self, drain: Drain) -> bool:
        """Carry out one plan. False if nothing more of this sequence can be drained now."""
        assert self._book is not None
        store, stored = self.sink.store, self._positions[drain.partition]
        entries = store.parked(drain.partition, sequence=drain.sequence, limit=store.drains_at_once)
        # A replayable store parks before it moves: events at or after the position will be met again. Not yet.
        due = [entry for entry in entries if entry.offset < stored.next_offset]
        if not entries:
            self._drains.empty(drain)
        if not due:
            return False
        self._drains.known(drain, due[0])
        entries = within(due, DRAIN_BYTES)
        events = [self._decode(entry.record) for entry in entries]
        verdicts, count = dict[int, EventError](), len(events)
        while True:
            made = plan_drain(
                self.sink, entries[:count], events[:count], stored, now=self._now(), refused=verdicts,
                skips=self._skips_of(drain.partition), partitions=self._book.log.partitions,
            )  # fmt: skip
            if made.applied:  # has somebody discarded one of them since? Then it must not be applied.
                current = self._current_book()
                if current.skips != self._book.skips:
                    self._book = current
                    continue
            self._look_if_due()
            self._note_skipped(made)
            try:
                store.apply(made)
            except EventError as error:
                at_fault = self._at_fault(error, made, events[:count])
                if at_fault.offset in verdicts:
                    raise
                if at_fault is events[0]:
                    verdicts[at_fault.offset] = error
                else:  # it is judged when it stands first
                    count = events.index(at_fault)
            else:
                break
        self._positions[drain.partition] = made.end
        self._met_store_at = self._clock()
        self._drains.drained(drain, made)
        self._count(made)
        return not made.retried

    def _watch(self) -> None:
        """What did people ask for, and does anything wait for too long?"""
        assert self._book is not None
        self._watched_at = self._clock()
        current = self._current_book()
        self._book = current
        if current.revision != self._asked:
            self._ask()
        limits = self.sink.parking
        if limits.retry_every and self._clock() - self._drained_at >= limits.retry_every.total_seconds():
            self._drained_at = self._clock()
            self._drains.ask_all()
        # While it does what somebody asked for, that person has looked; a restart per second would only slow it down.
        oldest = None if self._only_drain or self._drains.asked else self._drains.oldest()
        if oldest is not None and self._now() - oldest[2].since > limits.age:
            partition, name, waiting = oldest
            raise ParkingFull(
                f"sequence {name!r} has waited since {waiting.since:%Y-%m-%d %H:%M} UTC: longer than {limits.age}",
                topic=self.sink.log.topic,
                partition=partition,
                offset=waiting.first,
                fix=f"`logsync parked list {self.sink.address}` shows why; then `logsync parked retry` or `discard`; "
                "or allow more with Parking(age=...)",
            )

    def _ask(self) -> None:
        assert self._book is not None
        self._asked = self._book.revision
        for request, partition in self._drains.ask(self._book.requests, self._positions.keys()):
            self._close(request, partition)

    def _close(self, request: str, partition: int) -> None:
        """Take this partition out of the request: its owner is through with it."""
        current = self._current_book()
        left = current.without(request, partition)
        if left != current.requests:
            current = current.next(requests=left)
            self._write_book(current)
        self._book = current

    def _current_book(self) -> Book:
        """The stored book. Raises StoreUnavailable if it is another than this worker resumed under."""
        assert self._book is not None
        current, known = self.sink.store.read_book(), self._book
        if current is None or current.ground != known.ground:
            raise StoreUnavailable(f"the book of sink {self.sink.name} was changed: it has to be read anew")
        return current

    def _repeats(self, events: Sequence[Decoded], record: Callable[[int], Record]) -> list[int]:
        """Offsets of retried appends whose event stands in the log already, further up. # A1

        Also of those that cannot be decoded now: drained after an upgrade, they may find that range of the log gone.
        """
        since = dict[int, int]()
        for event in events:
            retried_from = event.retry_from if type(event) is Event else None
            if type(event) is Undecodable:
                retried_from = retry_from(record(event.offset))
            if retried_from is not None and retried_from < event.offset:  # else the range is empty
                since[event.offset] = retried_from
        if not since:
            return []
        retried = [event for event in events if event.offset in since]
        ids = {event.id for event in retried if event.id is not None}
        found = self.reader.find(retried[0].partition, ids, min(since.values()), retried[-1].offset)
        return [event.offset for event in retried if self._stood(event, since[event.offset], found) < event.offset]

    def _stood(self, event: Decoded, since: int, found: Mapping[str, int]) -> int:
        """Where the event of this id first stands in [since, event.offset); the event's own offset if nowhere."""
        if event.id is None or event.id not in found:
            return event.offset
        if found[event.id] >= since:
            return found[event.id]
        # Before this event's own range, in that of another of the batch: the verdict must not depend on the cut.
        return self.reader.find(event.partition, {event.id}, since, event.offset).get(event.id, event.offset)

    def _plan(
        self, fresh: Sequence[Decoded], stored: Position, next_offset: int, repeats: Collection[int], aside: Aside
    ) -> Plan:
        assert self._book is not None
        return plan(
            self.sink,
            fresh,
            stored,
            next_offset=next_offset,
            skips=self._skips_of(stored.partition),
            repeats=repeats,
            partitions=self._book.log.partitions,
            aside=aside,
        )

    def _skips_of(self, partition: int) -> frozenset[int]:
        """The same for every plan under one book: there may be thousands of them."""
        assert self._book is not None
        if self._skips[0] is not self._book.skips:
            self._skips = self._book.skips, {}
        known = self._skips[1]
        if partition not in known:
            known[partition] = self._book.skips_of(partition)
        return known[partition]

    def _note_skipped(self, made: Plan) -> None:
        """Write down types that are passed over for the first time, before the position moves past them. # T2"""
        assert self._book is not None
        types = {
            name.partition(":")[2] for name in made.skipped if name.startswith(("unhandled:", "unknown:"))
        } - self.sink.handled
        if types - self._book.skipped:
            current = self.sink.store.read_book()  # another worker of the group may have written it meanwhile
            if current is None or current.epoch != made.start.epoch:
                raise PositionConflict(f"the book of sink {self.sink.name} went away or has another epoch")
            if types - current.skipped:
                current = current.next(skipped=current.skipped | types)
                self._write_book(current)
            self._book = current

    def _resume(self) -> None:
        """Begin every assigned partition where the store is. The one way back from every trouble."""
        store, sink = self.sink.store, self.sink
        if not self._opened:
            store.open(sink.name, self.settings)
            self._opened = True
        self.reader.check()  # L5
        identity = self.reader.identity()
        self._book = self._claim_or_check(identity)
        stored = store.positions()
        self._met_store_at = self._clock()
        for partition in sorted(self._assigned - self._positions.keys()):
            position = stored.get(partition)
            if position is None:
                raise ConfigError(
                    f"sink {sink.name}: its store has no position for partition {partition}: it was forgotten or lost, "
                    "and what the store still holds cannot be told",  # P1
                    fix=f"`logsync rebuild {sink.address} --yes` wipes what the sink owns and replays the log",
                )
            if position.epoch != self._book.epoch:
                raise StoreUnavailable(f"sink {sink.name}: a rebuild is replacing its book and positions just now")
            low, high = self.reader.bounds(partition)
            check_range(position, low, high, sink)
            if position.last_offset is not None and low <= position.last_offset:
                found = self.reader.id_at(partition, position.last_offset)
                check_last(position, found, sink)
            self._drains.load(partition, store.sequences(partition))
            if self._drains.waiting[partition] and not self._only_drain:
                self._check_sequences(partition)
            self.report.waiting[partition] = self._drains.events(partition)
            if not self._only_drain:
                self.reader.start(position)
            self.reader.commit(position)  # P2: after a restore the bookmark is ahead; heal it at once
            self._positions[partition] = position
            log.info(
                "resumed", extra={"sink": sink.name, "partition": partition, "next": position.next_offset, "end": high}
            )
        self._ask()
        self.report.state, self.report.reason = State.RUNNING, ""
        self._publish()

    def _check_sequences(self, partition: int) -> None:
        """Under another ``sequence_by`` later events would not wait behind what is parked. # I8

        One parked event is looked at, not all: a rule that was changed for some keys only is not noticed.
        """
        for entry in self.sink.store.parked(partition, limit=1):
            name = name_of(self.sink.sequence_by, entry.record)
            if name != entry.sequence:
                raise ConfigError(
                    f"sink {self.sink.name}: the event at partition {partition}, offset {entry.offset} is parked in "
                    f"sequence {entry.sequence!r}, which sequence_by now calls {name!r}: later events of it would be "
                    "applied before it",
                    fix=f"`logsync parked retry {self.sink.address} --all --yes` or `parked discard` first, or bring "
                    "the former sequence_by back",
                )

    def _claim_or_check(self, identity: LogIdentity) -> Book:
        store, sink = self.sink.store, self.sink
        if store.max_partitions is not None and identity.partitions > store.max_partitions:
            raise ConfigError(
                f"sink {sink.name}: {store.kind} takes topics of {store.max_partitions} partition, "
                f"{identity.topic} has {identity.partitions}",  # O5
                fix="use a topic with one partition",
            )
        found = store.read_book()
        environment, now = self.settings.environment, self._now()
        if found is None:
            try:
                book, positions = first_book(
                    sink,
                    environment=environment,
                    log=identity,
                    log_starts={number: self.reader.bounds(number)[0] for number in range(identity.partitions)},
                    holds_data=store.holds_data(),
                    from_log_start=self._from_log_start,
                    now=now,
                )
            except ConfigError:
                if store.read_book() is not None:  # a worker of the group claimed it between the two looks
                    raise StoreUnavailable(f"sink {sink.name} was just claimed by another worker") from None
                raise
            self._write_book(book, positions)
            return book
        book = check_book(
            found, sink, environment=environment, log=identity, accept_from_now=self._accept_from_now, now=now
        )
        if book is not found:
            self._write_book(book)
        return book

    def _write_book(self, book: Book, positions: Sequence[Position] | None = None) -> None:
        """Workers of one group may write the book at the same moment: the slower one reads it and begins again.

        That is no conflict of positions and must not count as one (P3), hence the other error class.
        """
        try:
            self.sink.store.write_book(book, positions=positions)
        except PositionConflict as error:
            raise StoreUnavailable(f"the book of sink {self.sink.name} was just written by another worker") from error

    def _look_if_due(self) -> None:
        if self._clock() - self._looked_at >= LOOK_EVERY:
            self._look()

    def _compare(self) -> None:
        """Is the store still where this worker believes it is, although nothing was applied for a while? # I2 P2"""
        stored = self.sink.store.positions()
        self._met_store_at = self._clock()
        for partition, known in self._positions.items():
            found = stored.get(partition)
            if found is None or found.place != known.place:
                # Not a conflict: nobody raced. The store was restored, rebuilt or emptied while the log was quiet.
                raise StoreUnavailable(
                    f"partition {partition} of the store is at {found}, expected {known}: it was moved"
                )

    def _look(self) -> None:
        """Is it still the same log, and how far does it reach? Before an apply, never older than LOOK_EVERY. # L1"""
        identity = self.reader.identity()  # also finds a topic that is not there: nothing is assigned then, for ever
        if self._book is not None:
            check_identity(self._book, self.sink, identity)
        for partition in self._positions:
            self.report.ends[partition] = self.reader.bounds(partition)[1]
        self._looked_at = self.report.looked_at = self._clock()
        if self.report.lag == 0:
            self.report.moved_at = self._looked_at
        if not self._assigned and self._looked_at - self._alone_since >= STANDBY_AFTER:
            self.report.state, self.report.reason = State.STANDBY, ""

    def _obey(self, error: LogsyncError) -> None:
        """Do what the policy says about this error: wait and resume from the store, or let it out."""
        if isinstance(error, PositionConflict):
            now = self._clock()
            self._conflicts = [*(at for at in self._conflicts if now - at < CONFLICTS_WITHIN), now]
            self.report.conflicts += 1
        self._attempt += 1
        verdict = disposition(error, attempt=self._attempt, conflicts=len(self._conflicts), chance=self._chance())
        if not isinstance(verdict, Retry):
            if isinstance(error, PositionConflict):
                raise ConfigError(
                    f"sink {self.sink.name}: its position was moved by somebody else {len(self._conflicts)} times "
                    f"under one assignment: two programs use this sink name. Last: {error.message}",  # P3
                    fix="give one of them another sink name",
                ) from error
            raise error
        # The plan is dropped. An outcome that is unknown needs nothing more: if the late original still commits, the
        # position read below or the next compare-and-set shows it, and nothing is applied twice. # P4
        self.reader.stop()
        self._positions.clear()
        self._drains.clear()
        self._opened = False
        self._retry_at = self._clock() + verdict.after
        self.report.state, self.report.reason = State.WAITING, error.message
        self.report.retries += 1
        if self._attempt == 1 or self._clock() - self._said_at >= _SAY_EVERY:
            self._said_at = self._clock()
            log.warning(
                "waiting, nothing is lost", extra={"sink": self.sink.name, "attempt": self._attempt, "why": str(error)}
            )

    def _patience(self, waiting: bool) -> float:
        """Seconds that a poll may wait: up to the next thing that is due."""
        if waiting:
            return min(0.5, max(0.0, self._retry_at - self._clock()))
        return 0.1 if not self._assigned else max(0.0, min(0.5, self._looked_at + LOOK_EVERY - self._clock()))

    def _forget(self, partition: int) -> None:
        self._assigned.discard(partition)
        self._positions.pop(partition, None)
        self._drains.forget(partition)
        if not self._assigned:
            self._alone_since = self._clock()
            self.report.state = State.JOINING
        self.report.positions.pop(partition, None)
        self.report.ends.pop(partition, None)
        self.report.waiting.pop(partition, None)

    def _count(self, made: Plan) -> None:
        report = self.report
        report.applied += made.applied
        report.parked += len(made.parked)
        report.drained += len(made.drained)
        partition = made.end.partition
        report.waiting[partition] = max(0, report.waiting.get(partition, 0) + len(made.parked) - len(made.drained))
        for entry in (*made.parked, *made.retried):
            if entry.attempts:  # not those that only wait behind another: they can be many
                log.warning(
                    "parked",
                    extra={"sink": self.sink.name, "partition": partition, "offset": entry.offset,
                           "event": entry.event_id, "attempts": entry.attempts, "why": entry.message},
                )  # fmt: skip
        report.skipped.update(made.skipped)
        if made.moves:
            report.batches += 1
            report.moved_at = self._clock()
            if self._attempt:
                log.info("applying again", extra={"sink": self.sink.name, "next": made.end.next_offset})
            self._attempt = 0
        self._publish()

    def _publish(self) -> None:
        self.report.positions.update({number: position.next_offset for number, position in self._positions.items()})
