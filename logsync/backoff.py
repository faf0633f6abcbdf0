"""How a worker obeys the policy: what to wait for and how long, and what a person must mend."""

from __future__ import annotations

import logging
from collections.abc import Callable

from logsync.core.policy import Retry, disposition
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError, PositionConflict

log = logging.getLogger("logsync.worker")

CONFLICTS_WITHIN = 600.0
"""Seconds in which conflicts add up (P3). Two programs on one sink name conflict all the time; restores do not."""
_SAY_EVERY = 30.0
"""Seconds between two log lines about the same outage."""


class Backoff:
    """Failures in a row, and conflicts under the present assignment."""

    def __init__(self, sink: Sink, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._sink, self._clock, self._chance = sink, clock, chance
        self._attempt = 0
        self._conflicts: list[float] = []  # when
        self._until = 0.0
        self._said_at = float("-inf")

    @property
    def left(self) -> float:
        """Seconds until the store may be asked again."""
        return max(0.0, self._until - self._clock())

    def obey(self, error: LogsyncError) -> None:
        """Returns if time can mend it: ``left`` says when to go on. Raises what a person has to mend."""
        if isinstance(error, PositionConflict):
            now = self._clock()
            self._conflicts = [*(at for at in self._conflicts if now - at < CONFLICTS_WITHIN), now]
        self._attempt += 1
        verdict = disposition(error, attempt=self._attempt, conflicts=len(self._conflicts), chance=self._chance())
        if not isinstance(verdict, Retry):
            if isinstance(error, PositionConflict):
                raise ConfigError(
                    f"sink {self._sink.name}: its position was moved by somebody else {len(self._conflicts)} times "
                    f"under one assignment: two programs use this sink name. Last: {error.message}",  # P3
                    fix="give one of them another sink name",
                ) from error
            raise error
        self._until = self._clock() + verdict.after
        if self._attempt == 1 or self._clock() - self._said_at >= _SAY_EVERY:
            self._said_at = self._clock()
            log.warning(
                "waiting, nothing is lost",
                extra={"sink": self._sink.name, "attempt": self._attempt, "why": str(error)},
            )

    def applied(self, next_offset: int) -> None:
        """A plan is in the store: whatever failed before is over."""
        if self._attempt:
            log.info("applying again", extra={"sink": self._sink.name, "next": next_offset})
        self._attempt = 0

    def reassigned(self) -> None:
        """Another assignment: conflicts that come from the change of owners do not add up."""
        self._conflicts.clear()
