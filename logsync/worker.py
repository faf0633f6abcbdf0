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
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from logsync.backoff import of_worker
from logsync.bookkeeping import Bookkeeper
from logsync.core.attempt import Attempt
from logsync.core.codec import Decoder
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner, at_fault, plan, skip_applied
from logsync.core.resume import check_identity
from logsync.core.sink import Sink
from logsync.core.sources import judge
from logsync.duplicates import duplicates
from logsync.errors import EventError, LogsyncError, PositionConflict
from logsync.following import Following
from logsync.log.contract import LogReader
from logsync.parked_retries import ParkedRetries
from logsync.partition import Partition, Polled, begin_at
from logsync.read_ahead import ReadAhead
from logsync.settings import Settings
from logsync.worker_status import STANDBY_AFTER, HeldLines, ParkedLines, WorkerState, WorkerStatus

log = logging.getLogger("logsync.worker")

LOOK_EVERY = 1.0
"""Seconds between two looks at the log's identity and end. A topic that is deleted and made again is noticed
before the first apply that comes later than this after the last look; this window is the limit of L1."""
STORE_EVERY = 5.0
"""Seconds without an apply after which the store's position is compared: a store that was restored or rebuilt while
its log is quiet must not wait for the next event to be noticed."""


class Worker:
    """One member of a sink's consumer group: applies the log to the store until it is told to stop.

    Runs on one thread; ``stop`` may be called from any other or from a signal handler. ``step`` is one turn of
    the loop. Errors that time can mend are waited for without limit; all others leave ``run`` as they are.
    ``only_retry``: apply nothing new, only the parked events that people asked to retry (K1: the owner does that).
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
        self._parked_lines, self._held_lines = ParkedLines(sink.name, clock), HeldLines(sink, clock)
        self._partitions: dict[int, Partition] = {}  # assigned
        self.status = WorkerStatus(self._partitions, turned_at=clock(), moved_at=clock())
        self._clock, self._now = clock, now
        self._only_retry = only_retry
        self._decode, self._marks = Decoder(sink.log, sink.handled), sink.log.codec.marks
        self._books = Bookkeeper(
            sink, settings.environment, from_log_start=from_log_start, accept_from_now=accept_from_now, now=now
        )
        self._retries = ParkedRetries(sink, self._books, self._decode, only_retry=only_retry, now=now, clock=clock)
        self._ahead = ReadAhead(self._partitions, self._decode, settings.batch_records)
        self._backoff = of_worker(sink, clock, chance)
        self._following = Following(sink, settings, reader, self.status, clock)
        self._opened = False
        self._met_store_at = float("-inf")  # applied, or compared positions
        self._alone_since = clock()
        self._looked_at = float("-inf")
        self.stopping = False  # until ``stop`` is called

    def __enter__(self) -> Worker:
        self.reader.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.status.state = WorkerState.STOPPED
        self._parked_lines.say(last=True)
        self.reader.close()
        self.sink.store.close()
        self._following.close()

    def stop(self) -> None:
        """Ask the loop to end after the plan it is applying. A search of the log for a plan not yet made is cut off."""
        self.stopping = True
        self.reader.interrupt()

    def run(self, until: Callable[[WorkerStatus], bool] = lambda _: False) -> None:
        """Turn the loop until ``stop`` is called or ``until`` says so. Raises what a person has to mend."""
        while not self.stopping and not until(self.status):
            try:
                self.step()
            except LogsyncError as error:
                self._obey(self.sink.addressed(error))

    def step(self) -> None:
        """One turn: at most one plan per partition. Raises LogsyncError; ``run`` obeys the policy about it."""
        self._turned()
        self._parked_lines.say()
        batch = self.reader.poll(self._patience(), self.settings.batch_records)  # 1 poll
        for number in batch.revoked:
            self._forget(number)
        ready = self._ahead.take(batch)
        self._partitions.update((number, Partition(number)) for number in batch.assigned)
        if batch.assigned or batch.revoked:
            self._backoff.reassigned()
        if self._waiting and not self._backoff.left:
            self._resume()  # 0 resume
        if self._read or not self._partitions:
            self._look_if_due()
        self._retries.turn(self._read, self._carry_out, self._may_retry, self._stops)
        for partition, polled in ready:
            log_of = self._books.book.log
            for piece in self._following.pieces(partition, polled, log_of, turned=self._turned, stopping=self._stops):
                self._apply(partition, piece)
        self._ahead.applied(ready)
        if self._read and self._clock() - self._met_store_at >= STORE_EVERY:
            self._compare()
        if self._read:
            self._retries.watch_if_due(self._read)

    @property
    def _read(self) -> list[Partition]:
        """The partitions whose position is known."""
        return [partition for partition in self._partitions.values() if partition.position is not None]

    @property
    def _waiting(self) -> list[Partition]:
        """Those whose position the store has to tell first."""
        now = self._clock()
        mine = (partition for _, partition in sorted(self._partitions.items()))
        return [partition for partition in mine if partition.position is None and partition.held_until <= now]

    def _stops(self) -> bool:
        return self.stopping

    def _may_retry(self, partition: Partition) -> bool:
        return self._following.may_retry(partition, self._books.book.log)

    def _turned(self) -> None:
        self.status.turned_at = self._clock()

    def _apply(self, partition: Partition, polled: Polled) -> None:
        part = polled.part
        polled.decode(self._decode, len(part.records))  # 2 decode: all of it, or what the waits have left
        events, whole = skip_applied(polled.events, partition.stored), part.next_offset  # 3 skip
        skips: Collection[int] = self._books.skips_of(part.partition)
        judged = judge(partition.stored.sources, partition.stored.next_offset, self._marks(part.records))  # U1
        if judged is not None:
            skips = {*skips, *judged.passed}
        doubled, unknown = duplicates(events, part.record, self.sink, self.reader, self._turned, skips)
        if unknown is not None and unknown.offset is not None:
            whole = unknown.offset
            events = [event for event in events if event.offset < whole]
        attempt = Attempt(events)

        def made_now() -> Plan:
            planner = ParkingPlanner(self.sink, partition.retries.waiting, part.record, self._now(), attempt.refused)
            return plan(
                self.sink, attempt.tried, partition.stored, next_offset=attempt.next_offset(whole),
                duplicates=doubled, aside=planner, skips=self._books.skips_of(part.partition),
                partitions=self._books.book.log.partitions, judged=judged,
            )  # fmt: skip

        while True:
            made = self._carry_out(partition, attempt, made_now)
            if made.failure is not None:
                raise made.failure
            if not attempt.go_on():
                break
        if unknown is not None:
            raise unknown

    def _carry_out(self, partition: Partition, attempt: Attempt, make: Callable[[], Plan]) -> Plan:
        """Plan and apply; where the store refuses an event, plan again with what is known about it then."""
        while True:
            made = make()  # 4 plan
            if made.moves:
                self._look_if_due()  # L1: not once per poll, because an apply before this one may have taken long
                self._books.note_skipped(made)
                try:
                    self.sink.store.apply(made)  # 5 apply: when it returns, writes and position are durable
                except EventError as error:
                    attempt.judge(at_fault(self.sink, error, made, attempt.events), error)
                    continue
                self.reader.commit(made.end)  # 6 commit: only now; losing it costs a replay, never data  # I1
                partition.applied(made)
                self._met_store_at = self._clock()
                if self._backoff.over():
                    log.info("applying again", extra={"sink": self.sink.name, "next": made.end.next_offset})
            self.status.count(made, self._clock(), self.sink.log.names)
            self._parked_lines.note(made)
            return made

    def _resume(self) -> None:
        """Begin every assigned partition where the store is. The one way back from every trouble."""
        store, sink = self.sink.store, self.sink
        if not self._opened:
            store.meanwhile = self._ahead.use_the_wait
            store.open(sink.name, self.settings)
            self._opened = True
        self.reader.check()  # L5
        book = self._books.resume(self.reader.identity(), self.reader)
        stored = store.positions()
        self._met_store_at = self._clock()
        waiting = self._waiting
        if any(partition.number not in stored for partition in waiting):
            self._books.look()  # emptied since the book was read: that is no loss of positions, and it begins anew
        for partition in waiting:
            number = partition.number
            position, (_, high) = begin_at(stored.get(number), number, sink, book, self.reader, self._turned)
            retries = self._retries.resume(number)
            if not self._only_retry:
                self.reader.start(position)
            self.reader.commit(position)  # P2: after a restore the bookmark is ahead; heal it at once
            partition.resume(position, retries, high)
            if not partition.held_until:
                log.info(
                    "resumed", extra={"sink": sink.name, "partition": number, "next": position.next_offset, "end": high}
                )
        self._retries.ask(self._read)
        self.status.state, self.status.reason = WorkerState.RUNNING, ""

    def _compare(self) -> None:
        """Is the store still where this worker believes it is, although nothing was applied for a while? # I2 P2"""
        stored = self.sink.store.positions()
        self._met_store_at = self._clock()
        for partition in self._read:
            partition.compare(stored.get(partition.number))

    def _look_if_due(self) -> None:
        """Is it still the same log, and how far does it reach? Before an apply, never older than LOOK_EVERY. # L1"""
        began = self._clock()  # the answer may be as old as the question: this machine may have stood still in between
        if began - self._looked_at < LOOK_EVERY:
            return
        identity = self.reader.identity()  # also finds a topic that does not exist: Kafka never assigns anything of it
        if self._books.known is not None:
            check_identity(self._books.known, self.sink, identity)
        read = self._read
        # In this order: whatever is written in between is not taken for something that a transaction holds back.
        written = self.reader.written([partition.number for partition in read])
        for partition in read:
            partition.looked(self.reader.bounds(partition.number)[1], written[partition.number])
        self._held_lines.note(read)
        self._looked_at = self.status.looked_at = began
        if self.status.lag == 0:
            self.status.moved_at = self._looked_at
        if not self._partitions and self._looked_at - self._alone_since >= STANDBY_AFTER:
            self.status.state, self.status.reason = WorkerState.STANDBY, ""

    def _obey(self, error: LogsyncError) -> None:
        """Do what the policy says about this error: wait and resume from the store, or let it out."""
        self.status.conflicts += isinstance(error, PositionConflict)
        self._backoff.obey(*self._books.judge(error, {each.number: each.stored for each in self._read}))
        # The plan is dropped. An outcome that is unknown needs nothing more: if the late original still commits, the
        # position read below or the next compare-and-set shows it, and nothing is applied twice. # P4
        self.reader.stop()
        for partition in self._partitions.values():
            partition.suspend()
        self._opened = False
        self.status.state, self.status.reason = WorkerState.WAITING, error.message
        self._following.tell()
        self.status.retries += 1

    def _patience(self) -> float:
        """Seconds that a poll may wait: up to the next thing that is due."""
        if self._ahead.holds:
            return 0.0
        if self._waiting:
            return min(0.5, self._backoff.left)
        if not self._partitions:
            return 0.1
        due = [each.held_until for each in self._partitions.values() if each.position is None]
        return max(0.0, min(0.5, min([self._looked_at + LOOK_EVERY, *due]) - self._clock()))

    def _forget(self, number: int) -> None:
        self._partitions.pop(number, None)
        if not self._partitions:
            self._alone_since = self._clock()
            self.status.state = WorkerState.JOINING
