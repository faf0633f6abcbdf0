"""All that a worker knows of one partition. It begins with the assignment and is gone with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from logsync.core.book import Book
from logsync.core.event import Decoded, Record
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.resume import check_last, check_range
from logsync.core.retries import RetryQueue
from logsync.core.sink import Sink
from logsync.core.sources import Sources, at_start, fold, stretches
from logsync.errors import ConfigError, StoreUnavailable
from logsync.log.contract import LogReader, Part


@dataclass(slots=True)
class Polled:
    """A part of the log, and its events as far as they are decoded."""

    part: Part
    events: list[Decoded] = field(default_factory=list)

    def decode(self, decode: Callable[[Record], Decoded], most: int) -> bool:
        """Decode up to ``most`` more records. False: there was none left."""
        begun = len(self.events)
        self.events += [decode(record) for record in self.part.records[begun : begun + most]]
        return len(self.events) > begun

    def cut(self, count: int) -> tuple[Polled, Polled]:
        """Its first ``count`` records, and the rest."""
        number, records, end = self.part
        head, rest = Part(number, records[:count], 0), Part(number, records[count:], end)
        return Polled(head, self.events[:count]), Polled(rest, self.events[count:])


class Partition:
    """A partition that is assigned to this worker. It is read once the store has said its ``position``."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.position: Position | None = None
        """Where the store is; None: the store has to be asked first."""
        self.retries = RetryQueue()
        """What is parked, and what of it is to be tried again."""
        self.ahead: Polled | None = None
        """Polled, and to be applied in the next turn: it begins at ``position``."""
        self.held_until = 0.0
        """Until then, by the worker's clock, it is left alone: the sinks that go first are not there yet. # V1"""
        # Shown by the worker's status, also while the store does not answer.
        self.next_offset: int | None = None
        self.end: int | None = None
        """The log's end, as last read; with what stands behind a transaction that is open. # L7"""
        self.held = 0
        """Offsets behind a transaction that is open: nobody can read them yet."""
        self.parked = 0

    @property
    def stored(self) -> Position:
        """The position of a partition that is being read."""
        assert self.position is not None
        return self.position

    def resume(self, position: Position, retries: RetryQueue, end: int) -> None:
        """Go on from what the store says."""
        self.position, self.retries, self.end = position, retries, end
        self.next_offset, self.parked = position.next_offset, retries.events()

    def looked(self, stable: int, written: int) -> None:
        """``stable``: where a reader of committed records finds the end. ``written``: all that stands in the log."""
        self.end, self.held = max(stable, written), max(0, written - stable)

    def applied(self, made: Plan) -> None:
        """The store holds the plan."""
        self.position, self.next_offset, self.held_until = made.end, made.end.next_offset, 0.0
        self.retries.parked(made)
        self.parked = max(0, self.parked + len(made.parked) - len(made.released))

    def compare(self, found: Position | None) -> None:
        """Raise StoreUnavailable unless the store still stands where this worker left it. # I2 P2"""
        if found is None or found.place != self.stored.place:
            # Not a conflict: nobody raced. The store was restored, rebuilt or emptied while the log was quiet.
            raise StoreUnavailable(
                f"partition {self.number} of the store is at {found}, expected {self.stored}: it was moved"
            )

    def suspend(self) -> None:
        """Forget what was known of the store, and what was read to be applied after it. # I7 F1"""
        self.position, self.retries, self.ahead = None, RetryQueue(), None


def begin_at(
    position: Position | None,
    number: int,
    sink: Sink,
    book: Book,
    reader: LogReader,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[Position, tuple[int, int]]:
    """Where to read on, and the partition's first offset and end. ``position``: what the store says of it.

    ``meanwhile`` is called while the log is read, which is done where the position was moved by hand.

    Raises ConfigError, StoreUnavailable, PositionGap and LogIdentityError if the log cannot be continued there.
    """
    if position is None:
        raise ConfigError(
            f"sink {sink.name}: its store has no position for partition {number}: it was forgotten or lost, "
            "and what the store still holds cannot be told",  # P1
            fix=f"`logsync rebuild {sink.address} --yes` wipes what the sink owns and replays the log",
        )
    if position.epoch != book.epoch:
        raise StoreUnavailable(f"sink {sink.name}: a rebuild is replacing its book and positions just now")
    low, high = reader.bounds(number)
    check_range(position, low, high, sink)
    if position.last_offset is not None and low <= position.last_offset:
        check_last(position, reader.id_at(number, position.last_offset), sink)
    return _completed(position, low, sink, reader, meanwhile), (low, high)


def _completed(position: Position, low: int, sink: Sink, reader: LogReader, meanwhile: Callable[[], None]) -> Position:
    """The position with what its reader must know of sources; all but ``sources`` stays. # U1

    Where a position was moved by hand, what it carries belongs to another offset: the log tells the rest, from there
    or from its start.
    """
    known = Sources.read(position.sources, position.next_offset)
    if known.next_offset == position.next_offset:
        return position
    if known.next_offset > position.next_offset:
        known = at_start(low)
    elif known.next_offset < low:
        known = known.without(low)
    stop = position.next_offset
    for records, end in stretches(reader.records(position.partition, known.next_offset, stop, meanwhile), stop):
        known = fold(known, sink.log.codec.marks(records), end)[0]
    return position._replace(sources=known.dump(stop))
