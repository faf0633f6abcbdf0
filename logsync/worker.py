"""The loop: poll, decode, skip, plan, apply, commit. The file to read first.

    store.apply(made)            the writes and the position, durable together
    reader.commit(made.end)      only then the bookmark in Kafka

A crash between the two lines costs a replay that the store's own position turns into nothing; the other order
would lose events. Everything else here answers one question: where does the next plan start? Always where the
STORE is. So every trouble has one way out: forget what was planned, ask the store again, begin there.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from logsync.bookkeeping import Bookkeeper
from logsync.core.codec import Decoder
from logsync.core.event import Decoded, Record
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner, at_fault, plan, skip_applied
from logsync.core.policy import Retry, disposition
from logsync.core.position import Position
from logsync.core.resume import check_identity, check_last, check_range
from logsync.core.sink import Sink
from logsync.duplicates import duplicates
from logsync.errors import ConfigError, EventError, LogsyncError, PositionConflict, StoreUnavailable
from logsync.log.contract import Batch, LogReader, Part
from logsync.parked_retries import Attempt, ParkedRetries
from logsync.settings import Settings
from logsync.worker_status import WorkerState, WorkerStatus

log = logging.getLogger("logsync.worker")

LOOK_EVERY = 1.0
"""Seconds between two looks at the log's identity and end. A topic that is deleted and made again is noticed
before the first apply that comes later than this after the last look; this window is the limit of L1."""
STORE_EVERY = 5.0
"""Seconds without an apply after which the store's position is compared: a store that was restored or rebuilt while
its log is quiet must not wait for the next event to be noticed."""
RETRY_FOR = 1.0
"""Seconds of one turn of the loop that may go to parked events."""
AHEAD_FROM = 10
"""A poll that brings the tenth part of a full batch, or leaves records for the next one, is read ahead: decoded in the
store's waits, applied a turn later. Less is applied at once: nothing that waits alone has to wait for anything. # F1"""
_SLICE = 32
"""Records decoded between two looks at whether the store has answered: a fraction of a millisecond."""
STANDBY_AFTER = 10.0
"""Seconds without a partition after which a worker counts as a spare one."""
CONFLICTS_WITHIN = 600.0
"""Seconds in which conflicts add up (P3). Two programs on one sink name conflict all the time; restores do not."""
_SAY_EVERY = 30.0
"""Seconds between two lines about one and the same outage."""


@dataclass(slots=True)
class _Polled:
    """A part of the log, and its events as far as they are decoded."""

    part: Part
    events: list[Decoded] = field(default_factory=list)

    def decode(self, decode: Callable[[Record], Decoded], most: int) -> bool:
        """Decode up to ``most`` more records. False: there was none left."""
        begun = len(self.events)
        self.events += [decode(record) for record in self.part.records[begun : begun + most]]
        return len(self.events) > begun


class Worker:
    """One member of a sink's consumer group: applies the log to the store until it is told to stop.

    Runs on one thread; ``stop`` may be called from any other or from a signal handler. ``step`` is one turn of
    the loop. Errors that time can mend are waited for without limit; all others leave ``run`` as they are.
    ``only_retry``: apply nothing new, only what people asked to be drained (K1: that is the owner's to do).
    """

    def __init__(
        self,
        sink: Sink,
        reader: LogReader,
        settings: Settings,
        *,
        from_log_start: bool = False,
        accept_from_now: bool = False,
        only_retry: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sink, self.reader, self.settings = sink, reader, settings
        self.report = WorkerStatus(turned_at=clock(), moved_at=clock())
        self._clock, self._now, self._chance = clock, now, chance
        self._only_retry = only_retry
        self._decode = Decoder(sink.log, sink.handled)
        self._books = Bookkeeper(
            sink, settings.environment, from_log_start=from_log_start, accept_from_now=accept_from_now, now=now
        )
        self._retries = ParkedRetries(sink, self._books, self._decode, only_retry=only_retry, now=now, clock=clock)
        self._queue = self._retries.queue
        self._assigned: set[int] = set()
        self._positions: dict[int, Position] = {}  # of the partitions being read; empty: resume first
        self._ahead: list[_Polled] = []  # polled, and to be applied in the next turn
        self._spent: list[list[Record] | list[Decoded]] = []  # of the turn before: freed while the store works
        self._opened = False
        self._attempt = 0
        self._conflicts: list[float] = []  # when, under the present assignment
        self._retry_at = 0.0
        self._met_store_at = float("-inf")  # applied, or compared positions
        self._alone_since = clock()
        self._looked_at = float("-inf")
        self._said_at = float("-inf")
        self.stopping = False
        """True once ``stop`` was called."""

    def __enter__(self) -> Worker:
        self.reader.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.report.state = WorkerState.STOPPED
        self.reader.close()
        self.sink.store.close()

    def stop(self) -> None:
        """Ask the loop to end after the plan it is applying. A search of the log for a plan not yet made is cut off."""
        self.stopping = True
        self.reader.interrupt()

    def run(self, until: Callable[[WorkerStatus], bool] = lambda _: False) -> None:
        """Turn the loop until ``stop`` is called or ``until`` says so. Raises what a person has to mend."""
        while not self.stopping and not until(self.report):
            try:
                self.step()
            except LogsyncError as error:
                self._obey(self.sink.addressed(error))

    def step(self) -> None:
        """One turn: at most one plan per partition. Raises LogsyncError; ``run`` obeys the policy about it."""
        self._turned()
        waiting = self._assigned - self._positions.keys()
        batch = self.reader.poll(self._patience(bool(waiting)), self.settings.batch_records)  # 1 poll
        for partition in batch.revoked:
            self._forget(partition)
        ready = self._take(batch)
        self._assigned.update(batch.assigned)
        if batch.assigned or batch.revoked:
            self._conflicts.clear()
        if self._assigned - self._positions.keys() and self._clock() >= self._retry_at:
            self._resume()  # 0 resume
        if self._positions or not self._assigned:
            self._look_if_due()
        self._drain()
        for polled in ready:
            self._apply(polled)
        self._spent = [spent for polled in ready for spent in (polled.part.records, polled.events)]
        if self._positions and self._clock() - self._met_store_at >= STORE_EVERY:
            self._compare()
        if self._positions:
            self._retries.watch_if_due(self._positions.keys())

    def _turned(self) -> None:
        self.report.turned_at = self._clock()

    def _take(self, batch: Batch) -> list[_Polled]:
        """What to apply now: what the turn before has read ahead, else this batch, if it is too small for that.

        Called before resume, when all that was read ahead follows on the positions as they are: whatever ends that
        (``_forget``, ``_obey``) has dropped it. A part that began behind the position would be a silent hole. # I7
        """
        polled = [_Polled(part) for part in batch.parts if part.partition in self._positions]
        ahead, records = self._ahead, sum(len(part.records) for part in batch.parts)
        if ahead or batch.more or records * AHEAD_FROM >= self.settings.batch_records:
            self._ahead = polled
            return ahead
        return polled

    def _use_the_wait(self) -> bool:
        """Free a slice of what was applied last, or decode one of what is applied next: a tenth and a quarter of a
        worker's work. Called by the store while it waits for its server. # F1
        """
        while self._spent:
            if rest := self._spent[-1]:
                del rest[-_SLICE:]
                return True
            self._spent.pop()
        return any(polled.decode(self._decode, _SLICE) for polled in self._ahead)

    def _apply(self, polled: _Polled) -> None:
        part, events = polled.part, polled.events
        polled.decode(self._decode, len(part.records))  # 2 decode: all of it, or what the waits have left
        doubled = duplicates(
            skip_applied(events, self._positions[part.partition]),
            part.record,
            self.sink.log.codec,
            self.reader,
            self._turned,
        )
        verdicts: dict[int, EventError] = {}  # of the store, on events that it refused alone
        suspect: int | None = None
        while True:
            stored = self._positions[part.partition]
            fresh = skip_applied(events, stored)  # 3 skip
            if suspect is not None:  # only what comes before the refused event
                fresh = [event for event in fresh if event.offset < suspect]
            aside = ParkingPlanner(self.sink, self._queue.waiting[part.partition], part.record, self._now(), verdicts)
            made = plan(  # 4 plan
                self.sink, fresh, stored, next_offset=suspect or part.next_offset, duplicates=doubled, aside=aside,
                skips=self._books.skips_of(part.partition), partitions=self._books.book.log.partitions,
            )  # fmt: skip
            if made.moves:
                self._look_if_due()  # L1: not once per poll, because an apply before this one may have taken long
                self._books.note_skipped(made)
                try:
                    self.sink.store.apply(made)  # 5 apply: when it returns, writes and position are durable
                except EventError as error:
                    fault = at_fault(self.sink, error, made, fresh)
                    if fault.offset != fresh[0].offset:
                        suspect = fault.offset
                        continue
                    # It stands first in its plan. Only now may ``plan`` judge it: a store may refuse in a batch what it
                    # takes alone, and no event may halt a worker because of the company it came in. # G1
                    if fault.offset in verdicts:
                        raise
                    verdicts[fault.offset] = error
                    continue
                self._positions[part.partition] = made.end
                self._met_store_at = self._clock()
                self.reader.commit(made.end)  # 6 commit: only now; losing it costs a replay, never data  # I1
                self._queue.parked(made)
            self._count(made)
            if made.failure is not None:
                raise made.failure
            if suspect is None:
                return
            suspect = None

    def _drain(self) -> None:
        """Try parked events again, for a bounded time: what is new must not wait for all of it. # K1"""
        began = self._clock()
        while self._queue.queue:
            attempt = self._retries.begin(self._positions)
            if attempt is not None:
                made = self._try(attempt)
                self._positions[made.end.partition] = made.end
                self._met_store_at = self._clock()
                self._retries.applied(attempt, made)
                self._count(made)
            if self.stopping or (not self._queue.urgent and self._clock() - began >= RETRY_FOR):
                return

    def _try(self, attempt: Attempt) -> Plan:
        while True:
            made = self._retries.plan(attempt)
            self._look_if_due()
            self._books.note_skipped(made)
            try:
                self.sink.store.apply(made)
            except EventError as error:
                attempt.judge(at_fault(self.sink, error, made, attempt.events), error)
            else:
                return made

    def _resume(self) -> None:
        """Begin every assigned partition where the store is. The one way back from every trouble."""
        store, sink = self.sink.store, self.sink
        if not self._opened:
            store.meanwhile = self._use_the_wait
            store.open(sink.name, self.settings)
            self._opened = True
        self.reader.check()  # L5
        identity = self.reader.identity()
        book = self._books.resume(identity, self.reader)
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
            if position.epoch != book.epoch:
                raise StoreUnavailable(f"sink {sink.name}: a rebuild is replacing its book and positions just now")
            low, high = self.reader.bounds(partition)
            check_range(position, low, high, sink)
            if position.last_offset is not None and low <= position.last_offset:
                found = self.reader.id_at(partition, position.last_offset)
                check_last(position, found, sink)
            self._retries.resume(partition)
            self.report.waiting[partition] = self._queue.events(partition)
            if not self._only_retry:
                self.reader.start(position)
            self.reader.commit(position)  # P2: after a restore the bookmark is ahead; heal it at once
            self._positions[partition] = position
            log.info(
                "resumed", extra={"sink": sink.name, "partition": partition, "next": position.next_offset, "end": high}
            )
        self._retries.ask(self._positions.keys())
        self.report.state, self.report.reason = WorkerState.RUNNING, ""
        self._publish()

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

    def _look_if_due(self) -> None:
        """Is it still the same log, and how far does it reach? Before an apply, never older than LOOK_EVERY. # L1"""
        began = self._clock()  # an answer is as old as its question, if this machine stood still in between
        if began - self._looked_at < LOOK_EVERY:
            return
        identity = self.reader.identity()  # also finds a topic that is not there: nothing is assigned then, for ever
        if self._books.known is not None:
            check_identity(self._books.known, self.sink, identity)
        for partition in self._positions:
            self.report.ends[partition] = self.reader.bounds(partition)[1]
        self._looked_at = self.report.looked_at = began
        if self.report.lag == 0:
            self.report.moved_at = self._looked_at
        if not self._assigned and self._looked_at - self._alone_since >= STANDBY_AFTER:
            self.report.state, self.report.reason = WorkerState.STANDBY, ""

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
        self._ahead.clear()  # it followed on positions that are now read anew
        self._positions.clear()
        self._queue.clear()
        self._opened = False
        self._retry_at = self._clock() + verdict.after
        self.report.state, self.report.reason = WorkerState.WAITING, error.message
        self.report.retries += 1
        if self._attempt == 1 or self._clock() - self._said_at >= _SAY_EVERY:
            self._said_at = self._clock()
            log.warning(
                "waiting, nothing is lost", extra={"sink": self.sink.name, "attempt": self._attempt, "why": str(error)}
            )

    def _patience(self, waiting: bool) -> float:
        """Seconds that a poll may wait: up to the next thing that is due."""
        if self._ahead:
            return 0.0
        if waiting:
            return min(0.5, max(0.0, self._retry_at - self._clock()))
        return 0.1 if not self._assigned else max(0.0, min(0.5, self._looked_at + LOOK_EVERY - self._clock()))

    def _forget(self, partition: int) -> None:
        self._assigned.discard(partition)
        self._positions.pop(partition, None)
        self._ahead = [polled for polled in self._ahead if polled.part.partition != partition]
        self._queue.forget(partition)
        if not self._assigned:
            self._alone_since = self._clock()
            self.report.state = WorkerState.JOINING
        self.report.positions.pop(partition, None)
        self.report.ends.pop(partition, None)
        self.report.waiting.pop(partition, None)

    def _count(self, made: Plan) -> None:
        report = self.report
        report.applied += made.applied
        report.parked += len(made.parked)
        report.released += len(made.released)
        partition = made.end.partition
        report.waiting[partition] = max(0, report.waiting.get(partition, 0) + len(made.parked) - len(made.released))
        for entry in (*made.parked, *made.still_parked):
            if entry.attempts and entry.discarded is None:  # not those that only wait behind another: they can be many
                why, *trace = entry.message.splitlines()
                log.warning(
                    "parked",
                    extra={"sink": self.sink.name, "partition": partition, "offset": entry.offset,
                           "event": entry.event_id, "attempts": entry.attempts, "why": why,
                           **({"trace": " | ".join(map(str.strip, trace))} if trace else {})},
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
