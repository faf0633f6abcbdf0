"""One run of a relay as a writer: what it has sent, and what of it was read back. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from logsync.core.sources import Mark, State


class Point(NamedTuple):
    """The end of what one ``take`` brought."""

    at: str
    end: str | None
    ids: list[str]


class Term:
    """One run of this writer: what it has sent, and what of it was read back."""

    def __init__(self, number: int, writer: str, partitions: Iterable[int]) -> None:
        self.number, self.writer = number, writer
        self.sent = dict.fromkeys(partitions, 0)
        self.under_way: dict[int, deque[tuple[str, int]]] = {number: deque() for number in self.sent}
        """Per partition, the places and sizes of what was sent and not read back, in order."""
        self.bytes = 0
        self.points: deque[Point] = deque()

    @property
    def facts_under_way(self) -> int:
        return sum(map(len, self.under_way.values()))

    def holds(self, state: State | None) -> bool:
        """Is this writer the present one there?"""
        return state is not None and (state.term, state.writer) == (self.number, self.writer)

    def has_sent(self, partition: int, at: str, size: int) -> None:
        """The next record of this partition is on its way."""
        self.sent[partition] += 1
        self.under_way[partition].append((at, size))
        self.bytes += size

    def read(self, partition: int) -> int:
        """The number of the last record that was read back."""
        return self.sent[partition] - len(self.under_way[partition])

    def expects(self, partition: int, mark: Mark) -> bool:
        """Is this the first record under way? Another one that counts was written by somebody else in this name."""
        queue = self.under_way[partition]
        return bool(queue) and queue[0][0] == mark.at

    def taken(self, partition: int) -> None:
        """The first record under way was read back, and counts."""
        self.bytes -= self.under_way[partition].popleft()[1]

    def reached(self) -> list[Point]:
        """The points before which nothing is under way any more."""
        first = min((queue[0][0] for queue in self.under_way.values() if queue), default=None)
        found = list[Point]()
        while self.points and (first is None or self.points[0].at < first):
            found.append(self.points.popleft())
        return found
