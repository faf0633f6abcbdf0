"""What a person can do about parked events: look, ask for another try, give up on them on record.

Nothing here touches the content: only the owner of a partition may, at a plan boundary (K1). A person leaves a
request in the book; a running worker finds it there, or :func:`logsync.run.run_retry` becomes the worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from logsync.core.book import AuditEntry, Book, Request
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.position import Position
from logsync.core.store import Store
from logsync.errors import ConfigError, PositionConflict
from logsync.ops.access import amend

_PAGE = 500


class Selection(NamedTuple):
    """Which parked events are meant; the fields that are None select nothing less."""

    sequence: str | None = None
    error: str | None = None
    """Class of the error of the first event of a sequence."""
    event: str | None = None
    """An event id, or ``PARTITION:OFFSET``."""


class ParkedSequence(NamedTuple):
    """A sequence that is meant, and the first event of it that is (not loaded unless it was asked for by name)."""

    partition: int
    sequence: str
    waiting: SequenceSummary
    event: Parked | None


def find(store: Store, selection: Selection) -> list[ParkedSequence]:
    """The sequences that ``selection`` means, oldest first; none if nothing that is meant is parked."""
    if selection.event is not None:
        event = next((entry for entry in entries(store) if selection.event in _names(entry)), None)
        waiting = store.sequences(event.partition).get(event.sequence) if event else None  # None: released since
        return [ParkedSequence(event.partition, event.sequence, waiting, event)] if event and waiting else []
    found = [
        ParkedSequence(partition, name, waiting, None)
        for partition in sorted(store.positions())
        for name, waiting in store.sequences(partition).items()
        if selection.sequence in (None, name) and selection.error in (None, waiting.error)
    ]
    return sorted(found, key=lambda each: (each.waiting.since, each.partition, each.waiting.first))


def entries(store: Store, *, partition: int | None = None, sequence: str | None = None) -> Iterator[Parked]:
    """All parked events, or those of one sequence, in log order within a partition."""
    for number in sorted(store.positions()) if partition is None else [partition]:
        after = -1
        while page := store.parked(number, sequence=sequence, after=after, limit=_PAGE):
            yield from page
            after = page[-1].offset


def retry(store: Store, found: list[ParkedSequence], selection: Selection, *, sink: str, now: datetime) -> str:
    """Ask the owners to retry these sequences, each from its first event on. Returns the request's id."""
    request = _request(found, selection, now)
    audit = AuditEntry(at=now, action="parked-retry", detail=_detail(found, selection))
    amend(store, sink, lambda book: book.next(requests=(*book.requests, request), audit=audit))
    return request.id


def discard(
    store: Store,
    found: list[ParkedSequence],
    selection: Selection,
    *,
    sink: str,
    reason: str,
    now: datetime,
    most: int | None = None,
) -> tuple[str, int]:
    """Ask the owners to give up on the events that are meant. Returns the request's id and the number of these events.

    With ``event`` that one; with ``error`` those that failed with it; else all events of the sequences. The owner makes
    skips of those that it finds still parked (:func:`discarded` counts them), and tries what waits behind them: it only
    waited for them.

    Giving up cannot be taken back, and workers park more between looking and deciding: ``most`` is how many events were
    shown. Raises PositionConflict if more are meant by now, and ConfigError if none is; nothing is changed then.
    """
    asked = _request(found, selection, now)
    meant = 0

    def change(book: Book) -> Book:
        nonlocal meant
        meant, positions, offsets = 0, store.positions(), {}
        for partition in positions.keys() & set(asked.partitions):
            count, offsets[partition] = _meant(store, found, selection, asked, positions[partition])
            meant += count
        if not meant:
            raise ConfigError("what was meant is not parked any more", fix="`logsync parked list SINK`")
        if most is not None and meant > most:
            raise PositionConflict(
                f"sink {sink}: more is parked than was shown: expected at most {most:,} events, found {meant:,}",
                fix="look again: `logsync parked list SINK`",
            )
        request = asked.model_copy(update={"reason": reason, "offsets": offsets})
        detail = {**_detail(found, selection), "reason": reason, "meant": meant}
        audit = AuditEntry(at=now, action="parked-discard", detail=detail)
        return book.next(requests=(*book.requests, request), audit=audit)

    amend(store, sink, change)
    return asked.id, meant


def discarded(book: Book, *, reason: str, at: datetime) -> int:
    """How many events became skips for this reason, given at this time."""
    return sum(len(skip.offsets) for skip in book.skips if (skip.reason, skip.at) == (reason, at))


def _meant(
    store: Store, found: list[ParkedSequence], selection: Selection, asked: Request, position: Position
) -> tuple[int, Offsets]:
    """How many events of this partition are meant, and ranges that hold these of what is parked, and no others."""
    names = {each.sequence for each in found if each.partition == position.partition}
    event = found[0].event
    runs, count, go_on = list[tuple[int, int]](), 0, False
    for entry in entries(store, partition=position.partition, sequence=asked.sequence):
        if entry.offset >= position.next_offset:  # a store that parks before it moves: this one will be met again
            break
        meant = (
            entry.discarded is None
            and entry.sequence in names
            and selection.error in (None, entry.error)
            and (event is None or entry.offset == event.offset)
        )
        if meant:
            runs[-1:] = [(runs[-1][0], entry.offset)] if go_on else [*runs[-1:], (entry.offset, entry.offset)]
            count += 1
        go_on = meant
    return count, Offsets.spanning(runs)


def _request(found: list[ParkedSequence], selection: Selection, now: datetime) -> Request:
    one = found[0].sequence if len(found) == 1 else selection.sequence
    return Request(
        id=str(uuid.uuid4()),
        partitions=tuple(sorted({each.partition for each in found})),
        sequence=one,
        error=selection.error,
        at=now,
    )


def _detail(found: list[ParkedSequence], selection: Selection) -> dict[str, object]:
    asked = {name: value for name, value in selection._asdict().items() if value is not None}
    return {**asked, "sequences": len(found), "events": sum(each.waiting.events for each in found)}


def _names(entry: Parked) -> tuple[str | None, str]:
    return entry.event_id, f"{entry.partition}:{entry.offset}"
