"""One plan, one transaction: compare and set the position, then the writes, then COMMIT. # I1 I2 I4"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg

from logsync.core.formats import number
from logsync.core.plan import Plan
from logsync.core.raised import in_words, last_lines
from logsync.core.write import Write
from logsync.errors import HandlerError, LogsyncError, PositionConflict, WriteRejected
from logsync.stores.postgres.catalog import Catalog
from logsync.stores.postgres.coalesce import DoesNotFit, RowsRefused
from logsync.stores.postgres.encode import escaped
from logsync.stores.postgres.errors import Verdict, describe, does_not_fit, verdict
from logsync.stores.postgres.guard import GuardedCursor
from logsync.stores.postgres.link import Link
from logsync.stores.postgres.parking import changes
from logsync.stores.postgres.statements import Statement, Tables
from logsync.writes.rows import InTransaction

# The compare-and-set, which is all the fencing there is. It waits for a transaction that moves the same row
# and then looks again, so of two workers one changes a row and the other none.
#
# A late original loses this race as well (P4): COMMIT was sent, the server was stopped, we gave up with
# StoreOutcomeUnknown and planned again from the old position. The original still holds this row, so we wait;
# it commits, we match nothing, and PositionConflict sends the worker back to read the position.
_MOVE = f"""
UPDATE logsync.position
SET next_offset = %s, last_offset = %s, last_id = %s, leader_epoch = %s, epoch = %s, releases = %s, sources = %s,
    format = {number("position")}
WHERE sink = %s AND partition = %s AND (epoch, next_offset, releases) = (%s, %s, %s)
"""
_FOUND = "SELECT epoch, next_offset, releases FROM logsync.position WHERE sink = %s AND partition = %s"


class PlanRefused(Exception):
    """The server, the client library or logsync refused one of the writes that were tried together."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Altered(Exception):
    """The tables are not what the plan's statements were made for."""


@dataclass(frozen=True)
class Transaction:
    """Carries out one plan on an idle connection. Leaves the connection to the caller after an error."""

    link: Link
    tables: Tables
    catalog: Catalog
    sink: str
    plan: Plan
    opening: list[Statement]
    locks: bool = False
    """The opening ends with Catalog.locked: what the plan itself does to its tables is not held against it."""

    def in_bulk(self) -> None:
        """Two round trips: everything but COMMIT, then COMMIT.

        Raises PlanRefused, Altered, PositionConflict, psycopg.Error.
        """
        self._send(self.plan.writes, begin=True, end=not self.locks)
        try:
            self.link.finish()
        except psycopg.Error as error:
            if self.link.lost or verdict(error) is Verdict.UNAVAILABLE:
                raise
            raise PlanRefused(error) from None  # a deferred constraint: the server has rolled back

    def one_by_one(self) -> None:
        """Find the first event in log order that is at fault, or carry the plan out after all. # G1

        Bulk is an optimisation, so its refusal proves nothing yet. Ranges of events are tried together
        under a savepoint and halved until they pass or hold a single event. Every range before the one at
        hand has been carried out by then, so the first single event that fails is the first at fault.
        Raises WriteRejected, HandlerError, ConfigError, Altered, PositionConflict, psycopg.Error.
        """
        self._send([], begin=True)
        self._halve(self.plan.by_event())
        self._send([], end=not self.locks)
        self.link.finish()

    def rehearse(self, empty: Sequence[str]) -> None:
        """The writes as ``one_by_one`` does them, after these tables were emptied, and then nothing of it.

        Raises WriteRejected, HandlerError, ConfigError, psycopg.Error. Moves no position.
        """
        self._run(self.opening)
        if empty:
            self.link.ask(f"TRUNCATE {', '.join(empty)}".replace("%", "%%"))
        self._halve(self.plan.by_event())
        self.link.abort()

    def _halve(self, events: Sequence[tuple[int, list[Write]]]) -> None:
        if not events:
            return
        try:
            self._try([write for _, writes in events for write in writes])
            return
        except PlanRefused as refusal:
            self.link.ask("ROLLBACK TO SAVEPOINT logsync")
            if len(events) == 1 and len(events[0][1]) == 1:
                raise _blame(refusal.cause, *events[0]) from None
        if len(events) == 1:
            offset, writes = events[0]
            try:
                self._try(writes, together=False)
            except PlanRefused as refusal:
                raise _blame(refusal.cause, offset, writes) from None
        else:
            middle = len(events) // 2
            self._halve(events[:middle])
            self._halve(events[middle:])

    def _try(self, writes: Sequence[Write], *, together: bool = True) -> None:
        """Deferred constraints are checked here as at a COMMIT, else they would name no event."""
        parts = [writes] if together else [[write] for write in writes]
        self.link.ask("SAVEPOINT logsync")
        for part in parts:
            self._send(part)
        checks = ("SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED", "RELEASE SAVEPOINT logsync")
        self._run([Statement(sql, ()) for sql in checks])

    def _move(self) -> Statement:
        start, end = self.plan.start, self.plan.end
        last_id = end.last_id and escaped(end.last_id)
        new = (end.next_offset, end.last_offset, last_id, end.leader_epoch, end.epoch, end.releases, end.sources)
        return Statement(_MOVE, (*new, self.sink, start.partition, *start.place))

    def _send(self, writes: Iterable[Write], *, begin: bool = False, end: bool = False) -> None:
        """Send ``writes`` in few round trips. ``begin``: and before them what is logsync's own. ``end``: and behind
        them the question whether the tables still are what the statements were made for.
        """
        batch = [*self.opening, self._move(), *changes(self.sink, self.plan)] if begin else []
        own = len(batch)
        for step in self._steps(writes):
            if isinstance(step, InTransaction):
                self._run(batch, own)
                batch, own = [], 0
                self._call(step)
            else:
                batch.append(step)
        still = self.catalog.still() if end else []
        cursors = self._run([*batch, *still], own)
        if still and not self.catalog.is_still(cursors[-1]):
            raise Altered
        if begin and self.locks and not self.catalog.is_still(cursors[len(self.opening) - 1]):
            raise Altered

    def _steps(self, writes: Iterable[Write]) -> Iterator[Statement | InTransaction]:
        try:
            yield from self.tables.steps(writes)
        except Exception as error:  # noqa: BLE001 - also what a value raises when it is compared, hashed or written as a text
            raise PlanRefused(error) from None

    def _run(self, batch: Sequence[Statement], own: int = 0) -> list[psycopg.Cursor[tuple[Any, ...]]]:
        """``own``: so many in front are logsync's own, which no event can be at fault for."""
        cursors = [self.link.cursor() for _ in batch]
        try:
            self.link.run(cursors, batch)
        except Exception as error:
            if own and cursors[own - 1].rowcount < 0:
                raise  # before the first write
            self._judge(error)
        if own and cursors[len(self.opening)].rowcount == 0:
            self._conflict()
        return cursors

    def _call(self, step: InTransaction) -> None:
        with self.link.cursor() as cursor:
            guarded = GuardedCursor(cursor)
            try:
                step.run(guarded, step.event)
            except Exception as error:
                seen: BaseException | None = error
                while seen is not None and not isinstance(seen, psycopg.Error):
                    seen = seen.__cause__ or seen.__context__
                if isinstance(seen, psycopg.Error):
                    self._judge(seen)  # an error of the database, whatever the handler did with it
                raise PlanRefused(error) from error
            finally:
                guarded._end()
        if self.link.status is not psycopg.pq.TransactionStatus.INTRANS:
            raise PlanRefused(
                RowsRefused("the handler caught an error of the database: the transaction is lost with it")
            )

    def _judge(self, error: Exception) -> NoReturn:
        """Raise ``error`` itself if it says nothing about the writes, else PlanRefused."""
        if self.link.lost or verdict(error) is Verdict.UNAVAILABLE:
            raise error
        raise PlanRefused(error) from None

    def _conflict(self) -> NoReturn:
        start = self.plan.start
        self.link.ask("ROLLBACK")
        row = self.link.ask(_FOUND, self.sink, start.partition).fetchone()
        raise PositionConflict(
            f"sink {self.sink}, partition {start.partition}: expected the position at {_words(*start.place)}; "
            f"found {_words(*row) if row else 'no position'}"
        )


def _words(epoch: int, next_offset: int, releases: int) -> str:
    return f"epoch {epoch}, next offset {next_offset}" + (f" after {releases} releases" if releases else "")


def _blame(cause: Exception, offset: int, writes: Sequence[Write]) -> LogsyncError:
    """The error of the event at ``offset``, whose ``writes`` failed for ``cause``."""
    tables = sorted({str(name) for write in writes if (name := getattr(write, "table", ""))})
    about = f" (writes to {', '.join(tables)})" if tables else ""
    if isinstance(cause, DoesNotFit) or (not isinstance(cause, RowsRefused) and verdict(cause) is Verdict.CONFIG):
        return does_not_fit(describe(cause), offset, about)
    if isinstance(cause, RowsRefused | psycopg.Error | UnicodeError):
        return WriteRejected(f"Postgres refuses a write of this event{about}: {describe(cause)}", offset=offset)
    names = [getattr(write.run, "__qualname__", "?") for write in writes if isinstance(write, InTransaction)]
    if names:
        what = f"InTransaction {', '.join(names)} raised {in_words(cause)}"
        return HandlerError(what, offset=offset, trace=last_lines(cause))
    return WriteRejected(f"a write of this event{about} failed: {type(cause).__name__}: {cause}", offset=offset)
