"""Exit codes, and the one place where an error becomes a code and a message."""

from __future__ import annotations

from enum import IntEnum

from logsync.errors import (
    ConfigError,
    EventError,
    LogError,
    LogsyncError,
    LogUnavailable,
    PositionConflict,
    StoreError,
)


class Exit(IntEnum):
    """What a script or a supervisor can tell from the exit code alone."""

    OK = 0
    NOT_FOUND = 1
    USAGE = 2
    CONFIG = 3
    EVENT = 4
    LOG = 5
    UNAVAILABLE = 6
    REFUSED = 7
    BEHIND = 8
    CONFLICT = 9
    FOUND_WARNING = 10
    FOUND_ERROR = 11
    PARKED = 12
    BUG = 70
    DRAIN_TIMEOUT = 75
    INTERRUPTED = 130
    TERMINATED = 143


MEANING = {
    Exit.OK: "done; consume: drained after a signal, or caught up with --until-end",
    Exit.NOT_FOUND: "show, history: no such record in the log; parked: nothing that is meant is parked",
    Exit.USAGE: "the command line itself is wrong",
    Exit.CONFIG: "settings, sink, topic or store are set up wrongly; restarting will not help",
    Exit.EVENT: "halted at an event that cannot be applied; nothing after it was applied",
    Exit.LOG: "the log is not the one that the position belongs to, or does not reach back to it",
    Exit.UNAVAILABLE: "Kafka or the store did not answer (consume waits instead)",
    Exit.REFUSED: "nothing was done: the command destroys something and wants --yes, or it does not apply",
    Exit.BEHIND: "status --fail-behind: a sink is behind by more than was allowed, or its state is not known",
    Exit.CONFLICT: "somebody else moves the position of this sink at the same time",
    Exit.FOUND_WARNING: "doctor: the worst finding is a warning: a fault would cost more than it must",
    Exit.FOUND_ERROR: "doctor: an error was found: a sink does not run, will halt, or could lose what it holds",
    Exit.PARKED: "parked retry, parked discard: carried out, and some events still cannot be applied",
    Exit.BUG: "a bug in logsync: please report the traceback",
    Exit.DRAIN_TIMEOUT: "consume: LOGSYNC_DRAIN_TIMEOUT passed before the plan in flight was through; nothing is lost",
    Exit.INTERRUPTED: "Ctrl-C; consume: a second SIGINT, ended at once; nothing is lost",
    Exit.TERMINATED: "consume: a second SIGTERM, ended at once; nothing is lost",
}


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
    return "\b\nExit codes:\n" + "\n".join(f"{code.value:>3} {code.name}: {text}" for code, text in MEANING.items())
