"""The rules of resuming: whether a worker may go on from what its store remembers, or begin where it remembers nothing.

Pure: book, positions and the facts of the log come in; what a person must mend is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from logsync.core.book import AuditEntry, Book
from logsync.core.event import Fault
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.core.sources import at_start
from logsync.errors import ConfigError, LogIdentityError, PositionGap, StoreUnavailable


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
        began=now,
        handled=sink.handled,
        audit=(audit,) if from_log_start else (),
    )
    return book, [beginning(partition, start, book.epoch) for partition, start in sorted(log_starts.items())]


def beginning(partition: int, start: int, epoch: int = 1) -> Position:
    """The position of content that nothing was applied to, at the log's first offset."""
    return Position(partition, start, epoch, sources=at_start(start).dump(start))


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
    untold = sink.handled - book.handled - late if book.more_skipped else frozenset()
    if (late or untold) and not accept_from_now:
        names = ", ".join(sorted(late or untold))
        passed = "events of that type were already skipped: the store would hold only the later ones"
        unnamed = "more types were skipped than the book names, so the store may lack its events up to now"
        raise ConfigError(
            f"sink {sink.name} now handles {names}, but {passed if late else unnamed}",
            fix=f"`logsync rebuild {sink.address} --yes` applies all of them, or "
            f"`logsync consume {sink.address} --accept-from-now` takes only those to come, on record",
        )
    if sink.handled == book.handled and not late:
        return book
    taken = sorted(late | untold)
    audit = AuditEntry(at=now, action="accept-from-now", detail={"types": taken}) if taken else None
    return book.next(handled=sink.handled, skipped=book.skipped - sink.handled, audit=audit)


def went_back(known: Book, wrote: Mapping[int, Position], book: Book | None, stored: Mapping[int, Position]) -> bool:
    """True if a conflict comes from the store and from no second program: it was restored, emptied or rebuilt. # P3

    ``known`` and ``wrote``: the book that a worker resumed under, and the positions that it has read or written since.
    ``book`` and ``stored``: what the store holds now. A second program goes on in the same book and moves positions
    forward, as this one does. No program moves one back: a restore does, a failover to a copy that was behind, an empty
    store. One that was emptied and then restored may be further than the worker was: there the book is another.
    """
    if book is None or (book.began, book.epoch) != (known.began, known.epoch) or book.revision < known.revision:
        return True
    return any(number not in stored or stored[number].place < position.place for number, position in wrote.items())


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


def check_last(position: Position, found: str | Fault | None, sink: Sink) -> None:
    """Raise LogIdentityError if the last applied record is not the one that the log holds there. # L2

    ``found``: the id that stands there. A record that cannot be read any more proves nothing.
    """
    if position.last_id is not None and found != position.last_id and not isinstance(found, Fault):
        raise LogIdentityError(
            f"sink {sink.name}: {sink.log.topic}, partition {position.partition}, offset {position.last_offset}: the "
            f"sink applied event {position.last_id} there, the log now holds {found or 'nothing'}: the "
            "log lost its tail and grew again",
            fix=f"`logsync rebuild {sink.address} --yes` makes the store equal to the log as it is now",
        )
