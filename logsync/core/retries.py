"""The sequences that wait in one partition, and which of them are to be tried again. Pure state, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from logsync.core.book import Request
from logsync.core.offsets import Offsets
from logsync.core.parked import GivenUp, Parked, SequenceSummary, given_up
from logsync.core.plan import Plan


class SequenceRetry(NamedTuple):
    """A sequence to be tried again, from its first event to its last or to the first that still fails."""

    sequence: str
    request: str | None = None
    """Who asked; None: nobody, the worker does it by itself."""
    unfinished: bool = False
    """A replayable store was interrupted while it released the first event: that comes before everything else."""


class Discard(NamedTuple):
    """Parked events to be given up. That comes before all retries: retried first, they might be applied."""

    request: str
    sequence: str | None
    offsets: Offsets
    reason: str
    at: datetime
    marked: list[GivenUp]
    """Events that are marked in the store, and are still to be put on record."""
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
    """Made of what the store says when its partition is resumed, and dropped with the partition."""

    def __init__(self, found: Mapping[str, SequenceSummary] = {}) -> None:
        self.waiting: dict[str, SequenceSummary] = dict(found)
        self.queue: deque[SequenceRetry] = deque(
            SequenceRetry(name, None, True) for name, known in found.items() if known.unfinished
        )
        self.discards: deque[Discard] = deque()
        """For each of them the queue has retries of the same request, which are finished only after it."""

    def events(self) -> int:
        """How many events wait. Walks over all sequences: call it once per resume, not once per plan."""
        return sum(known.events for known in self.waiting.values())

    def oldest(self) -> tuple[str, SequenceSummary] | None:
        """The sequence that has waited longest."""
        return min(self.waiting.items(), key=lambda found: found[1].since, default=None)

    @property
    def urgent(self) -> bool:
        """Is something unfinished left? It stands first."""
        return bool(self.queue) and self.queue[0].unfinished

    @property
    def asked(self) -> bool:
        """Is there anything left of what people asked for?"""
        return any(retry.request is not None for retry in self.queue)

    def parked(self, made: Plan) -> None:
        """The store has set these events aside: later events of their sequences join them. # I8"""
        for entry in made.parked:
            known = self.waiting.get(entry.sequence) or SequenceSummary(entry.offset, 0, entry.first_at, entry.error)
            self.waiting[entry.sequence] = known._replace(events=known.events + 1)

    def known(self, retry: SequenceRetry, first: Parked) -> None:
        """The store holds events of this sequence. It is known already, unless it was taken for empty and a late
        request of another worker brought an event back."""
        self.waiting.setdefault(retry.sequence, SequenceSummary(first.offset, 1, first.first_at, first.error))

    def tried(self, retry: SequenceRetry, made: Plan) -> None:
        """The store has carried out a retry. Only the store can tell whether the sequence is empty now."""
        known = self.waiting[retry.sequence]._replace(unfinished=False)
        if made.released:
            known = known._replace(first=made.released[-1], events=max(1, known.events - len(made.released)), error="")
        if made.still_parked:
            head = made.still_parked[0]
            known = known._replace(first=head.offset, since=head.first_at, error=head.error)
        self.waiting[retry.sequence] = known

    def empty(self, retry: SequenceRetry) -> None:
        """The store holds no event of this sequence any more: its key is free again."""
        self.waiting.pop(retry.sequence, None)

    def ask(self, requests: Iterable[Request], partition: int) -> list[str]:
        """Queue what people asked of ``partition``. Returns the requests for which nothing waits: they are done.

        A request that is queued already continues: if it began anew with every change of the book, it might never end.
        A sequence whose first event was never tried matches every error: a retry was interrupted there.
        """
        asked = {request.id: request for request in requests if partition in request.partitions}
        self.queue = deque(retry for retry in self.queue if retry.request is None or retry.request in asked)
        self.discards = deque(discard for discard in self.discards if discard.request in asked)
        begun = {retry.request for retry in self.queue}
        through = []
        for request in asked.values():
            if request.id in begun:
                continue
            found = [
                SequenceRetry(name, request.id)
                for name, known in self.waiting.items()
                if request.sequence in (None, name) and (request.error is None or known.error in ("", request.error))
            ]
            if found and request.reason is not None:
                offsets = request.offsets.get(partition, Offsets())
                self.discards.append(Discard(request.id, request.sequence, offsets, request.reason, request.at, []))
            self.queue.extend(found)
            if not found:
                through.append(request.id)
        return through

    def ask_all(self) -> None:
        """Queue everything that waits, unless something is queued already."""
        if not self.queue:
            self.queue.extend(SequenceRetry(name) for name in self.waiting)

    def finished(self) -> None:
        """The interrupted release of the first sequence is finished. What else waits in that sequence is not urgent
        and goes to the end of the queue."""
        self.queue.append(self.queue.popleft()._replace(unfinished=False))

    def done(self) -> str | None:
        """Take the first retry away. Returns its request if that is done with the partition."""
        retry = self.queue.popleft()
        # The retries of one request stand next to each other: only unfinished ones are ever put in front.
        more = bool(self.queue) and self.queue[0].request == retry.request
        return None if more else retry.request
