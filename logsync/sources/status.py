"""What a relay shows of itself; read by health, metrics and tests on other threads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RelayState(Enum):
    """What a relay does now."""

    WAITING = "waiting"
    TAKING_OVER = "taking over"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass
class RelayStatus:
    """Counts since the relay began."""

    state: RelayState = RelayState.WAITING
    reason: str = ""
    """Why it waits, in words."""
    term: int = 0
    relayed: int = 0
    """Facts that were read back from the log."""
    passed_over: int = 0
    """Facts of which the mapping made no event."""
    skipped: int = 0
    """Facts that a person had skipped."""
    under_way: int = 0
    retries: int = 0
    conflicts: int = 0
    confirmed: str = ""
    """The origin's place up to which it may forget."""
    turned_at: float = 0.0
    """When the loop last turned, by the relay's clock."""
