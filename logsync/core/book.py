"""What a store remembers of its sink beside the content, and the rules for resuming from it.

The book is one small JSON document per sink, changed rarely and by compare-and-set on ``revision``;
positions are kept apart because they move with every batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from logsync.core.offsets import Offsets, OffsetsText
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogIdentityError, PositionConflict, PositionGap, StoreUnavailable


class AuditEntry(BaseModel, frozen=True):
    """Something a person did to the sink by hand: kept for ever."""

    at: datetime
    action: str
    detail: dict[str, Any] = {}


class Skip(BaseModel, frozen=True):
    """Records that a person passed over by name, all at once."""

    partition: int
    offsets: OffsetsText
    reason: str
    at: datetime


class Request(BaseModel, frozen=True):
    """Something that the owners of the partitions are asked to do: drain what waits. # K1

    With a ``reason``: give up on the parked events in ``offsets`` first. Only the owner can tell which of them are
    parked still, so only the owner puts them on the list of skips.
    """

    id: str
    partitions: tuple[int, ...]
    """Those whose owner has not done it yet; when none is left, the request goes away."""
    sequence: str | None = None
    """Only this sequence."""
    error: str | None = None
    """Only sequences whose first event failed with this class of error."""
    at: datetime
    reason: str | None = None
    """Why the events in ``offsets`` are given up; None: they are not."""
    offsets: dict[int, OffsetsText] = {}
    """By partition: every event of ``sequence`` that is parked in these ranges is meant."""


class Book(BaseModel, frozen=True):
    """The sink's own record in its store. Immutable; :meth:`next` makes the following revision."""

    revision: int = 1
    sink: str
    environment: str
    log: LogIdentity
    epoch: int = 1
    state: Literal["ready", "wiping"] = "ready"
    """``wiping``: a rebuild began to delete and did not finish yet; workers wait, and only a rebuild may go on."""
    handled: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    """Types of which at least one event was passed over because nothing handled it. # T2"""
    skips: tuple[Skip, ...] = ()
    requests: tuple[Request, ...] = ()
    audit: tuple[AuditEntry, ...] = ()

    @classmethod
    def read(cls, stored: str | bytes, where: str) -> Book:
        """The book as a store has kept it, ``where`` in words. Raises ConfigError."""
        try:
            return cls.model_validate_json(stored)
        except ValueError as error:
            raise ConfigError(
                f"{where} holds no book that this version of logsync can read: {error}",
                fix="run the version that wrote it, or a newer one",
            ) from None

    def next(self, *, audit: AuditEntry | None = None, **changes: Any) -> Book:
        """The following revision; ``store.write_book`` accepts it only on top of this one."""
        entries = (*self.audit, audit) if audit else self.audit
        return self.model_copy(update={**changes, "revision": self.revision + 1, "audit": entries})

    @property
    def ground(self) -> tuple[object, ...]:
        """What a worker stands on: when this changes, it has to resume."""
        return self.epoch, self.state, self.log, self.environment

    def without(self, request: str, partition: int) -> tuple[Request, ...]:
        """The requests that are left once ``partition`` is through with this one."""
        left = []
        for asked in self.requests:
            if asked.id == request:
                asked = asked.model_copy(update={"partitions": tuple(p for p in asked.partitions if p != partition)})
            if asked.partitions:
                left.append(asked)
        return tuple(left)

    def skips_of(self, partition: int) -> Offsets:
        return Offsets.spanning(
            each for skip in self.skips if skip.partition == partition for each in skip.offsets.ranges
        )

    def skipping(self, partition: int, offsets: Iterable[int], *, reason: str, at: datetime) -> tuple[Skip, ...]:
        """The skips with these besides; one that is there already is not noted again."""
        new = Offsets(set(offsets) - self.skips_of(partition))
        if not new:
            return self.skips
        known = [s for s in self.skips if (s.partition, s.reason, s.at) == (partition, reason, at)]
        for skip in known:
            new |= skip.offsets
        rest = tuple(skip for skip in self.skips if skip not in known)
        return (*rest, Skip(partition=partition, offsets=new, reason=reason, at=at))


def overtaken(sink: str, expected: int, found: object = "another") -> PositionConflict:
    """The error of whoever would change the book of ``sink`` and finds another revision than he read."""
    return PositionConflict(f"book of sink {sink}: expected revision {expected}, found {found}")


def first_book(
    sink: Sink,
    *,
    environment: str,
    log: LogIdentity,
    log_starts: Mapping[int, int],
    holds_data: bool,
    from_log_start: bool,
    now: datetime,
) -> tuple[Book, list[Position]]:
    """The book and positions of a sink that its store has never seen. # P1

    "No position" means "start at the log's first event" only when the store is empty and the log is whole:
    counters that survived would double, and a log without its head would make a partial store look whole.
    Raises ConfigError otherwise.
    """
    trimmed = {partition: start for partition, start in log_starts.items() if start > 0}
    if not from_log_start and holds_data:
        raise ConfigError(
            f"sink {sink.name} has no position, yet its store holds data of it: replaying could count events twice",
            fix=f"`logsync rebuild {sink.address} --yes` wipes what the sink owns and replays the log, or "
            f"`logsync consume {sink.address} --from-log-start` applies the whole log on top, on your word",
        )
    if not from_log_start and trimmed:
        raise ConfigError(
            f"sink {sink.name} has no position and the log no longer begins at 0 (it begins at {trimmed}): "
            "the store would look whole without the events that are gone",
            fix=f"`logsync consume {sink.address} --from-log-start` accepts that, on record",
        )
    audit = AuditEntry(
        at=now, action="from-log-start", detail={"log_starts": {str(p): o for p, o in log_starts.items()}}
    )
    book = Book(
        sink=sink.name,
        environment=environment,
        log=log,
        handled=sink.handled,
        audit=(audit,) if from_log_start else (),
    )
    return book, [Position(partition, start, book.epoch) for partition, start in sorted(log_starts.items())]


def check_book(
    book: Book, sink: Sink, *, environment: str, log: LogIdentity, accept_from_now: bool, now: datetime
) -> Book:
    """The book to go on with: the same one, or its next revision when the handled types changed.

    Raises ConfigError (wrong environment, a handler that came too late), LogIdentityError (not the log that the
    position belongs to), StoreUnavailable (a rebuild is under way, and only it may go on).
    """
    check_environment(book, sink, environment)
    if book.state != "ready":
        raise StoreUnavailable(  # it passes when the rebuild is through, and it says so until then
            f"sink {sink.name}: a rebuild is wiping its store, or was interrupted while it did",
            fix=f"if none is running, run `logsync rebuild {sink.address} --yes` again",
        )
    check_identity(book, sink, log)
    # Also a type that was handled before: in a rolling deploy an older worker may still have passed over it.
    late = sink.handled & book.skipped
    if late and not accept_from_now:
        names = ", ".join(sorted(late))
        raise ConfigError(
            f"sink {sink.name} now handles {names}, but events of that type were already skipped: the store "
            "would hold only the later ones",
            fix=f"`logsync rebuild {sink.address} --yes` applies all of them, or "
            f"`logsync consume {sink.address} --accept-from-now` takes only those to come, on record",
        )
    if sink.handled == book.handled and not late:
        return book
    audit = AuditEntry(at=now, action="accept-from-now", detail={"types": sorted(late)}) if late else None
    return book.next(handled=sink.handled, skipped=book.skipped - sink.handled, audit=audit)


def check_environment(book: Book, sink: Sink, environment: str) -> None:
    """Raise ConfigError unless the book was begun in this environment. # P3"""
    if book.environment != environment:
        raise ConfigError(
            f"sink {sink.name}: this store belongs to environment {book.environment!r}, and this is {environment!r}. "
            "A cloned store must not follow another environment's log",
            fix=f"set LOGSYNC_ENVIRONMENT={book.environment}, or `logsync rebuild {sink.address} --yes` here",
        )


def check_identity(book: Book, sink: Sink, found: LogIdentity) -> None:
    """Raise LogIdentityError unless ``found`` is the log that the book's positions belong to. # I6"""
    differences = book.log.differences(found)
    if differences:
        raise LogIdentityError(
            f"sink {sink.name}: its position belongs to another log: {'; '.join(differences)}",
            fix=f"point LOGSYNC_KAFKA at the right cluster, or `logsync position adopt {sink.address}` if this is a "
            f"copy of that log, or `logsync rebuild {sink.address} --yes` to follow the new log from its start",
        )


def check_range(position: Position, low: int, high: int, sink: Sink) -> None:
    """Raise PositionGap unless ``low <= next_offset <= high``, the log's first and end offset. # L4"""
    where = (
        f"sink {sink.name}: {sink.log.topic}, partition {position.partition}: the next offset is {position.next_offset}"
    )
    if position.next_offset < low:
        raise PositionGap(
            f"{where}, but the log begins at {low}: {low - position.next_offset} offsets were deleted by "
            "retention before they were applied",
            fix=f"`logsync rebuild {sink.address} --from-log-start --yes` builds the store from what is left",
        )
    if position.next_offset > high:
        raise PositionGap(
            f"{where}, but the log ends at {high}: it lost {position.next_offset - high} offsets at its end",
            fix=f"`logsync rebuild {sink.address} --yes` makes the store equal to the log as it is now",
        )


def check_last(position: Position, found_id: str | None, sink: Sink) -> None:
    """Raise LogIdentityError if the last applied record is not the one that the log holds there. # L2"""
    if position.last_id is not None and found_id != position.last_id:
        raise LogIdentityError(
            f"sink {sink.name}: {sink.log.topic}, partition {position.partition}, offset {position.last_offset}: the "
            f"sink applied event {position.last_id} there, the log now holds {found_id or 'nothing'}: the "
            "log lost its tail and grew again",
            fix=f"`logsync rebuild {sink.address} --yes` makes the store equal to the log as it is now",
        )
