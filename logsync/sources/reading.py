"""What a relay has read of the log, and from where its successor has to read it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from logsync.core.codec import id_of
from logsync.core.event import Record
from logsync.core.sources import Sources, State, at_start, fold, stretches
from logsync.sources.channel import Channel
from logsync.sources.contract import Ledger
from logsync.sources.source import Source


class LogIsShorter(Exception):
    """The log ends before what was read of it once."""


class ReadSoFar:
    """One partition, as far as it was read.

    A successor is told a place before which everything of this source is at or below the floor. What stands behind that
    place it reads again: facts above the floor that the log has already must be left out, whichever partition they are
    in, since the mapping may have another key by then.
    """

    def __init__(self, start: Sources) -> None:
        self.known = start
        """What is known of all sources behind the last record that was read."""
        self.settled = start
        """The same at an earlier place: nothing of this source before it is above the floor."""
        self._floor = ""
        self._trail: deque[tuple[str, Sources]] = deque()  # the greatest place so far, and what is known behind it

    def state(self, source: str) -> State:
        """Where this source stands."""
        return self.known.states.get(source, State(0, "", 0, ""))

    def read(self, after: Sources, at: str) -> None:
        """A stretch was read. ``at``: the greatest place of this source that counts in it, or empty."""
        self.known = after
        top = self._trail[-1][0] if self._trail else ""
        if self._trail and at <= top:
            self._trail.pop()
        self._trail.append((max(at, top), after))

    def settle(self, floor: str) -> None:
        """All facts up to ``floor`` are in the log."""
        self._floor = floor
        while self._trail and self._trail[0][0] <= floor:
            self.settled = self._trail.popleft()[1]

    @property
    def unsettled(self) -> int:
        """Offsets that a successor would read again, as far as they need not wait for facts under way."""
        free = self._trail and self._trail[-1][0] <= self._floor
        return self.known.next_offset - self.settled.next_offset if free else 0

    @property
    def place(self) -> tuple[int, str | None]:
        """Where a successor reads on, as the ledger has it."""
        return self.settled.place


def log_so_far(
    source: Source,
    channel: Channel,
    ledger: Ledger | None = None,
    note: Callable[[int, str, str | None], None] = lambda *_: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[dict[int, ReadSoFar], int]:
    """Read every partition to its end, from where ``ledger`` says, or from its start.

    ``note`` gets the partition, place and id of each record of this source that counts. Returns what was read, and the
    greatest term of this source that stands there, taken or not. ``meanwhile`` is called again and again: reading may
    take long. Raises LogIsShorter.
    """
    found, greatest = dict[int, ReadSoFar](), 0
    for partition, (low, high) in channel.bounds().items():
        known = at_start(low)
        if ledger is not None and partition in ledger.places:
            offset, text = ledger.places[partition]
            if offset > high:
                raise LogIsShorter(f"partition {partition} ends at {high}, and was read up to {offset} before")
            known = Sources.read(text, offset)
            known = known if offset >= low else known.without(low)
        read = found[partition] = ReadSoFar(known)
        for records, stop in stretches(channel.records(partition, known.next_offset, high), high):
            meanwhile()
            greatest = max(greatest, _read(source, partition, read, records, stop, note))
        greatest = max(greatest, read.state(source.name).term)
    return found, greatest


def _read(
    source: Source,
    partition: int,
    read: ReadSoFar,
    batch: list[Record],
    stop: int,
    note: Callable[[int, str, str | None], None],
) -> int:
    """Fold a stretch. Returns the greatest term of this source in it."""
    marks = source.log.codec.marks(batch)
    after, passed = fold(read.known, marks, stop)
    records = {record.offset: record for record in batch}
    mine = [(offset, mark) for offset, mark in marks if mark is not None and mark.source == source.name]
    for offset, mark in mine:
        if offset not in passed:
            note(partition, mark.at, id_of(source.log, records[offset]))
    read.read(after, max((mark.at for offset, mark in mine if offset not in passed), default=""))
    return max((mark.term for _, mark in mine), default=0)
