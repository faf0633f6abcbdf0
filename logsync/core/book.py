"""What a store remembers of its sink beside the content.

The book is one small JSON document per sink, changed rarely and by compare-and-set on ``revision``;
positions are kept apart because they move with every batch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Set
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from logsync.core.event import is_event_name
from logsync.core.formats import UPDATE, number, upgraded
from logsync.core.offsets import Offsets, OffsetsText
from logsync.core.position import LogIdentity, Position
from logsync.errors import ConfigError, PositionConflict

MOST_TYPES = 100
"""Types that a book names as passed over, but for those that somebody wrote into code."""


class AuditEntry(BaseModel, frozen=True):
    """Something a person did to the sink by hand. It is never deleted."""

    at: datetime
    action: str
    detail: dict[str, Any] = {}


class Skip(BaseModel, frozen=True):
    """Records that a person passed over by name, all at once."""

    partition: int
    offsets: OffsetsText
    reason: str
    at: datetime


class Request(BaseModel, frozen=True):
    """Something that the owners of the partitions are asked to do: retry what is parked. # K1

    With a ``reason``: give up on the parked events in ``offsets`` first. Only the owner can tell which of them are
    parked still, so only the owner puts them on the list of skips.
    """

    id: str
    partitions: tuple[int, ...]
    """Those whose owner has not done it yet; when none is left, the request goes away."""
    sequence: str | None = None
    """Only this sequence."""
    error: str | None = None
    """Only sequences whose first event failed with this class of error."""
    at: datetime
    reason: str | None = None
    """Why the events in ``offsets`` are given up; None: they are not."""
    offsets: dict[int, OffsetsText] = {}
    """By partition: every event of ``sequence`` that is parked in these ranges is meant."""


class Book(BaseModel, frozen=True):
    """The sink's own record in its store. Immutable; :meth:`next` makes the following revision."""

    revision: int = 1
    sink: str
    environment: str
    log: LogIdentity
    epoch: int = 1
    began: datetime | None = None
    """When the sink was claimed: tells one life of a store from the next, whose first book may say the same. # P3"""
    state: Literal["ready", "wiping"] = "ready"
    """``wiping``: a rebuild began to delete and did not finish yet; workers wait, and only a rebuild may go on."""
    rebuilt_to: dict[int, int] = {}
    """The log's ends when the last rebuild began, by partition: until the positions are there, the content is a part of
    what it was before."""
    handled: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    """Types of which at least one event was passed over because nothing handled it. # T2"""
    more_skipped: bool = False
    """Strangers' types were passed over beyond MOST_TYPES: of a type that is handled for the first time nobody can tell
    whether events of it were among them. # T2"""
    skips: tuple[Skip, ...] = ()
    requests: tuple[Request, ...] = ()
    audit: tuple[AuditEntry, ...] = ()

    @classmethod
    def read(cls, stored: str | bytes, where: str) -> Book:
        """The book as a store has kept it, ``where`` in words. Raises ConfigError."""
        try:
            return cls.model_validate(upgraded("book", json.loads(stored)))
        except (ValueError, AttributeError) as error:
            raise ConfigError(
                f"{where} holds no book that this version of logsync can read: {error}", fix=UPDATE
            ) from None

    def dump(self) -> str:
        """The book as text, for the store to keep; :meth:`read` gives it back."""
        return json.dumps({"format": number("book"), **self.model_dump(mode="json")})

    def next(self, *, audit: AuditEntry | None = None, **changes: Any) -> Book:
        """The following revision; ``store.write_book`` accepts it only on top of this one."""
        entries = (*self.audit, audit) if audit else self.audit
        return self.model_copy(update={**changes, "revision": self.revision + 1, "audit": entries})

    @property
    def resume_basis(self) -> tuple[object, ...]:
        """What a worker relies on: when this changes, it has to resume."""
        return self.epoch, self.began, self.state, self.log, self.environment

    def passing_over(self, types: Set[str], declared: Collection[str]) -> Book | None:
        """The next revision, in which ``types`` are noted as passed over; None if there is nothing new to note. # T2

        ``declared``: the types of the log. These, and what other workers handle, are always named: somebody wrote them
        into code. Of what strangers invent, MOST_TYPES are, and only what an event could ever be registered as.
        """
        new = {name for name in types - self.skipped if is_event_name(name)}
        named = {name for name in new if name in declared or name in self.handled}
        strangers = sorted(new - named)
        room = max(0, MOST_TYPES - len(self.skipped))
        more = self.more_skipped or len(strangers) > room
        named.update(strangers[:room])
        if not named and more == self.more_skipped:
            return None
        return self.next(skipped=self.skipped | named, more_skipped=more)

    def without(self, request: str, partition: int) -> tuple[Request, ...]:
        """The requests that are left once ``partition`` is through with this one."""
        left = []
        for asked in self.requests:
            if asked.id == request:
                asked = asked.model_copy(update={"partitions": tuple(p for p in asked.partitions if p != partition)})
            if asked.partitions:
                left.append(asked)
        return tuple(left)

    def rebuilding(self, positions: Mapping[int, Position]) -> bool:
        """True while the content is less than it was before the last rebuild, ``positions`` being where it stands."""
        return self.state != "ready" or any(
            number not in positions or positions[number].epoch != self.epoch or positions[number].next_offset < end
            for number, end in self.rebuilt_to.items()
        )

    def skips_of(self, partition: int) -> Offsets:
        return Offsets.spanning(
            each for skip in self.skips if skip.partition == partition for each in skip.offsets.ranges
        )

    def skipping(self, partition: int, offsets: Iterable[int], *, reason: str, at: datetime) -> tuple[Skip, ...]:
        """The skips with these besides; one that is there already is not noted again."""
        new = Offsets(set(offsets) - self.skips_of(partition))
        if not new:
            return self.skips
        known = [s for s in self.skips if (s.partition, s.reason, s.at) == (partition, reason, at)]
        for skip in known:
            new |= skip.offsets
        rest = tuple(skip for skip in self.skips if skip not in known)
        return (*rest, Skip(partition=partition, offsets=new, reason=reason, at=at))


def book_conflict(sink: str, expected: int, found: object = "another") -> PositionConflict:
    """The error of a caller that would change the book of ``sink`` and finds another revision than it has read."""
    return PositionConflict(f"book of sink {sink}: expected revision {expected}, found {found}")
