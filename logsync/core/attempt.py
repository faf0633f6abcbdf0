"""Events on their way into the store: all in one plan, or in several where the store refuses one of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from logsync.core.event import Decoded
from logsync.errors import EventError


@dataclass
class Attempt:
    """What is tried now, and what the store has said about it so far."""

    events: Sequence[Decoded]
    count: int = -1
    """How many of them the next plan tries. Default: all."""
    refused: dict[int, EventError] = field(default_factory=dict)
    """The store's verdicts, by offset: on events that it refused when they stood first."""

    def __post_init__(self) -> None:
        if self.count < 0:
            self.count = len(self.events)

    @property
    def tried(self) -> Sequence[Decoded]:
        """The events of the next plan."""
        return self.events if self.count == len(self.events) else self.events[: self.count]

    def judge(self, event: Decoded, error: EventError) -> None:
        """The store refused this event. Raises ``error`` if that is not news.

        Only an event that stands first in its plan is judged: a store may refuse in a batch what it takes alone, and no
        event may halt a worker because of the company it came in. So the next plan ends before it. # G1
        """
        if event.offset in self.refused:
            raise error
        if event.offset == self.events[0].offset:
            self.refused[event.offset] = error
        else:
            self.count = next(at for at, other in enumerate(self.events) if other.offset == event.offset)

    def next_offset(self, whole: int) -> int:
        """Where the log goes on after what is tried; ``whole``: after all of the events."""
        return whole if self.count == len(self.events) else self.events[self.count].offset

    def go_on(self) -> bool:
        """What was tried is in the store. True if events are left: they are tried next."""
        self.events = self.events[self.count :]
        left, self.count = bool(self.events), len(self.events)
        return left
