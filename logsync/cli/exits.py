"""Exit codes, and the one place where an error becomes a code and a message."""

from __future__ import annotations

from enum import IntEnum

from logsync.errors import (
    ConfigError,
    EventError,
    FactError,
    LogError,
    LogsyncError,
    LogUnavailable,
    PositionConflict,
    StoreError,
)


class Exit(IntEnum):
    """What a script or a supervisor can tell from the exit code alone."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    OK = 0, "done; consume: ended in order after a signal, or caught up with --until-end"
    NOT_FOUND = 1, "show, history: no such record in the log; parked: nothing that is meant is parked"
    USAGE = 2, "the command line itself is wrong"
    CONFIG = 3, "settings, sink, topic or store are set up wrongly; restarting will not help"
    EVENT = 4, "halted at an event that cannot be applied; nothing after it was applied"
    LOG = 5, "the log is not the one that the position belongs to, or does not reach back to it"
    UNAVAILABLE = 6, "Kafka or the store did not answer (consume waits instead)"
    REFUSED = 7, "nothing was done: the command destroys something and wants --yes, or it does not apply"
    BEHIND = 8, "wait: not there yet; status --fail-behind: more is behind or parked than allowed, or it does not run"
    CONFLICT = 9, "somebody else moves the position of this sink at the same time"
    FOUND_WARNING = 10, "doctor: the worst finding is a warning: a fault would cost more than it must"
    FOUND_ERROR = 11, "doctor: an error was found: a sink does not run, will halt, or could lose what it holds"
    PARKED = 12, "parked retry, parked discard: some events still cannot be applied; wait: the event is parked"
    PASSED_OVER = 13, "wait: the sink does not handle the event, or it was skipped by hand: it will never be there"
    BUG = 70, "a bug in logsync: please report the traceback"
    DRAIN_TIMEOUT = 75, "consume: LOGSYNC_DRAIN_TIMEOUT passed before the plan in flight was through; nothing is lost"
    INTERRUPTED = 130, "Ctrl-C; consume: a second SIGINT, ended at once; nothing is lost"
    TERMINATED = 143, "consume: a second SIGTERM, ended at once; nothing is lost"


class Refused(LogsyncError):
    """The command was not carried out, and nothing was changed."""


class NotFound(LogsyncError):
    """What was asked for is not in the log, or not parked."""


class StillParked(LogsyncError):
    """The retry was carried out, and something still waits."""


# First match wins: subclasses stand before their bases.
_CODES: tuple[tuple[type[LogsyncError], Exit], ...] = (
    (NotFound, Exit.NOT_FOUND),
    (Refused, Exit.REFUSED),
    (StillParked, Exit.PARKED),
    (ConfigError, Exit.CONFIG),
    (EventError, Exit.EVENT),
    (FactError, Exit.EVENT),
    (PositionConflict, Exit.CONFLICT),
    (StoreError, Exit.UNAVAILABLE),
    (LogUnavailable, Exit.UNAVAILABLE),
    (LogError, Exit.LOG),
)


def exit_for(error: LogsyncError) -> Exit:
    """The exit code of an error that ends a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.BUG)


def epilog() -> str:
    """The table of exit codes for ``logsync --help``; ``\\b`` tells typer to keep its lines apart."""
    return "\b\nExit codes:\n" + "\n".join(f"{code:>3} {code.name}: {code.meaning}" for code in Exit)
