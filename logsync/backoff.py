"""How a worker and a relay obey the policy: what to wait for and how long, and what a person must mend."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from logsync.core.policy import CONFLICTS_BEFORE_HALT, Retry, disposition
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError, PositionConflict

_SAY_EVERY = 30.0
"""Seconds between two log lines about the same outage."""


class Conflicts(NamedTuple):
    """How conflicts are counted, and what they come to."""

    within: float
    """Seconds in which they add up. Two programs under one name conflict all the time."""
    pause: float
    """Seconds before one that was moved aside tries again."""
    too_many: Callable[[PositionConflict, int, int], LogsyncError]
    """What a person is told at last: from the last one, how many came of rivals, and how many of a store set back."""


class Backoff:
    """Failures in a row, and conflicts under the present assignment."""

    def __init__(
        self,
        who: Mapping[str, str],
        log: logging.Logger,
        conflicts: Conflicts,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        """``who``: the fields of a log line that say whose trouble it is."""
        self._who, self._log, self._rule = who, log, conflicts
        self._clock, self._chance = clock, chance
        self._attempt = 0
        self._conflicts: list[float] = []  # when a rival moved the position
        self._set_back: list[float] = []  # when the store went back
        self._until = 0.0
        self._said_at = float("-inf")

    @property
    def left(self) -> float:
        """Seconds until it may be tried again."""
        return max(0.0, self._until - self._clock())

    def obey(self, error: LogsyncError, went_back: bool = False) -> None:
        """Returns if time can mend it: ``left`` says when to go on. Raises what a person has to mend.

        ``went_back``: this conflict comes from the store itself, see ``resume.went_back``.
        """
        now = self._clock()
        if isinstance(error, PositionConflict):
            times = self._set_back if went_back else self._conflicts
            times[:] = [*(at for at in times if now - at < self._rule.within), now]
        self._attempt += 1
        verdict = disposition(
            error,
            attempt=self._attempt,
            conflicts=len(self._conflicts),
            set_back=len(self._set_back),
            chance=self._chance(),
        )
        if not isinstance(verdict, Retry):
            if isinstance(error, PositionConflict):
                raise self._rule.too_many(error, len(self._conflicts), len(self._set_back)) from error
            raise error
        self._until = now + (self._rule.pause if isinstance(error, PositionConflict) else verdict.after)
        if self._attempt == 1 or now - self._said_at >= _SAY_EVERY:
            self._said_at = now
            extra = {**self._who, "attempt": self._attempt, "why": str(error)}
            self._log.warning("waiting, nothing is lost", extra=extra)

    def over(self) -> bool:
        """It goes on: whatever failed before is over. Returns whether anything had failed."""
        failed, self._attempt = self._attempt > 0, 0
        return failed

    def reassigned(self) -> None:
        """Another assignment: conflicts that come from the change of owners do not add up."""
        self._conflicts.clear()
        self._set_back.clear()


CONFLICTS_WITHIN = 600.0
"""Seconds in which the conflicts of a worker add up (P3)."""


def of_worker(sink: Sink, clock: Callable[[], float], chance: Callable[[], float]) -> Backoff:
    """The Backoff of a worker: a plan that met another position is made again at once, from where that one is."""

    def too_many(error: PositionConflict, rivals: int, set_back: int) -> ConfigError:  # P3
        what, fix = f"its position was moved by somebody else {rivals} times", "give one of them another sink name"
        also = ""
        if rivals < CONFLICTS_BEFORE_HALT:
            what, also = f"its position was set back {set_back} times", ", or something restores its store"
            fix += ", or end what restores the store, and start again"
        return ConfigError(
            f"sink {sink.name}: {what} under one assignment: two programs use this sink name{also}. "
            f"Last: {error.message}",
            fix=fix,
        )

    log = logging.getLogger("logsync.worker")
    return Backoff({"sink": sink.name}, log, Conflicts(CONFLICTS_WITHIN, 0.0, too_many), clock, chance)
