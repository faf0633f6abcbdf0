"""Moving a position by hand: to another offset of its log (set), or over to a copy of that log (adopt).

``plan_set`` and ``plan_adopt`` judge facts and touch nothing; ``carry_out`` does what they say, or nothing. The
two questions behind every rule here are: does the content still equal what the position claims afterwards, and if not,
which person says so? And can a worker that planned before the move still write after it?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from logsync.core.book import AuditEntry, Book, Skip
from logsync.core.codec import Decoder, id_of
from logsync.core.event import Decoded, Fault, Record
from logsync.core.inspection import Inspection
from logsync.core.offsets import Offsets
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.resume import beginning, check_environment, check_identity
from logsync.core.sink import Sink
from logsync.core.sources import Sources, at_start, carried
from logsync.core.store import Store
from logsync.errors import ConfigError, LogIdentityError, PositionConflict, PositionGap
from logsync.ops.access import amend, not_begun


@dataclass(frozen=True, slots=True)
class Move:
    """What would be done, gathered before anything is touched. ``says``: what it breaks, in sentences."""

    sink: Sink
    book: Book
    stored: Mapping[int, Position]
    targets: Mapping[int, Position]
    """All positions afterwards; ``carry_out`` gives them their epoch."""
    says: tuple[str, ...]
    audit: AuditEntry
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What else becomes different in the book."""


class Copy(NamedTuple):
    """What one reading of a log found out about it as a copy of another."""

    last: Mapping[int, list[Decoded]]
    """Per partition, the records that carry the id of the last applied event."""
    doubles: list[tuple[int, int, int]]
    """(partition, offset, offset of its first copy) of retried appends that workers would apply twice."""


def plan_set(
    sink: Sink,
    seen: Inspection,
    *,
    log: LogIdentity,
    environment: str,
    partition: int,
    offset: int,
    span: tuple[int, int],
    before: Decoded | None,
    last_found: str | Fault | None,
    reason: str,
    now: datetime,
) -> Move:
    """``span``: the partition's first offset and end. ``before``: the last record below ``offset``, if there is one.
    ``last_found``: the event id that the log holds where the last applied record stood.

    Raises PositionGap for an offset outside the log, LogIdentityError, ConfigError.
    """
    book, stored = _book(sink, seen, environment), dict(seen.positions or {})
    check_identity(book, sink, log)
    low, high = span
    if not low <= offset <= high:
        raise PositionGap(
            f"{log.topic}, partition {partition}: offset {offset} is outside the log, which holds {low} to before "
            f"{high}",
            fix=f"choose an offset from {low} to {high}",
        )
    at = stored.get(partition)
    if at is not None and (at.next_offset, at.epoch) == (offset, book.epoch):
        raise ConfigError(f"sink {sink.name}: the next offset of partition {partition} is {offset} already")
    # A log that lost its tail has other events now where the store saw some. # L2
    lost = at is not None and (
        at.next_offset > high
        or (at.last_id is not None and at.last_offset is not None and at.last_offset >= low
            and last_found != at.last_id and not isinstance(last_found, Fault))
    )  # fmt: skip
    if sink.store.traits.content_knows_offsets and (at is None or lost):
        raise ConfigError(
            f"sink {sink.name}: "
            + ("its store has no position" if at is None else "the log does not hold the last applied event any more")
            + ", and its documents may hold offsets that the log gave to other events since: those would vanish",
            fix=f"`{_rebuild(sink)}`",
        )
    says = (_breaks(sink, at, offset), *([_LOST] if lost else []))
    target = Position(partition, offset)
    if before is not None:  # with its id a log that loses its tail is noticed as before  # L2
        target = Position(partition, low).after(before).at(offset)
    # Which records of sources count from there on: the next worker reads what it lacks in the log. # U1
    target = target._replace(sources=carried(at.sources if at else None, at.next_offset if at else 0, offset))
    detail = {
        "partition": partition, "from": at.next_offset if at else None, "to": offset, "reason": reason,
        "breaks": list(says),
    }  # fmt: skip
    audit = AuditEntry(at=now, action="position-set", detail=detail)
    return Move(sink, book, stored, {**stored, partition: target}, says, audit)


def check_shown(sink: Sink, partition: int, at: Position | None, shown: int | None) -> None:
    """Compare the stored position with the next offset that a person was shown (None: no position) and decided on.

    Raises PositionConflict. Between looking and deciding a worker goes on: from a later position the same move goes
    back over events that were applied meanwhile, and what they add would be added again.
    """
    stands = None if at is None else at.next_offset
    if stands != shown:
        raise PositionConflict(
            f"sink {sink.name}, partition {partition}: its position has moved since it was shown: expected "
            f"{named(shown)}, found {named(stands)}",
            fix=_AGAIN,
        )


def named(offset: int | None) -> str:
    """A next offset as ``--from`` takes it."""
    return "none" if offset is None else str(offset)


_LOST = "the log does not hold the last applied event: the content has effects that the log has not, until a rebuild"


def _breaks(sink: Sink, at: Position | None, offset: int) -> str:
    if at is None:
        return "the store has no position: what it holds of the events before and after this offset is on your word"
    moved = offset - at.next_offset
    if moved > 0:
        return f"forward over {moved:,} offsets: their events will be missing from {sink.name} until a rebuild"
    if moved < 0 and sink.store.traits.content_knows_offsets:
        return f"back over {-moved:,} offsets: documents already hold their events, so this changes nothing in them"
    return (
        f"back over {-moved:,} offsets: their events are applied AGAIN: counters and whatever else adds are doubled "
        "until a rebuild"
    )


def read_copy(sink: Sink, stored: Mapping[int, Position], scan: Callable[[], Iterable[Record]]) -> Copy:
    """Read a log as a copy of the one that ``stored`` belongs to. ``scan`` gives all its records, in log order.

    It is called a second time only if the log holds retried appends: their headers count in offsets of the log that
    they were appended to, and a copy with lower ones hides the first copy from a worker. # A1
    """
    last: dict[int, list[Decoded]] = {number: [] for number in stored}
    retried: dict[tuple[int, str], list[tuple[int, int]]] = {}
    decode = Decoder(sink.log, sink.log.names)
    for record in scan():
        number, event_id = record.partition, id_of(sink.log, record)
        if event_id is None:
            continue
        if number in stored and event_id == stored[number].last_id:
            last[number].append(decode(record))
        since = sink.log.codec.retry_from(record)
        if since is not None:
            retried.setdefault((number, event_id), []).append((record.offset, since))
    if not retried:
        return Copy(last, [])
    copies: dict[tuple[int, str], list[int]] = {}
    for record in scan():
        name = (record.partition, id_of(sink.log, record) or "")
        if name in retried:
            copies.setdefault(name, []).append(record.offset)
    doubles = []
    for name, retries in retried.items():
        for offset, since in retries:
            earlier = [found for found in copies[name] if found < offset]
            if earlier and earlier[-1] < since:
                doubles.append((name[0], offset, earlier[0]))
    return Copy(last, sorted(doubles))


def plan_adopt(
    sink: Sink,
    seen: Inspection,
    copy: Copy,
    *,
    log: LogIdentity,
    environment: str,
    log_starts: Mapping[int, int],
    now: datetime,
) -> Move:
    """Continue in ``log`` after the last applied event of each partition. # L3

    Raises LogIdentityError where that place cannot be told, ConfigError for everything else that stands against it.
    """
    book, stored = check_adoptable(sink, seen, log, environment), dict(seen.positions or {})
    targets, agree = {}, dict[int, int]()
    for number, at in sorted(stored.items()):
        found = copy.last.get(number, [])
        targets[number] = _continue(sink, at, found, log_starts[number])
        if found and found[0].offset == at.last_offset:  # offsets agree up to here, so these skips mean the same
            agree[number] = found[0].offset
    kept, dropped = _divided(book.skips, agree)
    added = [
        Skip(
            partition=number, offsets=Offsets([offset]), reason=f"retried append; it stands at {first} already", at=now
        )
        for number, offset, first in copy.doubles
        if offset > agree.get(number, -1)  # up to there its header counts rightly, and what it hides is another event
    ]
    says = []
    if dropped:
        where = ", ".join(f"{skip.partition}:{skip.offsets}" for skip in dropped)
        says.append(f"skips that name offsets of the old log are dropped: {where}; a rebuild halts at those records")
    if added:
        where = ", ".join(f"{skip.partition}:{skip.offsets}" for skip in added[:10])
        says.append(
            f"{len(added)} retried appends are skipped, because their headers count in offsets of the old log and hide "
            f"that they stand in the log already: {where}{', ...' if len(added) > 10 else ''}"
        )
    detail = {
        "from_log": book.log._asdict(), "to_log": log._asdict(),
        "positions": {str(number): [at.next_offset, targets[number].next_offset] for number, at in stored.items()},
        "after": {str(number): at.last_id for number, at in stored.items()},
        "skips_dropped": [f"{skip.partition}:{skip.offsets}" for skip in dropped],
        "skips_added": [f"{skip.partition}:{skip.offsets}" for skip in added],
    }  # fmt: skip
    changes = {"log": log, "skips": (*kept, *(skip for skip in added if skip not in kept))}
    audit = AuditEntry(at=now, action="position-adopt", detail=detail)
    return Move(sink, book, stored, targets, tuple(says), audit, changes)


def _divided(skips: Iterable[Skip], agree: Mapping[int, int]) -> tuple[list[Skip], list[Skip]]:
    """The skips up to ``agree``, the last offset of each partition that means the same in both logs; and all others."""
    kept, others = list[Skip](), list[Skip]()
    for skip in skips:
        last = agree.get(skip.partition, -1)
        for part, offsets in (
            (kept, [offset for offset in skip.offsets if offset <= last]),
            (others, [offset for offset in skip.offsets if offset > last]),
        ):
            if offsets:
                part.append(skip.model_copy(update={"offsets": Offsets(offsets)}))
    return kept, others


def check_adoptable(sink: Sink, seen: Inspection, log: LogIdentity, environment: str) -> Book:
    """The book, if nothing but the events themselves can stand against adopting ``log``: asked before it is read."""
    book, stored = _book(sink, seen, environment), dict(seen.positions or {})
    if book.log == log:
        raise ConfigError(f"sink {sink.name}: its position belongs to this log already: there is nothing to adopt")
    if sink.store.traits.content_knows_offsets:
        # O4: versions are offsets of the old log, and after a crash documents may be ahead of the position. A new
        # event at or below such an offset would be answered 409, which counts as success: it would be lost silently.
        raise ConfigError(
            f"sink {sink.name}: documents in {sink.store.kind} hold offsets of the old log, and events of another log "
            "could be taken for older ones and vanish",
            fix=f"`{_rebuild(sink)}`: new indices from the new log",
        )
    if book.log.partitions != log.partitions or stored.keys() != set(range(log.partitions)):
        raise ConfigError(
            f"sink {sink.name}: expected a log with the partitions that it has positions of ({len(stored)} of "
            f"{book.log.partitions}), found {log.partitions}: which events of a key were applied cannot be told",
            fix=f"`{_rebuild(sink)}`",
        )
    return book


def _continue(sink: Sink, at: Position, found: list[Decoded], start: int) -> Position:
    """The position in the copy that stands for ``at`` in the log it was made of."""
    where = f"sink {sink.name}, partition {at.partition}"
    fix = f"`{_rebuild(sink)}` follows the new log from its start"
    if at.last_offset is None:
        if start not in (0, at.next_offset):
            raise LogIdentityError(f"{where}: nothing was applied, and the new log begins at {start}", fix=fix)
        return beginning(at.partition, start)
    if at.last_id is None:
        raise LogIdentityError(
            f"{where}: the last record it passed, at {at.last_offset}, has no id to look for", fix=fix
        )
    if not found:
        raise LogIdentityError(
            f"{where}: the new log does not hold the last applied event, {at.last_id}: it is no copy of the old log, "
            "or its end is missing",
            fix=f"let the copy catch up, if it still does; else {fix}",
        )
    if len(found) > 1:  # a retried append, or a mirror that doubles: after which of them does the store stand?
        offsets = ", ".join(str(event.offset) for event in found)
        raise LogIdentityError(f"{where}: the last applied event, {at.last_id}, stands at {offsets}", fix=fix)
    target, known = at.after(found[0]), Sources.read(at.sources, at.next_offset)
    known = known.moved(target.next_offset) if known.next_offset == at.next_offset else at_start(start)
    return target._replace(sources=known.dump(target.next_offset))


def carry_out(move: Move, store: Store) -> Book:
    """Move the positions and write the audit, if both are still as they were seen. The store is open.

    Raises PositionConflict when they are not, ConfigError when parked events stand against it; nothing is changed then.

    Positions and book change in one step, but a book is compared by its revision alone, and workers move
    positions all the time. So every position is first fenced: compared as it was seen, and given an epoch that
    no worker has. From then on nobody can apply; workers wait, because the book has another epoch than the position. A
    crash in between leaves them waiting, and the command can be run again.

    A store whose documents hold the epoch cannot raise it. It needs no fence either: where this is allowed at all,
    a worker that applies in between moves the position over events that the documents then hold.
    """
    seen = move.book
    agree = all(move.targets[number].last_offset == at.last_offset for number, at in move.stored.items())
    if "log" in move.changes and not agree and any(store.sequences(number) for number in move.stored):
        raise ConfigError(
            f"sink {seen.sink}: events are parked under offsets of the old log, which are other events in this one",
            fix=f"`logsync parked retry {move.sink.address} --all --yes` while the old log is there, else "
            f"`{_rebuild(move.sink)}`",
        )
    if store.traits.content_knows_offsets:
        if any(store.sequences(number) for number in move.stored):
            # What documents note about parked events was not made for positions that go back; so it is not tried.
            raise ConfigError(
                f"sink {seen.sink}: events are parked, and documents keep notes about them that only fit its position",
                fix=f"`logsync parked retry {move.sink.address}` or `discard` first, or `{_rebuild(move.sink)}`",
            )
        if store.positions() != move.stored:
            raise PositionConflict(f"sink {seen.sink}: its position has moved since it was shown", fix=_AGAIN)
        epoch = seen.epoch
    else:
        epoch = max(seen.epoch, *(at.epoch for at in move.stored.values()), 0) + 1
    targets = [at._replace(epoch=epoch) for _, at in sorted(move.targets.items())]

    def change(book: Book) -> Book:
        if (book.epoch, book.state, book.log, book.skips) != (seen.epoch, seen.state, seen.log, seen.skips):
            raise PositionConflict(f"sink {seen.sink}: its book has changed since it was shown", fix=_AGAIN)
        return book.next(audit=move.audit, **{**move.changes, "epoch": epoch})

    fences: list[Plan] = []
    try:
        if epoch != seen.epoch:
            for _, at in sorted(move.stored.items()):
                fence = Plan(at, at._replace(epoch=epoch))
                store.apply(fence)
                fences.append(fence)
        return amend(store, seen.sink, change, positions=targets)
    except PositionConflict:
        book = store.read_book()
        if book is not None and book.epoch == seen.epoch:  # else the positions are somebody else's by now
            for fence in fences:
                with suppress(PositionConflict):
                    store.apply(Plan(fence.end, fence.start))
        raise


_AGAIN = "look again; stop the sink's workers first if they move it all the time"


def _book(sink: Sink, seen: Inspection, environment: str) -> Book:
    """The book of a sink whose positions may be moved. Raises ConfigError."""
    book = seen.book
    if book is None:
        raise not_begun(sink.name, sink.address)
    check_environment(book, sink, environment)
    if book.state != "ready":
        raise ConfigError(f"sink {sink.name}: a rebuild was interrupted while it wiped", fix=f"`{_rebuild(sink)}`")
    return book


def _rebuild(sink: Sink) -> str:
    return f"logsync rebuild {sink.address} --yes"


def forget(store: Store, *, sink: str, now: datetime) -> Book:
    """Remove the sink's positions and leave its content. The book stays, so that this is on record.

    A worker then refuses to start, because content without a position cannot be continued. # P1
    """
    positions = store.positions()
    audit = AuditEntry(
        at=now, action="forget", detail={str(p): position.next_offset for p, position in positions.items()}
    )
    return amend(store, sink, lambda book: book.next(audit=audit), positions=[])
