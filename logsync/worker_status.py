"""What a worker shows of itself: what it does, what it has done, and where it is."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field


class WorkerState(enum.Enum):
    """What the worker is doing, for health and metrics."""

    JOINING = "joining"
    STANDBY = "standby"  # a member without a partition: there are more workers than partitions
    RUNNING = "running"
    WAITING = "waiting"  # for its store, or for Kafka
    STOPPED = "stopped"


@dataclass
class WorkerStatus:
    """What a worker has done and where it is; written by the worker's thread, read by health and progress."""

    state: WorkerState = WorkerState.JOINING
    reason: str = ""
    applied: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    parked: int = 0
    """Events that this worker set aside."""
    released: int = 0
    """Parked events that it applied later, or passed over on somebody's word."""
    waiting: dict[int, int] = field(default_factory=dict)
    """Parked events by partition, as far as this worker knows."""
    batches: int = 0
    retries: int = 0
    conflicts: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    turned_at: float = 0.0
    """When the loop last turned, or last read on in a lookup of retried appends; by the worker's clock."""
    moved_at: float = 0.0
    """When a position last moved or was found at the log's end."""
    looked_at: float = 0.0
    """When the log's end was last read from the broker."""

    @property
    def lag(self) -> int:
        """Offsets between the positions and the log's end, over all partitions of this worker."""
        return sum(max(0, self.ends.get(number, at) - at) for number, at in self.positions.items())
