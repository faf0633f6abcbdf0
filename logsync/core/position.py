"""Where a sink is in the log. ``next_offset`` has one meaning everywhere: the NEXT offset to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from logsync.core.event import Decoded
from logsync.core.formats import UPDATE, number, upgraded
from logsync.errors import ConfigError


class Position(NamedTuple):
    """A sink's position in one partition.

    ``epoch`` is the incarnation of the sink's content: a rebuild raises it, so a worker that planned before
    the rebuild can never write into the content after it. ``last_*`` describe the last record that moved
    the position; resume compares them with the log, because a log that was truncated and grew again past
    ``next_offset`` looks healthy by its offsets alone. # L2
    """

    partition: int
    next_offset: int
    epoch: int = 1
    last_offset: int | None = None
    last_id: str | None = None
    leader_epoch: int | None = None
    releases: int = 0
    """How often parked events were released while ``next_offset`` stood here: part of the compare-and-set, because a
    release changes content without moving ``next_offset``, and two workers may try it at once. # K1"""
    sources: str | None = None
    """Which records of sources count from here on: what ``logsync.core.sources`` wrote, in ASCII. None: the log has no
    source below ``next_offset``. # U1"""

    @property
    def place(self) -> tuple[int, int, int]:
        """What a store compares before it applies: (epoch, next_offset, releases)."""
        return self.epoch, self.next_offset, self.releases

    def after(self, event: Decoded) -> Position:
        """The position once ``event`` is applied or skipped. The only ``+ 1`` of the library is here."""
        last = event.offset, event.id, event.leader_epoch
        return Position(self.partition, event.offset + 1, self.epoch, *last, 0, self.sources)

    def at(self, next_offset: int) -> Position:
        """The same position moved over a range that holds no records (markers, filtered ranges). # L4"""
        return self._replace(next_offset=next_offset, releases=0) if next_offset > self.next_offset else self

    def released(self) -> Position:
        """The same position after parked events were released at it."""
        return self._replace(releases=self.releases + 1)

    def to_dict(self) -> dict[str, Any]:
        return {"format": number("position"), **self._asdict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Position:
        """Read what :meth:`to_dict` wrote. Raises ConfigError for a newer format."""
        try:
            known = upgraded("position", fields)
        except ValueError as error:
            raise ConfigError(f"the store holds {error}", fix=UPDATE) from None
        return cls(**{name: known[name] for name in cls._fields if name in known})


class LogIdentity(NamedTuple):
    """Which log a position belongs to. A topic's name is not an identity: names are reused. # I6"""

    cluster_id: str
    topic: str
    topic_id: str
    partitions: int

    def differences(self, found: LogIdentity) -> list[str]:
        """What differs, in words, from the log that was found; empty if it is the same log."""
        return [
            f"{name} was {mine!r} and is now {theirs!r}"
            for name, mine, theirs in zip(self._fields, self, found, strict=True)
            if mine != theirs
        ]
