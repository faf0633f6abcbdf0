"""What a worker shows of itself: what it does, what it has done, and where it is."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from logsync.core.plan import Plan


class WorkerState(enum.Enum):
    """What the worker is doing, for health and metrics."""

    JOINING = "joining"
    STANDBY = "standby"  # a member without a partition: there are more workers than partitions
    RUNNING = "running"
    WAITING = "waiting"  # for its store, or for Kafka
    STOPPED = "stopped"


class PartitionStatus(Protocol):
    """What is shown of one partition; None: not known yet."""

    @property
    def next_offset(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def parked(self) -> int: ...


@dataclass
class WorkerStatus:
    """What a worker has done and where it is; written by the worker's thread, read by health and progress."""

    partitions: Mapping[int, PartitionStatus] = field(default_factory=dict)
    """Those that are assigned to this worker."""
    state: WorkerState = WorkerState.JOINING
    reason: str = ""
    applied: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    parked: int = 0
    """Events that this worker set aside."""
    released: int = 0
    """Parked events that it applied later, or skipped because a person said so."""
    batches: int = 0
    retries: int = 0
    conflicts: int = 0
    turned_at: float = 0.0
    """When the loop last turned, or a lookup of retried appends last read a part of the log; by the worker's clock."""
    moved_at: float = 0.0
    """When a position last moved or was found at the log's end."""
    looked_at: float = 0.0
    """When the log's end was last read from the broker."""

    def count(self, made: Plan, now: float) -> None:
        """The store holds this plan; or it moves nothing."""
        self.applied += made.applied
        self.parked += len(made.parked)
        self.released += len(made.released)
        self.skipped.update(made.skipped)
        if made.moves:
            self.batches += 1
            self.moved_at = now

    # Read on other threads while partitions come and go: a copy is made in one step of the interpreter.

    @property
    def positions(self) -> dict[int, int]:
        """The next offset by partition, where it is known."""
        return {n: at.next_offset for n, at in dict(self.partitions).items() if at.next_offset is not None}

    @property
    def ends(self) -> dict[int, int]:
        """The log's end by partition, where it is known."""
        return {n: at.end for n, at in dict(self.partitions).items() if at.end is not None}

    @property
    def waiting(self) -> dict[int, int]:
        """Parked events by partition, as far as this worker knows."""
        return {n: at.parked for n, at in dict(self.partitions).items() if at.next_offset is not None}

    @property
    def lag(self) -> int:
        """Offsets between the positions and the log's end, over all partitions of this worker."""
        ends = self.ends
        return sum(max(0, ends.get(number, at) - at) for number, at in self.positions.items())
