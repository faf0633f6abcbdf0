"""What a relay has read of one partition, and from where its successor has to read it again. Pure."""

from __future__ import annotations

from collections import deque

from logsync.core.sources import Sources, State


class ReadSoFar:
    """One partition, as far as it was read.

    A successor is told a place before which everything of this source is at or below the floor. What stands behind that
    place it reads again: facts above the floor that the log has already must be left out, whichever partition they are
    in, since the mapping may have another key by then.
    """

    def __init__(self, start: Sources) -> None:
        self.known = start
        """What is known of all sources behind the last record that was read."""
        self.settled = start
        """The same at an earlier place: nothing of this source before it is above the floor."""
        self._trail: deque[tuple[str, Sources]] = deque()  # the greatest place so far, and what is known behind it

    def state(self, source: str) -> State:
        """Where this source stands."""
        return self.known.states.get(source, State(0, "", 0, ""))

    def read(self, after: Sources, at: str) -> None:
        """A stretch was read. ``at``: the greatest place of this source that counts in it, or empty."""
        self.known = after
        top = self._trail[-1][0] if self._trail else ""
        if self._trail and at <= top:
            self._trail.pop()
        self._trail.append((max(at, top), after))

    def settle(self, floor: str) -> None:
        """All facts up to ``floor`` are in the log."""
        while self._trail and self._trail[0][0] <= floor:
            self.settled = self._trail.popleft()[1]

    @property
    def place(self) -> tuple[int, str | None]:
        """Where a successor reads on, as the ledger has it."""
        return self.settled.next_offset, self.settled.dump(self.settled.next_offset)
