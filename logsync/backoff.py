"""How a worker obeys the policy: what to wait for and how long, and what a person must mend."""

from __future__ import annotations

import logging
from collections.abc import Callable

from logsync.core.policy import CONFLICTS_BEFORE_HALT, Retry, disposition
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError, PositionConflict

log = logging.getLogger("logsync.worker")

CONFLICTS_WITHIN = 600.0
"""Seconds in which conflicts add up (P3). Two programs on one sink name conflict all the time."""
_SAY_EVERY = 30.0
"""Seconds between two log lines about the same outage."""


class Backoff:
    """Failures in a row, and conflicts under the present assignment."""

    def __init__(self, sink: Sink, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._sink, self._clock, self._chance = sink, clock, chance
        self._attempt = 0
        self._conflicts: list[float] = []  # when a rival moved the position
        self._set_back: list[float] = []  # when the store went back
        self._until = 0.0
        self._said_at = float("-inf")

    @property
    def left(self) -> float:
        """Seconds until the store may be asked again."""
        return max(0.0, self._until - self._clock())

    def obey(self, error: LogsyncError, went_back: bool = False) -> None:
        """Returns if time can mend it: ``left`` says when to go on. Raises what a person has to mend.

        ``went_back``: this conflict comes from the store itself, see ``resume.went_back``.
        """
        if isinstance(error, PositionConflict):
            now, times = self._clock(), self._set_back if went_back else self._conflicts
            times[:] = [*(at for at in times if now - at < CONFLICTS_WITHIN), now]
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
                raise self._moved(error) from error
            raise error
        self._until = self._clock() + verdict.after
        if self._attempt == 1 or self._clock() - self._said_at >= _SAY_EVERY:
            self._said_at = self._clock()
            log.warning(
                "waiting, nothing is lost",
                extra={"sink": self._sink.name, "attempt": self._attempt, "why": str(error)},
            )

    def _moved(self, error: PositionConflict) -> ConfigError:  # P3
        name, times = self._sink.name, len(self._conflicts)
        what, fix = f"its position was moved by somebody else {times} times", "give one of them another sink name"
        also = ""
        if len(self._conflicts) < CONFLICTS_BEFORE_HALT:
            what, also = f"its position was set back {len(self._set_back)} times", ", or something restores its store"
            fix += ", or end what restores the store, and start again"
        return ConfigError(
            f"sink {name}: {what} under one assignment: two programs use this sink name{also}. Last: {error.message}",
            fix=fix,
        )

    def applied(self, next_offset: int) -> None:
        """A plan is in the store: whatever failed before is over."""
        if self._attempt:
            log.info("applying again", extra={"sink": self._sink.name, "next": next_offset})
        self._attempt = 0

    def reassigned(self) -> None:
        """Another assignment: conflicts that come from the change of owners do not add up."""
        self._conflicts.clear()
        self._set_back.clear()
