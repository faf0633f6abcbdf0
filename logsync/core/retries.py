"""What waits in the partitions that a worker reads, and which of it is to be tried again. Pure state, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from logsync.core.book import Request
from logsync.core.offsets import Offsets
from logsync.core.parked import GivenUp, Parked, SequenceSummary, given_up
from logsync.core.plan import Plan


class SequenceRetry(NamedTuple):
    """A sequence to be tried again, from its first event to its last or to the first that still fails."""

    partition: int
    sequence: str
    request: str | None = None
    """Who asked; None: nobody, the worker does it by itself."""
    unfinished: bool = False
    """A replayable store was interrupted while it drained the first event: that comes before everything else."""


class Discard(NamedTuple):
    """Parked events to be given up. That comes before all drains: tried first, they might be applied."""

    partition: int
    request: str
    sequence: str | None
    offsets: Offsets
    reason: str
    at: datetime
    marked: list[GivenUp]
    """What is marked in the store: it is to be put on record."""
    after: int = -1
    """The last offset that was looked at."""

    def through(self, entries: Sequence[Parked]) -> Discard:
        """What is left to do when these are marked."""
        self.marked.extend(given_up(entries))
        return self._replace(after=entries[-1].offset)


def within(entries: Sequence[Parked], limit: int) -> list[Parked]:
    """As many of the first entries as have ``limit`` bytes together, but at least one."""
    taken, size = list[Parked](), 0
    for entry in entries:
        size += len(entry.record.value or b"")
        if taken and size > limit:
            break
        taken.append(entry)
    return taken


class RetryQueue:
    """Kept beside the positions: loaded when a partition is resumed, forgotten with it."""

    def __init__(self) -> None:
        self.waiting: dict[int, dict[str, SequenceSummary]] = {}
        self.queue: deque[SequenceRetry] = deque()
        self.discards: deque[Discard] = deque()
        """Each with drains of the same request in the queue, which are through only after it."""

    def load(self, partition: int, found: Mapping[str, SequenceSummary]) -> None:
        """Begin with what the store says."""
        self.waiting[partition] = dict(found)
        unfinished = [SequenceRetry(partition, name, None, True) for name, known in found.items() if known.unfinished]
        self.queue.extendleft(unfinished)

    def forget(self, partition: int) -> None:
        self.waiting.pop(partition, None)
        self.queue = deque(drain for drain in self.queue if drain.partition != partition)
        self.discards = deque(discard for discard in self.discards if discard.partition != partition)

    def clear(self) -> None:
        self.waiting.clear()
        self.queue.clear()
        self.discards.clear()

    def events(self, partition: int) -> int:
        """How many events wait. Walks over all sequences: for once per resume, not for once per plan."""
        return sum(known.events for known in self.waiting.get(partition, {}).values())

    def oldest(self) -> tuple[int, str, SequenceSummary] | None:
        """The sequence that has waited longest, with its partition."""
        every = ((p, name, known) for p, waiting in self.waiting.items() for name, known in waiting.items())
        return min(every, key=lambda found: found[2].since, default=None)

    @property
    def urgent(self) -> bool:
        """Is something unfinished left? It stands first."""
        return bool(self.queue) and self.queue[0].unfinished

    @property
    def asked(self) -> bool:
        """Is there anything left of what people asked for?"""
        return any(drain.request is not None for drain in self.queue)

    def parked(self, made: Plan) -> None:
        """The store has set these events aside: later events of their sequences join them. # I8"""
        waiting = self.waiting[made.end.partition]
        for entry in made.parked:
            known = waiting.get(entry.sequence) or SequenceSummary(entry.offset, 0, entry.first_at, entry.error)
            waiting[entry.sequence] = known._replace(events=known.events + 1)

    def known(self, drain: SequenceRetry, first: Parked) -> None:
        """The store holds events of this sequence. Seldom news: it was taken for empty, and a late request of another
        worker brought one back."""
        self.waiting[drain.partition].setdefault(
            drain.sequence, SequenceSummary(first.offset, 1, first.first_at, first.error)
        )

    def tried(self, drain: SequenceRetry, made: Plan) -> None:
        """The store has carried out a drain. Whether the sequence is empty now, only the store can tell."""
        waiting = self.waiting[drain.partition]
        known = waiting[drain.sequence]._replace(unfinished=False)
        if made.released:
            known = known._replace(first=made.released[-1], events=max(1, known.events - len(made.released)), error="")
        if made.still_parked:
            head = made.still_parked[0]
            known = known._replace(first=head.offset, since=head.first_at, error=head.error)
        waiting[drain.sequence] = known

    def empty(self, drain: SequenceRetry) -> None:
        """The store holds no event of this sequence any more: its key is free again."""
        self.waiting[drain.partition].pop(drain.sequence, None)

    def ask(self, requests: Iterable[Request], partitions: Collection[int]) -> list[tuple[str, int]]:
        """Queue what people asked for. Returns the (request, partition) for which nothing waits: they are through.

        A request that is queued already goes on where it is: begun anew with every change of the book, it might never
        end. A sequence whose first event was never tried is meant by every error: a drain was interrupted there.
        """
        asked = {(request.id, partition): request for request in requests for partition in sorted(request.partitions)}
        self.queue = deque(d for d in self.queue if d.request is None or (d.request, d.partition) in asked)
        self.discards = deque(d for d in self.discards if (d.request, d.partition) in asked)
        begun = {(drain.request, drain.partition) for drain in self.queue}
        through = []
        for (request_id, partition), request in asked.items():
            if partition not in partitions or (request_id, partition) in begun:
                continue
            found = [
                SequenceRetry(partition, name, request_id)
                for name, known in self.waiting[partition].items()
                if request.sequence in (None, name) and (request.error is None or known.error in ("", request.error))
            ]
            if found and request.reason is not None:
                offsets = request.offsets.get(partition, Offsets())
                self.discards.append(
                    Discard(partition, request_id, request.sequence, offsets, request.reason, request.at, [])
                )
            self.queue.extend(found)
            if not found:
                through.append((request_id, partition))
        return through

    def ask_all(self) -> None:
        """Queue everything that waits, unless something is queued already."""
        if not self.queue:
            self.queue.extend(SequenceRetry(p, name) for p, waiting in sorted(self.waiting.items()) for name in waiting)

    def finished(self) -> None:
        """What was interrupted in the first drain is through: whatever else waits in its sequence is not urgent, and
        goes behind everything that is."""
        self.queue.append(self.queue.popleft()._replace(unfinished=False))

    def done(self) -> tuple[str, int] | None:
        """Take the first drain away. Returns its (request, partition) if that request is through with the partition."""
        drain = self.queue.popleft()
        if drain.request is None:
            return None
        # What was asked for together stands together: only what is unfinished ever comes in front of anything.
        more = (
            bool(self.queue) and self.queue[0].request == drain.request and self.queue[0].partition == drain.partition
        )
        return None if more else (drain.request, drain.partition)
