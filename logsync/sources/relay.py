"""The relay: hold the source, read the log, begin a term, then append, read back, confirm. # U1 U2 U3

    channel.send(...)       a fact, numbered
    channel.read_back(...)  it counts only when it is read back as taken: an acknowledgement is no proof  # U2
    origin.keep(...)        how far the log has the facts, in the origin's own database; rows of an outbox go with it
    origin.confirm(...)     only then may the origin forget them

A crash between any two lines costs a new term, in which what was not confirmed is read again, and what the log has
already is left out. Every trouble has one way out: give up what is under way, begin a new term.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from uuid_utils import uuid7

from logsync.core.codec import Encoded, id_of
from logsync.core.position import LogIdentity
from logsync.core.sources import MOST, MOST_TERMS, Mark, fold
from logsync.errors import (
    AppendRejected,
    ConfigError,
    FactError,
    LogIdentityError,
    LogUnavailable,
    PositionConflict,
    StoreUnavailable,
)
from logsync.sources.brought import AboveTheFloor, Brought
from logsync.sources.channel import Channel, Stretch
from logsync.sources.contract import Fact, Ledger, Portion
from logsync.sources.reading import LogIsShorter, ReadSoFar, log_so_far
from logsync.sources.source import Source
from logsync.sources.status import RelayState, RelayStatus
from logsync.sources.term import Point, Term

log = logging.getLogger("logsync.relay")

WINDOW = 5_000
"""Facts that may be on their way at once: sent, and not read back."""
WINDOW_BYTES = 16 << 20
_AT_ONCE = 500  # facts of one call of ``take``
_LOOK_EVERY = 1.0  # seconds between two looks at the log's identity
_REREAD = 100_000
"""Offsets that a takeover may have to read, at most about, however long its source was quiet."""
_BEAT = 1.0  # seconds for which the origin may hear nothing of its holder
_SILENCE = 10.0
"""Seconds without a record read back after which the term is given up: a stream that is held and not confirmed holds up
a shutdown of its database."""


class Relay:
    """Carries one source into its log until it is told to stop. One thread; ``stop`` may be called from any other."""

    def __init__(
        self,
        source: Source,
        channel: Channel,
        settings: Any,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        writer: Callable[[], str] = lambda: secrets.token_hex(8),
        brought: Brought | None = None,
        confirm_every: float = 0.5,
    ) -> None:
        self.source, self.origin, self.channel = source, source.origin, channel
        self._settings, self._clock, self._now, self._writer = settings, clock, now, writer
        self.status = RelayStatus(turned_at=clock())
        self._confirm_every = confirm_every  # seconds; each time costs the origin's database a transaction
        self.stopping = False
        self.last: dict[int, int] = {}
        """Per partition, the highest offset of what was read back."""
        self._term: Term | None = None
        self._leading = False  # this term's barriers were read back
        self._read: dict[int, ReadSoFar] = {}
        self._log: LogIdentity
        self._floor = self._last = ""
        self._skips: dict[str, str] = {}
        self._brought: Brought = brought or AboveTheFloor()
        self._incarnation = 0
        self._halt: FactError | None = None
        self._looked_at = float("-inf")
        self._heard_at = self._confirmed_at = float("-inf")
        self._kept = ""

    def stop(self) -> None:
        """Ask the relay to end. What is under way is read back and confirmed if that takes no longer than a moment."""
        self.stopping = True

    @property
    def through(self) -> bool:
        """Is nothing under way, and everything that was read back confirmed?"""
        return self._term is None or not self._leading or not (self._term.facts_under_way or self._term.points)

    def close(self) -> None:
        """Let go of origin and log. What was not confirmed comes again in the next term."""
        self._term, self._leading = None, False
        self.channel.close()
        self.origin.close()

    def step(self) -> None:
        """One turn. Raises LogsyncError; after one, ``close`` and begin again."""
        self.status.turned_at = self._clock()
        if self._term is None:
            self._begin()
        elif not self._leading:
            self._keep_hold()
            self._read_back(self._term, 0.05)
            self._lead_if_through(self._term)
        else:
            self._carry(self._term)

    # A term begins

    def _begin(self) -> None:
        # The log first: while it is down nothing holds the stream, and with it a shutdown of the database.
        self._log = self.channel.open()
        self.origin.open(self.source.name, self._settings)
        ledger = self.origin.ledger()
        greatest = self._read_log(ledger)
        if ledger is None:
            if greatest:
                raise ConfigError(
                    f"source {self.source.name}: the log has records of it, and its database knows of none: another "
                    "database uses this name, or this one was restored or replaced",
                    fix=f"give one of them another name; if this database stands in the place of the other: "
                    f"`logsync source adopt {self.source.address}`",
                )
            # Before the first barrier: a crash behind that must not look like a database that was replaced.
            ledger = Ledger(self._log, "", self._places())
            self.origin.keep(ledger)
        term = Term(self._next_term(max(greatest, ledger.term)), self._writer(), self._read)
        if not self.origin.holds():  # U3
            raise StoreUnavailable(f"source {self.source.name}: its hold was lost while the log was read")
        mark = Mark(self.source.name, term.number, term.writer, 0, "")
        for partition in self._read:
            codec = self.source.log.codec
            barrier = codec.barrier(self.source.log, mark, event_id=str(uuid7()), time=self._now())
            if not self.channel.send(partition, barrier):
                raise LogUnavailable("the producer takes no records")
        self.channel.follow({partition: read.known.next_offset for partition, read in self._read.items()})
        self._term, self._leading, self._halt = term, False, None
        self._floor = self._last = self._kept = ledger.floor
        self._incarnation, self._skips = ledger.incarnation, dict(self.origin.skips())
        self._heard_at = self._clock()
        self.status.state, self.status.term = RelayState.TAKING_OVER, term.number

    def _next_term(self, greatest: int) -> int:
        if greatest >= MOST_TERMS:
            raise ConfigError(
                f"source {self.source.name}: a record in the log names term {greatest}, and there is none after it: "
                "no relay has written that",
                fix="find out who else writes to this topic; then create the source under another name",
            )
        return greatest + 1

    def _read_log(self, ledger: Ledger | None) -> int:
        """Read every partition to its end. Returns the greatest term of this source that stands there, taken or not."""
        self._brought.begin(ledger.floor if ledger else "")
        if ledger is not None and (differences := ledger.log.differences(self._log)):
            raise self._other_log(f"its log is another one: {'; '.join(differences)}")
        try:
            self._read, greatest = log_so_far(
                self.source, self.channel, ledger, self._brought.note, meanwhile=self._keep_hold
            )
        except LogIsShorter as found:
            raise self._other_log(str(found)) from None
        return greatest

    def _keep_hold(self) -> str | None:
        """A server ends a stream that says nothing for a minute, and a session that asks nothing."""
        self.status.turned_at = self._clock()
        return self.origin.take(0, 0).end

    def _other_log(self, what: str) -> LogIdentityError:
        return LogIdentityError(
            f"source {self.source.name}: {what}",
            fix=f"point LOGSYNC_KAFKA at the right cluster, or `logsync source adopt {self.source.address}` to go on "
            "in this log with what comes from now on",
        )

    def _lead_if_through(self, term: Term) -> None:
        if all(term.holds(read.state(self.source.name)) for read in self._read.values()):
            self._leading = True
            self._keep(term)  # U3: from here on no relay before this one writes there
            self._brought.complete()
            self.status.state, self.status.reason = RelayState.RUNNING, ""
            log.info("relaying", extra={"source": self.source.name, "term": term.number, "after": self._floor or "-"})

    # Facts

    def _carry(self, term: Term) -> None:
        under_way = term.facts_under_way
        room = min(_AT_ONCE, WINDOW - under_way) if term.bytes < WINDOW_BYTES and not self.stopping else 0
        room = 0 if self._halt else room
        asked = self._clock()
        portion = self.origin.take(room, 0.0 if under_way or self.stopping else 0.2)
        if (portion.facts or portion.end is not None) and self._halt is None:
            self._send(term, portion)
        heard = self._clock()
        self._heard_at = min(heard, self._heard_at + heard - asked)  # so long nobody has listened to the log
        # Only who has nothing else to do waits: the client takes all of the time that it is given.
        idle = not portion.facts and portion.end is None
        self._read_back(term, 0.005 if idle and term.facts_under_way else 0.0)
        self._confirm(term)
        self.status.under_way = term.facts_under_way
        if self._halt is not None and not term.facts_under_way:
            raise self._halt  # everything before it is in the log, and confirmed

    def _send(self, term: Term, portion: Portion) -> None:
        ids, end = list[str](), portion.end
        for fact in portion.facts:
            if self._clock() - self.status.turned_at > _BEAT:  # a mapping may be slow, and records large
                end = self._keep_hold() or end
            at = f"{self._incarnation:04x}-{fact.at}"
            try:
                encoded = self._encoded(fact, at)
                if encoded is not None:
                    self._append(term, encoded, at)
            except FactError as error:  # what stands before it enters the log first
                self._halt, end = error, None
                break
            except AppendRejected as error:
                self._halt, end = self.source.refused(fact, at, error.message), None
                break
            # Only now: what is refused must be neither confirmed nor deleted.
            self._last = at
            if fact.id is not None:
                ids.append(fact.id)
        term.points.append(Point(self._last, end, ids))

    def _append(self, term: Term, encoded: Encoded, at: str) -> None:
        partition = self.channel.partition(encoded.key)
        mark = Mark(self.source.name, term.number, term.writer, term.sent[partition] + 1, at)
        record = self.source.log.codec.marked(encoded, mark)
        while not self.channel.send(partition, record):
            self._read_back(term, 0.05)
        term.has_sent(partition, at, len(encoded.key) + len(encoded.value or b""))

    def _encoded(self, fact: Fact, at: str) -> Encoded | None:
        """What is to be sent of this fact; None for nothing. Raises FactError."""
        if self._brought.has(self.source, fact, at):
            return None
        if at in self._skips:
            self.status.skipped += 1
            return None
        encoded = self.source.encoded(fact, at)
        self.status.passed_over += encoded is None
        return encoded

    def _read_back(self, term: Term, timeout: float) -> None:
        failure = self.channel.failure()
        if failure is not None:
            if isinstance(failure.error, AppendRejected) and term.under_way[failure.partition]:
                at = term.under_way[failure.partition][0][0]
                raise self.source.unfit(f"the record at {at}, the first that is not in the log,", at, failure.error)
            raise failure.error
        for stretch in self.channel.read_back(timeout):
            self._heard_at = self._clock()
            self._judge(term, stretch)
        silent = self._clock() - self._heard_at
        if (term.facts_under_way or not self._leading) and silent > _SILENCE:
            raise LogUnavailable(f"nothing that was sent has been read back for {silent:.0f} s")
        if not term.facts_under_way and self._leading:
            self._heard_at = self.status.moved_at = self._clock()

    def _judge(self, term: Term, stretch: Stretch) -> None:
        read, name, top = self._read[stretch.partition], self.source.name, ""
        marks = self.source.log.codec.marks(stretch.records)
        after, passed = fold(read.known, marks, stretch.next_offset)
        state = after.states.get(name)
        if state is None and len(after.states) >= MOST:
            raise ConfigError(f"the log has {MOST} sources already, and takes no more", fix="use another topic")
        if state is not None and state.term >= term.number and not term.holds(state):  # U3
            raise PositionConflict(
                f"source {name}: another relay has taken over: term {state.term} in partition {stretch.partition}",
                fix="run one relay per source; a second one waits for the first",
            )
        for offset, mark in marks:
            if mark is None or mark.source != name or mark.number == 0:
                continue
            top = top if offset in passed else max(top, mark.at)
            if (mark.term, mark.writer) != (term.number, term.writer):
                if offset not in passed:  # of the writer before, up to our barrier
                    record = next(each for each in stretch.records if each.offset == offset)
                    self._brought.note(stretch.partition, mark.at, id_of(self.source.log, record))
            elif offset in passed:
                if mark.number > term.read(stretch.partition):  # else somebody copied what was taken
                    raise LogUnavailable(f"partition {stretch.partition}: Kafka dropped records before {offset}")
            elif not term.expects(stretch.partition, mark):
                raise LogUnavailable(
                    f"partition {stretch.partition}: at {offset} is a record in this relay's name that it did not write"
                )
            else:
                term.taken(stretch.partition)  # U2
                self.last[stretch.partition] = offset
                self.status.relayed, self.status.moved_at = self.status.relayed + 1, self._heard_at
        read.read(after, top)

    def _confirm(self, term: Term) -> None:
        """What was read back is written down, and only then confirmed. # U2"""
        if self._clock() - self._confirmed_at < self._confirm_every and not self.stopping:
            return
        # A quiet source in a busy log: a successor would read all of what others have written since.
        reached, behind = term.reached(), sum(read.unsettled for read in self._read.values()) > _REREAD
        if not reached and not behind:
            return
        if self._clock() - self._looked_at >= _LOOK_EVERY:  # L1
            if differences := self._log.differences(self.channel.identity()):
                raise self._other_log(f"its log was replaced: {'; '.join(differences)}")
            self._looked_at = self._clock()
        self._floor = max(self._floor, *(point.at for point in reached[-1:]), "")
        ids = [each for point in reached for each in point.ids]
        if self._floor != self._kept or behind or ids:
            self._keep(term, ids)
        end = max((point.end for point in reached if point.end is not None), default=None)
        if end is not None:
            self.origin.confirm(end)
            self.status.confirmed = end
        self._confirmed_at = self._clock()

    def _keep(self, term: Term, ids: Sequence[str] = ()) -> None:
        for read in self._read.values():
            read.settle(self._floor)
        self.origin.keep(Ledger(self._log, self._floor, self._places(), term.number, self._incarnation), ids)
        self._kept = self._floor

    def _places(self) -> dict[int, tuple[int, str | None]]:
        return {number: read.place for number, read in self._read.items()}
