"""A Plan: what a store must do in one step, and where the position then stands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby

from logsync.core.parked import Parked
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import EventError


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes of one partition and the move of the position that belongs to them.

    ``offsets[i]`` is the offset of the event that ``writes[i]`` came from; both are in log order.
    ``failure`` is the first event that cannot be applied; the plan covers everything before it, so that
    after ``store.apply(plan)`` the position stands exactly at the record a person has to look at.
    """

    start: Position
    end: Position
    writes: list[Write] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    applied: int = 0
    """Events that a handler saw, also when it returned nothing."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Events passed over by a stated rule, counted by rule and type: ``unhandled:order.placed``."""
    failure: EventError | None = None
    parked: list[Parked] = field(default_factory=list)
    """Events to set aside in the same step, in log order. A replay may bring one that the store holds: it stays as it
    is there. # K2"""
    still_parked: list[Parked] = field(default_factory=list)
    """Parked events that were tried and failed again: they replace what the store holds of them."""
    released: list[int] = field(default_factory=list)
    """Offsets of parked events that are parked no longer: their writes are in this plan, or a person skipped them."""
    refused: dict[int, list[Write]] = field(default_factory=dict)
    """What parked events would write, by offset, as far as it is known: of those that the store itself refused before
    and, in a store where a plan is no transaction, of those that wait behind another. Such a store may have carried
    out some of it in a batch that failed for another event, and has to find out which."""

    def by_event(self) -> list[tuple[int, list[Write]]]:
        """The writes of each event with its offset, in log order."""
        pairs = groupby(zip(self.offsets, self.writes, strict=True), key=lambda pair: pair[0])
        return [(offset, [write for _, write in group]) for offset, group in pairs]

    @property
    def moves(self) -> bool:
        return self.end.place != self.start.place
