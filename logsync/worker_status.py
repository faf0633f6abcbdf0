"""What a worker shows of itself: what it does, what it has done, and where it is."""

from __future__ import annotations

import enum
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.sink import Sink
from logsync.core.text import short

log = logging.getLogger("logsync.worker")


STANDBY_AFTER = 10.0
"""Seconds without a partition after which a worker counts as a spare one."""


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
    def number(self) -> int: ...
    @property
    def next_offset(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def held(self) -> int: ...
    @property
    def parked(self) -> int: ...


@dataclass
class WorkerStatus:
    """What a worker has done and where it is; written by the worker's thread, read by health and progress."""

    partitions: Mapping[int, PartitionStatus] = field(default_factory=dict)
    """Those that are assigned to this worker."""
    state: WorkerState = WorkerState.JOINING
    reason: str = ""
    waits_for: str = ""
    """The name of the sink that goes first and is not there yet."""
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

    def count(self, made: Plan, now: float, known: Collection[str]) -> None:
        """The store holds this plan; or it moves nothing. ``known``: the types by whose names skips are told apart.

        What strangers call their events would make as many series as they like.
        """
        self.applied += made.applied
        self.parked += len(made.parked)
        self.released += len(made.released)
        for rule, events in made.skipped.items():
            of = rule.partition(":")
            self.skipped[rule if of[2] in known else of[0]] += events
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
    def held(self) -> dict[int, int]:
        """By partition, the offsets behind a transaction that is open, where there are any."""
        return {n: at.held for n, at in dict(self.partitions).items() if at.held}

    @property
    def lag(self) -> int:
        """Offsets between the positions and the log's end, over all partitions of this worker."""
        ends = self.ends
        return sum(max(0, ends.get(number, at) - at) for number, at in self.positions.items())


class ParkedLines:
    """Log lines about what was parked: one a second at most, however many events that is."""

    EVERY = 1.0
    _NAMED = 3  # events of one line that are named, the first of them with its error
    _WHY, _ID = 500, 200  # characters

    def __init__(self, sink: str, clock: Callable[[], float]) -> None:
        self._sink, self._clock = sink, clock
        self._said_at = float("-inf")
        self._untold: Counter[str] = Counter()  # by error
        self._first: list[Parked] = []

    def note(self, made: Plan) -> None:
        """Those that only wait behind another are not told: they can be many, and nothing is wrong with them."""
        for entry in (*made.parked, *made.still_parked):
            if entry.attempts and entry.discarded is None:
                self._untold[entry.error] += 1
                if len(self._first) < self._NAMED:
                    self._first.append(entry)
        self.say()

    def say(self, *, last: bool = False) -> None:
        """Tell what has not been told yet, unless something was told just now. ``last``: in any case."""
        if not self._untold or (not last and self._clock() - self._said_at < self.EVERY):
            return
        entry, *others = self._first
        why, *trace = entry.message.splitlines() or [""]
        more: dict[str, object] = {"trace": " | ".join(map(str.strip, trace))} if trace else {}
        if self._untold.total() > 1:
            errors = ", ".join(f"{error} {events:,}" for error, events in self._untold.most_common())
            more |= {"events": self._untold.total(), "errors": errors}
        if others:
            more["also"] = ", ".join(f"{each.partition}:{each.offset}" for each in others)
        log.warning(
            "parked",
            extra={"sink": self._sink, "partition": entry.partition, "offset": entry.offset,
                   "event": entry.event_id and short(entry.event_id, self._ID), "attempts": entry.attempts,
                   "why": short(why, self._WHY), **more},
        )  # fmt: skip
        self._said_at = self._clock()
        self._untold, self._first = Counter(), []


class HeldLines:
    """A log line now and then while a transaction of some writer holds the sink back."""

    AFTER, EVERY = 10.0, 30.0  # seconds

    def __init__(self, sink: Sink, clock: Callable[[], float]) -> None:
        self._sink, self._clock = sink, clock
        self._since: float | None = None
        self._said_at = float("-inf")

    def note(self, partitions: Iterable[PartitionStatus]) -> None:
        """What was just read of these partitions. An ordinary transaction is over before anything is told."""
        held = [at for at in partitions if at.held and at.end is not None and at.next_offset == at.end - at.held]
        now = self._clock()
        self._since = (now if self._since is None else self._since) if held else None
        if self._since is None or now - self._since < self.AFTER or now - self._said_at < self.EVERY:
            return
        self._said_at = now
        log.warning(
            "held back by a transaction that is open; nothing is lost",
            extra={"sink": self._sink.name, "offsets": sum(at.held for at in held),
                   "from": ", ".join(f"{at.number}:{at.next_offset}" for at in held),
                   "fix": f"`logsync doctor {self._sink.address}` says who can end it"},
        )  # fmt: skip
