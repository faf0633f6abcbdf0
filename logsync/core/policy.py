"""What to do about an error: one pure function over the error tree. The worker asks, and obeys."""

from __future__ import annotations

from dataclasses import dataclass

from logsync.errors import (
    EventError,
    LogsyncError,
    LogUnavailable,
    ParkingFull,
    PositionConflict,
    StoreError,
    Unreadable,
)


@dataclass(frozen=True, slots=True)
class Retry:
    """Resume from the store's position after ``after`` seconds."""

    after: float


@dataclass(frozen=True, slots=True)
class Park:
    """Set the event aside, and with it every later event of its sequence; go on with the others. # I7 I8"""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop the worker: a person has to look. Nothing is lost; the position stays where it is."""


CONFLICTS_BEFORE_HALT = 3
SET_BACK_BEFORE_HALT = 20
"""So often a store may go back under one assignment. It is restored by people, and they do not do that all day."""
_FIRST, _CEILING = 0.1, 0.9  # seconds; the ceiling is how late a worker may notice that its store is back


def disposition(
    error: LogsyncError,
    *,
    attempt: int = 1,
    conflicts: int = 0,
    set_back: int = 0,
    chance: float = 0.5,
    parks: bool = False,
) -> Retry | Park | Halt:
    """What to do, for any error of the tree.

    ``parks``: the sink's author wants events with this error parked; it says nothing about other errors.
    ``attempt`` counts failures in a row, from 1. ``conflicts`` counts position conflicts under one unchanged
    assignment: three mean that two programs use one sink name, and neither would ever stop. ``set_back`` counts those
    that come from the store itself (``resume.went_back``), which is no rival. # P3
    ``chance`` in [0, 1) is the jitter, given by the caller so that this stays a function.

    An outage is retried without limit: a store that is down says nothing about the event, so no number of
    attempts may turn it into a halt or a drop.
    """
    if isinstance(error, EventError):
        return Park() if parks and not isinstance(error, ParkingFull | Unreadable) else Halt()
    if isinstance(error, PositionConflict):
        too_many = conflicts >= CONFLICTS_BEFORE_HALT or set_back >= SET_BACK_BEFORE_HALT
        return Halt() if too_many else Retry(0.0)
    if isinstance(error, StoreError | LogUnavailable):
        # min() before the shift is useless otherwise: 2**attempt grows without limit over a long outage.
        pause = min(_CEILING, _FIRST * 2 ** min(attempt - 1, 16))
        return Retry(pause * (0.5 + chance / 2))
    return Halt()
