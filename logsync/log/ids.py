"""Which event ids stand in a range of the log: remembered, so that each record is read for it once. # A1

Whoever may write to a topic may mark every record as a retried append. Each is looked up, and without this each of them
would have the same range read again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable

Read = Callable[[int, int], Iterable[tuple[int, str | None]]]
"""Offsets and ids of the records in [start, stop)."""


class IdWindow:
    """The ids of one range of a partition, as hashes of 64 bits: 16 bytes a record, however long an id is.

    Two ids with one hash would hide an event. Python's hash of a string is keyed anew in each process, so nobody can
    make such ids; by chance it happens once in ten thousand million batches of retries.
    """

    def __init__(self, most: int) -> None:
        """``most``: records to remember. More are kept for a while, so that not each one moves all others."""
        self._most = most
        self._hashes, self._offsets = array("q"), array("q")
        self._start = self._stop = 0

    def find(self, ids: Collection[str], start: int, stop: int, read: Read) -> dict[str, int]:
        """Where in [start, stop) each of these ids stands first. What is not known of the range is read."""
        if not self._start <= start <= self._stop:
            self._hashes, self._offsets = array("q"), array("q")
            self._start = self._stop = start
        for offset, event_id in read(self._stop, stop) if stop > self._stop else ():
            if event_id is not None:
                self._hashes.append(hash(event_id))
                self._offsets.append(offset)
            self._stop = offset + 1  # also if the reading is broken off
        self._stop = max(self._stop, stop)
        found = self._known(ids, start, stop)
        if len(self._offsets) > 2 * self._most:
            self._start = self._offsets[-self._most]
            del self._hashes[: -self._most], self._offsets[: -self._most]
        return found

    def _known(self, ids: Collection[str], start: int, stop: int) -> dict[str, int]:
        wanted = {hash(event_id): event_id for event_id in ids}
        first, last = bisect_left(self._offsets, start), bisect_left(self._offsets, stop)
        hashes, found = self._hashes[first:last], dict[str, int]()
        if wanted.keys().isdisjoint(hashes):
            return found
        for at, hashed in enumerate(hashes, first):
            if hashed in wanted:
                found.setdefault(wanted[hashed], self._offsets[at])
        return found
