"""Retried appends: which of them stand in the log already, further up. The log itself tells. # A1"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from logsync.core.codec import LOOK_BACK
from logsync.core.event import Decoded, Event, Record, Undecodable
from logsync.core.planning import located
from logsync.core.sink import Sink
from logsync.errors import Unreadable
from logsync.log.contract import LogReader


def duplicates(
    events: Sequence[Decoded],
    record: Callable[[int], Record],
    sink: Sink,
    reader: LogReader,
    meanwhile: Callable[[], None],
    skips: Collection[int],
) -> tuple[list[int], Unreadable | None]:
    """Offsets of retried appends whose event stands in the log already, further up; and the first that is not known.

    ``meanwhile`` is called while the log is read, which may take long.
    Not known: its original might stand in what cannot be read by now, and have been applied when it still could be.
    What was skipped by hand, as in ``skips``, was not applied, and is nobody's original. No verdict is given on what
    comes after the first that is not known.
    Records that cannot be decoded are looked up as well: when they are retried after an upgrade, that range of the log
    may be gone.
    """
    since = dict[int, int]()
    for event in events:
        retried_from = event.retry_from if type(event) is Event else None
        if type(event) is Undecodable:
            retried_from = sink.log.codec.retry_from(record(event.offset))
        # Else the range is empty.
        if retried_from is not None and retried_from < event.offset and event.offset not in skips:
            # The mark may be a stranger's: bounded by what stands in the log alone, so that every sink says the same.
            since[event.offset] = max(retried_from, event.offset - LOOK_BACK)
    if not since:
        return [], None
    retried = [event for event in events if event.offset in since]
    ids = {event.id for event in retried if event.id is not None}
    lost = list[Record]()

    def unread(place: Record) -> None:
        if place.offset not in skips:
            lost.append(place)

    find = partial(reader.find, meanwhile=meanwhile, unread=unread)
    found = find(retried[0].partition, ids, min(since.values()), retried[-1].offset)
    unknown = None
    if lost:  # told once: a reader may remember what it read, so the worker has to halt now
        concerned = next(event for event in retried if event.offset > lost[0].offset)
        unknown = _unknown(sink, concerned, lost[0])
        retried = [event for event in retried if event.offset < concerned.offset]
    doubled = [event.offset for event in retried if _stood(event, since[event.offset], found, find) < event.offset]
    return doubled, unknown


def _stood(event: Decoded, since: int, found: Mapping[str, int], find: Callable[..., dict[str, int]]) -> int:
    """Where the event of this id first stands in [since, event.offset); the event's own offset if nowhere."""
    if event.id is None or event.id not in found:
        return event.offset
    if found[event.id] >= since:
        return found[event.id]
    # Found before this event's own range, in the range of another event of the batch. The verdict must not depend on
    # how the log is cut into batches.
    return find(event.partition, {event.id}, since, event.offset).get(event.id, event.offset)


def _unknown(sink: Sink, event: Decoded, place: Record) -> Unreadable:
    why = place.fault.why if place.fault is not None else ""
    what = (
        f"whether the original of this retried append is in the log cannot be told: at offset {place.offset} is {why}"
    )
    error = Unreadable(what)
    located(sink, event, error)
    error.fix = (
        "let another replica lead the partition, or restore the broker's file; then start again. "
        f'`logsync skip {sink.address} {event.partition} {event.offset} --reason "..." --yes` passes over the retry '
        f"on record; append its event anew if `logsync show {event.id}` does not find it"
    )
    return error
