"""The error tree. A class says what is known about the data, never which client raised it.

The worker asks :func:`logsync.core.policy.disposition` what an error means; that function sees nothing
but these classes. Each store maps the errors of its own client into the tree, in one table of its own.

Every message names what was expected, what was found, and (``fix``) the command or setting that mends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from logsync.core.receipt import Receipt
from logsync.core.secrets import hide
from logsync.core.text import short

_SHOWN = 200
"""Characters of an event's id and type that a message repeats: a stranger may have written a megabyte."""


class LogsyncError(Exception):
    """Base of every error that logsync raises on purpose.

    ``fix`` is the next thing a person should do, or an empty string. ``str(error)`` contains both parts.
    The words SINK and SOURCE in a ``fix`` stand for what the command line calls the sink or the source: a store or an
    origin does not know it, and ``addressed`` of Sink and Source puts it there.
    A message may repeat what a client library says; known secrets are taken out of it here, before anything shows it.
    """

    def __init__(self, message: str, *, fix: str = "") -> None:
        self.message = hide(message)
        super().__init__(self.message)
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  to mend it: {self.fix}" if self.fix else self.message


def in_commands(fix: str, address: str) -> str:
    """``fix`` with the ``address`` of a sink or a source where it says SINK or SOURCE."""
    return re.sub(r"\b(SINK|SOURCE)\b", lambda _: address, fix)


class ConfigError(LogsyncError):
    """The set-up is wrong, and a person has to change it. Halts the worker before anything is applied."""


class EventError(LogsyncError):
    """One record cannot be applied; every record before it can. The position stands AT this record.

    A store names the offset only (it sees writes, not records); ``logsync.core.planning.located`` adds the rest.
    """

    def __init__(
        self,
        message: str,
        *,
        fix: str = "",
        partition: int = -1,
        offset: int = -1,
        event_id: str | None = None,
        event_type: str | None = None,
        topic: str = "",
        trace: Sequence[str] = (),
    ) -> None:
        super().__init__(message, fix=fix)
        self.partition = partition
        self.offset = offset
        self.event_id = event_id
        self.event_type = event_type
        self.topic = topic
        self.trace = tuple(trace)
        """The last lines of the traceback, if the user's own code raised; bounded, and without values of variables."""

    @property
    def told(self) -> str:
        """The message and the trace, as they are kept with a parked event."""
        return "\n".join((self.message, *self.trace))

    def __str__(self) -> str:
        where = f"{self.topic}, partition {self.partition}, offset {self.offset}"
        named = short(self.event_id, _SHOWN) if self.event_id else "without id"
        what = f"event {named} of type {short(self.event_type, _SHOWN) if self.event_type else 'unknown'}"
        text = f"{where}: {what}: {self.message}" + "".join(f"\n  {line}" for line in self.trace)
        return f"{text}\n  to mend it: {self.fix}" if self.fix else text


class DecodeError(EventError):
    """The record's bytes or headers are not an event of this log."""


class Unreadable(EventError):
    """The log cannot be read at this offset: a damaged batch, or one that is too large for the client. Never parked.

    Nobody can tell which events it held, nor their keys: whatever came after them of the same keys would overtake them.
    # L6
    """


class UnknownEventType(EventError):
    """The log does not know this type, or the sink has no handler for this version of a type it handles."""


class HandlerError(EventError):
    """The handler raised. What it returns wrongly is a ConfigError: no event is at fault for that."""


class WriteRejected(EventError):
    """The store refused this event's write (constraint, missing column, mapping conflict).

    Nothing of the plan was applied. ``offset`` names the first event in log order that the store refuses.
    """


class FactError(LogsyncError):
    """One fact of a source cannot enter the log. Every fact before it does; nothing at or after it is confirmed.

    Nothing is parked at a source: what comes after it may follow from it.
    """


class ParkingFull(EventError):
    """The event would be parked, and the sink's limit on what may be parked is reached. Never parked itself."""


class StoreError(LogsyncError):
    """The store could not do what was asked, and the event is not at fault."""


class StoreUnavailable(StoreError):
    """Nothing was applied: the store refused, was not there, or said so itself."""


class StoreOutcomeUnknown(StoreError):
    """The connection broke while applying: the plan is applied completely or not at all. Read the position."""


class PositionConflict(StoreError):
    """The stored position is not the plan's start: somebody else moved it, or the store went back in time.

    Nothing of the plan was applied (replayable store: nothing that an event already applied does not cover).
    """


class LogError(LogsyncError):
    """The log is not what the position or the producer expects."""


class LogUnavailable(LogError):
    """Kafka did not answer in time. Nothing is lost; the worker waits and asks again."""


class PositionGap(LogError):
    """The next offset to read is outside the log: events between the position and the log are gone."""


class LogIdentityError(LogError):
    """This is not the log that the position belongs to: recreated, truncated, migrated or repartitioned."""


class AppendRejected(LogError):
    """The event is surely not in the log. Appending it again as a new event is safe."""


class AppendOutcomeUnknown(LogError):
    """The event may be in the log. Only :meth:`retry` may send it again; a new append could double it. # A1"""

    def __init__(self, message: str, *, event_id: str, retry: Callable[[float | None], Receipt]) -> None:
        super().__init__(message, fix="call retry() on this error; it cannot double the event in any store")
        self.event_id = event_id
        self._retry = retry

    def retry(self, timeout: float | None = None) -> Receipt:
        """Append the same event again, under the same id, marked so that consumers drop a double.

        ``timeout`` in seconds (default: the producer's). Call it on the producer that raised this error, in
        the same process: only there does Kafka's idempotence fence a late original.
        Raises AppendOutcomeUnknown again (retry that one), or AppendRejected.
        """
        return self._retry(timeout)


class Outcome(Enum):
    """What became of one event that was given to ``append_many``."""

    APPENDED = "appended"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"


class AppendReport(NamedTuple):
    """What became of the events given to ``append_many``, counted from 0 in the order they were taken."""

    appended: int
    """How many are surely in the log."""
    taken: int
    """How many were taken from the iterable; all that follow were not sent."""
    last: dict[int, int]
    """Per partition, the highest offset that was appended."""
    rejected: dict[int, AppendRejected]
    """Surely not in the log, by index."""
    unknown: dict[int, AppendOutcomeUnknown]
    """May be in the log, by index in order. Only their ``retry()`` may send them again."""

    def outcome(self, index: int) -> Outcome:
        """What became of the event with this index."""
        if index >= self.taken:
            return Outcome.NOT_SENT
        if index in self.unknown:
            return Outcome.UNKNOWN
        return Outcome.REJECTED if index in self.rejected else Outcome.APPENDED


class AppendIncomplete(LogError):
    """``append_many`` stopped at its first failure. ``report`` says what became of each event. # A2"""

    def __init__(self, message: str, *, report: AppendReport, retry: Callable[[], AppendReport]) -> None:
        super().__init__(
            message,
            fix="call retry() on this error if report.unknown is not empty, then append_many what was not taken",
        )
        self.report = report
        self._retry = retry

    def retry(self) -> AppendReport:
        """Append again, in order, what may or may not be in the log; it cannot double. # A1

        Returns when all of it is in the log. Raises AppendIncomplete again: go on with that one.
        """
        return self._retry()
