"""Sets of offsets, kept as ranges: size and speed depend on the number of ranges, not of offsets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Set
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator


class Offsets(Set[int]):
    """A set of offsets of one partition, kept as ranges. Immutable; as text ``3,7-9``."""

    __slots__ = ("_firsts", "_len", "ranges")

    def __init__(self, offsets: Iterable[int] = ()) -> None:
        self._set((offset, offset) for offset in offsets)

    @classmethod
    def spanning(cls, ranges: Iterable[tuple[int, int]]) -> Offsets:
        """``ranges``: first and last offset of each, in any order."""
        made = cls()
        made._set(ranges)
        return made

    @classmethod
    def read(cls, text: str) -> Offsets:
        """The inverse of ``str``. Raises ValueError."""
        ends = (part.partition("-") for part in text.split(",") if part)
        return cls.spanning((int(first), int(last or first)) for first, _, last in ends)

    def _set(self, ranges: Iterable[tuple[int, int]]) -> None:
        joined: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = joined[-1][0], max(joined[-1][1], last)
            else:
                joined.append((first, last))
        self.ranges = tuple(joined)
        self._firsts = [first for first, _ in joined]
        self._len = sum(last - first + 1 for first, last in joined)

    def __contains__(self, offset: object) -> bool:
        if not isinstance(offset, int) or not self.ranges or offset > self.ranges[-1][1]:
            return False  # asked of every event: most are newer than anything that is in such a set
        at = bisect_right(self._firsts, offset) - 1
        return at >= 0 and offset <= self.ranges[at][1]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return self._len

    def __or__(self, other: Iterable[Any]) -> Offsets:
        more = other.ranges if isinstance(other, Offsets) else Offsets(other).ranges
        return Offsets.spanning((*self.ranges, *more))

    def __hash__(self) -> int:
        return self._hash()

    def __str__(self) -> str:
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    def __repr__(self) -> str:
        return f"Offsets({self})"


def _offsets(found: Any) -> Offsets:
    return Offsets.read(found) if isinstance(found, str) else Offsets(found)


OffsetsText = Annotated[Offsets, PlainValidator(_offsets), PlainSerializer(str, return_type=str)]
"""Offsets as the field of a model: text in JSON."""
