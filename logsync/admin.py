"""What a person does to a sink by hand: look at its position, forget it, skip a record, rebuild.

All of it goes through the Store protocol and the book, so it works the same for every store, and whatever
changes something leaves an audit entry in the book.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from logsync.core.book import AuditEntry, Book
from logsync.core.event import Record
from logsync.core.finding import Examined, Severity
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable
from logsync.settings import Settings
from logsync.stores.base import Store


@contextmanager
def opened(sink: Sink, settings: Settings) -> Iterator[Store]:
    """The sink's store, open for the length of the block. Raises StoreUnavailable, ConfigError."""
    try:
        sink.store.open(sink.name, settings)
        yield sink.store
    finally:
        sink.store.close()


def look(sink: Sink, settings: Settings) -> Examined:
    """What the store remembers of the sink. Creates nothing, unlike ``opened``: for commands that only look.

    Raises StoreUnavailable, ConfigError.
    """
    seen = sink.store.examine(sink.name, settings)
    if seen.positions is None:
        errors = [finding for finding in seen.findings if finding.severity is Severity.ERROR]
        why = next((finding for finding in errors if finding.outage), errors[-1])
        raise (StoreUnavailable if why.outage else ConfigError)(why.found, fix=why.fix)
    return seen


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild would do, gathered before anything is touched."""

    book: Book | None
    positions: dict[int, Position]
    holds_data: bool
    log: LogIdentity
    spans: Mapping[int, tuple[int, int]]
    """First offset and end of the log, by partition."""
    only_copies: int = 0
    """Parked events that the log holds no more: a rebuild deletes the last copy of them."""

    @property
    def epoch(self) -> int:
        """The epoch of the content after the rebuild: no plan made before it can be applied to it."""
        return self.book.epoch + 1 if self.book else 1


def plan_rebuild(store: Store, log: LogIdentity, spans: Mapping[int, tuple[int, int]]) -> RebuildPlan:
    """Look, and change nothing. The store is open.

    A store whose content is known to be broken refuses to tell its positions; a rebuild is what mends that.
    """
    try:
        positions = store.positions()
    except ConfigError:
        positions = {}
    book = store.read_book()
    copies = _only_copies(store, book, log, spans) if book else 0
    return RebuildPlan(book, positions, store.holds_data(), log, spans, copies)


def _only_copies(store: Store, book: Book, log: LogIdentity, spans: Mapping[int, tuple[int, int]]) -> int:
    """Parked events that stood before the log's start, or in another log than this one."""
    other, count = book.log.differences(log), 0
    for partition in range(book.log.partitions):
        before, after = math.inf if other else spans[partition][0], -1
        while after + 1 < before and (page := store.parked(partition, after=after)):
            count += sum(entry.offset < before and entry.discarded is None for entry in page)
            after = page[-1].offset
    return count


def rebuild(
    sink: Sink,
    store: Store,
    plan: RebuildPlan,
    *,
    environment: str,
    from_log_start: bool,
    lose_parked: bool = False,
    now: datetime,
) -> Book:
    """Wipe what the sink owns and put its positions at the log's start; replaying is the worker's part.

    Works for a book of another log or environment, and when content exists without a book. Raises ConfigError
    when the log has lost its head, or events of which only the parked copy is left, and that was not accepted by
    ``from_log_start`` and ``lose_parked``; PositionConflict when somebody else changed the
    book meanwhile (nothing was wiped then).
    """
    starts = {partition: low for partition, (low, _) in sorted(plan.spans.items())}
    trimmed = {partition: start for partition, start in starts.items() if start > 0}
    if trimmed and not from_log_start:
        raise ConfigError(
            f"the log no longer begins at 0 (it begins at {trimmed}): rebuilding {sink.name} would replace "
            "what it holds by less",
            fix=f"`logsync rebuild {sink.address} --from-log-start --yes` accepts that, on record",
        )
    if plan.only_copies and not lose_parked:
        raise ConfigError(
            f"{plan.only_copies:,} parked events of {sink.name} stand in the log no more: a rebuild deletes the only "
            "copy that is left of them",
            fix=f"`logsync parked retry {sink.address} --all --yes` or `parked discard` first; "
            f"`logsync rebuild {sink.address} --lose-parked --yes` loses them, on record",
        )
    audit = AuditEntry(
        at=now,
        action="rebuild",
        detail={
            "epoch": plan.epoch,
            **({"parked_lost": plan.only_copies} if plan.only_copies else {}),
            "positions": {str(p): position.next_offset for p, position in plan.positions.items()},
            "log_starts": {str(p): start for p, start in starts.items()},
        },
    )
    # From here on no worker can apply: its plan starts at a position that is not there any more. A crash
    # before the last step leaves "wiping": every worker waits, and a second rebuild may follow.
    if plan.book is None:
        wiping = Book(
            sink=sink.name, environment=environment, log=plan.log, epoch=plan.epoch, state="wiping", audit=(audit,)
        )
    else:
        wiping = plan.book.next(state="wiping", epoch=plan.epoch, audit=audit)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)  # refused if another rebuild has begun since: what it replays is not ours to delete
    ready = wiping.next(
        state="ready", environment=environment, log=plan.log, handled=sink.handled, skipped=frozenset(),
        # A skip names an offset, and offsets mean something only in the log where the person saw the record.
        skips=() if wiping.log.differences(plan.log) else wiping.skips, requests=(),
    )  # fmt: skip
    store.write_book(ready, positions=[Position(p, start, ready.epoch) for p, start in starts.items()])
    return ready


def forget(store: Store, *, sink: str, now: datetime) -> Book:
    """Remove the sink's positions and leave its content. The book stays, so that this is on record.

    A worker then refuses to start, because content without a position cannot be continued. # P1
    """
    positions = store.positions()
    audit = AuditEntry(
        at=now, action="forget", detail={str(p): position.next_offset for p, position in positions.items()}
    )
    return amend(store, sink, lambda book: book.next(audit=audit), positions=[])


def skip(store: Store, record: Record, *, sink: str, reason: str, now: datetime) -> Book:
    """Put one record on the list of those to pass over. Workers read the list when they resume.

    Raises ConfigError when the position is past the record already: then it was applied or passed over, and
    a skip would change nothing now but the content after a rebuild. Skipping it twice is one skip.
    """
    partition, offset = record.partition, record.offset
    audit = AuditEntry(at=now, action="skip", detail={"partition": partition, "offset": offset, "reason": reason})

    def add(book: Book) -> Book | None:
        # Read after the book: a worker that passes the record between the two reads is caught here or, if it
        # passes it after, had not seen the skip and applied it; the caller looks at the position once more.
        position = store.positions().get(partition)
        if position is not None and position.next_offset > offset:
            raise ConfigError(
                f"sink {sink} is past partition {partition}, offset {offset} already: its next offset is "
                f"{position.next_offset}",
                fix="append an event that corrects the content; the log is the truth",
            )
        if offset in book.skips_of(partition):
            return None
        return book.next(skips=book.skipping(partition, [offset], reason=reason, at=now), audit=audit)

    return amend(store, sink, add)


def not_begun(sink: str, address: str) -> ConfigError:
    """The error of a command that wants a sink whose worker has run here before."""
    return ConfigError(f"sink {sink} has no position in this store yet", fix=f"`logsync consume {address}` starts it")


def amend(
    store: Store, sink: str, change: Callable[[Book], Book | None], *, positions: list[Position] | None = None
) -> Book:
    """Write ``change(book)``, again on the newer book if a worker wrote one in between."""
    for last in (False, False, False, True):
        book = store.read_book()
        if book is None:
            raise not_begun(sink, sink)
        changed = change(book)
        if changed is None:
            return book
        try:
            store.write_book(changed, positions=positions)
        except PositionConflict:
            if last:
                raise
        else:
            return changed
    raise AssertionError("unreachable")
