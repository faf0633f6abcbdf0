"""How often to look, and how fast a sink goes, from where it was at the last looks. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from logsync.core.position import Position
from logsync.core.receipt import Receipt
from logsync.reading.seen import Seen

SOONEST, LATEST = 0.005, 0.1
"""Seconds between two looks: the first for those who began to wait just now, the second for those who wait for long."""
JITTER = 0.75, 1.25
"""What the time between two looks is multiplied by, drawn between these: processes that began together part."""
_SPAN = 10.0
"""Seconds that a pace is taken over."""
_APART = 0.1
"""Seconds between two samples."""


def between_looks(waited: float) -> float:
    """Seconds from one look to the next, before jitter, for somebody who has waited for ``waited`` seconds."""
    return min(LATEST, max(SOONEST, waited / 8))


class Pace:
    """The last positions of a sink, with the times at which they were seen."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[int, Position]]] = deque()

    def note(self, at: float, positions: Mapping[int, Position]) -> None:
        """``at`` in seconds of a clock that never goes back."""
        samples = self._samples
        if samples and at - samples[-1][0] < _APART:
            return
        samples.append((at, dict(positions)))
        while at - samples[0][0] > _SPAN:
            samples.popleft()

    def seconds(self, receipt: Receipt, seen: Seen) -> float | None:
        """How long ``seen.events`` take. None where nothing moved, or fewer than two samples tell."""
        if seen.events is None or len(self._samples) < 2:
            return None
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        here, there = first.get(receipt.partition), last.get(receipt.partition)
        if here is None or there is None or here.epoch != there.epoch or there.next_offset <= here.next_offset:
            return None
        return seen.events * (ended - began) / (there.next_offset - here.next_offset)
