"""What is known of one event in one store. Lateness is an answer and no error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What became of an event in the store of one sink."""

    APPLIED = "applied"
    """One snapshot of the store held the event's effect. A restore, or a replica that is behind, may take that back."""
    SEARCHABLE = "searchable"
    """Applied, and every search finds it."""
    PARKED = "parked"
    """Set aside, because it could not be applied or waits behind such an event; ``why`` says more."""
    PASSED_OVER = "passed over"
    """The sink does not handle events of this type, or a person had this one skipped: it will never be there."""
    BEHIND = "behind"
    """Not applied yet. ``events`` and ``seconds`` say how far the store is behind it."""
    REBUILDING = "rebuilding"
    """A rebuild fills the store anew and has not reached the end that the log had when it began."""
    NOT_STARTED = "not started"
    """No worker of this sink ever ran on this store."""
    UNREACHABLE = "unreachable"
    """The store does not answer."""


SETTLED = frozenset({State.APPLIED, State.SEARCHABLE, State.PARKED, State.PASSED_OVER})
"""To wait longer changes nothing: the event is there, or it needs a person."""
_FROM_BEST = (
    State.SEARCHABLE, State.APPLIED, State.PASSED_OVER, State.PARKED, State.BEHIND, State.REBUILDING,
    State.NOT_STARTED, State.UNREACHABLE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer about one event, or about several the answer that is furthest from APPLIED."""

    state: State
    sink: str
    """The name of the sink that says so."""
    why: str = ""
    """More about it, for people and logs; it may show what an error said, so it is not for the page."""
    events: int | None = None
    """BEHIND: the offsets that the store still has to pass, this event's included."""
    seconds: float | None = None
    """BEHIND: how long that takes at the sink's own pace; None as long as the pace is not known."""

    @property
    def visible(self) -> bool:
        """True if a reader of the store finds the event's effect."""
        return self.state in (State.APPLIED, State.SEARCHABLE)

    @property
    def fresh(self) -> bool:
        """True if the store shows all that this sink will ever make of the event: it is visible, or passed over."""
        return self.visible or self.state is State.PASSED_OVER

    @property
    def settled(self) -> bool:
        """True if waiting longer is of no use."""
        return self.state in SETTLED

    def __str__(self) -> str:
        """In words, for logs and the command line."""
        text = f"{self.sink}: {self.state}"
        if self.events is not None:
            text += f" by {self.events:,}"
        if self.seconds is not None:
            text += f", about {self.seconds:.1f} s"
        return f"{text}: {self.why}" if self.why else text


def worst(answers: list[Seen]) -> Seen:
    """Of answers about several events or sinks the one that a reader has to heed."""
    return max(answers, key=lambda seen: (_FROM_BEST.index(seen.state), seen.events or 0))
