"""The sinks that go first: ``Sink(..., after=[db])`` applies an event only when the store of ``db`` is past it.

So whoever finds an event's effect in this sink's store finds it in the other store, too, as long as that one is not
taken back by a restore or a rebuild. A worker asks once per turn how far the others are, and applies up to there. They
are a few milliseconds apart when all is well, so it waits within the turn; after that it waits as for an outage.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from logsync.core.event import Record
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.core.view import Sight
from logsync.errors import StoreError, StoreUnavailable
from logsync.reading.brief import viewer
from logsync.reading.judging import check_environment
from logsync.settings import Settings

SOONEST, LATEST = 0.002, 0.05
"""Seconds between two looks at a sink that is behind."""
STILL, TURN = 0.2, 5.0
"""Seconds that a turn waits for a sink that does not move, and at most: other partitions have their turn, and the group
wants to hear of its member."""
HOLD = 0.5
"""Seconds for which a partition is left alone after that."""


class Predecessors:
    """What one worker knows of the sinks that its own comes after. Opens nothing before it is asked."""

    def __init__(
        self, sink: Sink, settings: Settings, *, clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """Raises ConfigError if a store of them cannot be looked at."""
        self._sink, self._environment, self._clock, self._pause = sink, settings.environment, clock, pause
        self._views = {first.name: viewer(first, settings)() for first in sink.after}
        self._last: dict[int, str] = {}  # by partition, the sink that is the furthest behind
        self.waits_for = ""
        """The name of the sink that is waited for just now."""

    def close(self) -> None:
        for view in self._views.values():
            view.close()

    def look(self, log: LogIdentity) -> Mapping[int, int]:
        """How far this sink may go, by partition of ``log``: the next offset that all the others have reached.

        Raises StoreUnavailable if one of them cannot tell, or has not begun in this log; ConfigError if it never will.
        """
        ceilings: dict[int, tuple[int, str]] = {}
        for name, view in self._views.items():
            try:
                reached = self._reached(name, view.look(()), log)
            except StoreError as error:
                self.waits_for = name
                raise StoreUnavailable(f"sink {self._sink.name} waits for sink {name}: {error.message}") from error
            for number in range(log.partitions):
                ceilings[number] = min(ceilings.get(number, (1 << 63, "")), (reached.get(number, 0), name))
        self._last = {number: name for number, (_, name) in ceilings.items()}
        return {number: offset for number, (offset, _) in ceilings.items()}

    def _reached(self, name: str, sight: Sight, log: LogIdentity) -> dict[int, int]:
        book = sight.book
        if book is None:
            raise StoreUnavailable("no worker of it ever ran")
        check_environment(book, name, self._environment)
        if differences := book.log.differences(log):
            raise StoreUnavailable(f"its position belongs to another log: {'; '.join(differences)}")
        return {number: at.next_offset for number, at in sight.positions.items()}

    def reached(self, position: Position, log: LogIdentity) -> bool:
        """True if the others are as far as ``position``: what is parked below it may be tried again."""
        return not self._views or self.look(log)[position.partition] >= position.next_offset

    def released(
        self, number: int, records: Sequence[Record], log: LogIdentity, *, turned: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> Iterator[int]:  # fmt: skip
        """How many of these records of one partition may be applied by now, again and again, until it is all of them.

        Ends early once ``stopping``, and when the others do not move on: ``waits_for`` says who. ``turned`` is called
        while they are waited for. Raises what ``look`` raises.
        """
        if not self._views or not records:
            yield len(records)
            return
        done, wait, began = 0, SOONEST, self._clock()
        moved = began
        while not stopping():
            ceiling = self.look(log)[number]
            until = bisect_left(records, ceiling, lo=done, key=attrgetter("offset"))
            if until > done:
                self.waits_for = ""
                yield until
                done, wait, moved = until, SOONEST, self._clock()
            if done == len(records):
                return
            if self._clock() - moved >= STILL or self._clock() - began >= TURN:
                self.waits_for = self._last[number]
                return
            turned()
            self._pause(wait)
            wait = min(LATEST, wait * 1.5)
