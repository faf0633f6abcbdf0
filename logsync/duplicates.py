"""Retried appends: which of them stand in the log already, further up. The log itself tells. # A1"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from logsync.core.codec import LOOK_BACK, Codec
from logsync.core.event import Decoded, Event, Record, Undecodable
from logsync.log.contract import LogReader


def duplicates(
    events: Sequence[Decoded],
    record: Callable[[int], Record],
    codec: Codec,
    reader: LogReader,
    meanwhile: Callable[[], None],
) -> list[int]:
    """Offsets of retried appends whose event stands in the log already, further up.

    ``meanwhile`` is called while the log is read, which may take long.
    Records that cannot be decoded are looked up as well: when they are retried after an upgrade, that range of the log
    may be gone.
    """
    since = dict[int, int]()
    for event in events:
        retried_from = event.retry_from if type(event) is Event else None
        if type(event) is Undecodable:
            retried_from = codec.retry_from(record(event.offset))
        if retried_from is not None and retried_from < event.offset:  # else the range is empty
            # The mark may be a stranger's: bounded by what stands in the log alone, so that every sink says the same.
            since[event.offset] = max(retried_from, event.offset - LOOK_BACK)
    if not since:
        return []
    retried = [event for event in events if event.offset in since]
    ids = {event.id for event in retried if event.id is not None}
    find = partial(reader.find, meanwhile=meanwhile)
    found = find(retried[0].partition, ids, min(since.values()), retried[-1].offset)
    return [event.offset for event in retried if _stood(event, since[event.offset], found, find) < event.offset]


def _stood(event: Decoded, since: int, found: Mapping[str, int], find: Callable[..., dict[str, int]]) -> int:
    """Where the event of this id first stands in [since, event.offset); the event's own offset if nowhere."""
    if event.id is None or event.id not in found:
        return event.offset
    if found[event.id] >= since:
        return found[event.id]
    # Found before this event's own range, in the range of another event of the batch. The verdict must not depend on
    # how the log is cut into batches.
    return find(event.partition, {event.id}, since, event.offset).get(event.id, event.offset)
