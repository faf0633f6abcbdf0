"""Rebuild: wipe what a sink owns and put its positions at the log's start; replaying is the worker's part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from logsync.core.book import AuditEntry, Book
from logsync.core.position import LogIdentity, Position
from logsync.core.resume import beginning
from logsync.core.sink import Sink
from logsync.core.store import Store
from logsync.errors import ConfigError


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
        more_skipped=False, rebuilt_to={partition: end for partition, (_, end) in sorted(plan.spans.items())},
        # A skip names an offset, and offsets mean something only in the log where the person saw the record.
        skips=() if wiping.log.differences(plan.log) else wiping.skips, requests=(),
    )  # fmt: skip
    store.write_book(ready, positions=[beginning(p, start, ready.epoch) for p, start in starts.items()])
    return ready
