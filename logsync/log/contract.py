"""The contract of a LogReader: one member of a sink's consumer group. ``tests/contract`` holds both readers to it.

1. ``poll`` returns records of *started* partitions only, each partition's in offset order, none twice and none
   left out since its ``start``. Holes between offsets are normal (transaction markers, compaction); a place that
   cannot be read is none of them, but a record with a ``fault``.
2. A partition that the group assigns is announced in ``Batch.assigned`` and read from only after ``start``:
   where to begin is the store's to say, and asking the store inside a rebalance callback would block the group.
3. A partition that is revoked or lost is announced in ``Batch.revoked``, and ``poll`` never returns its records
   in the same batch or a later one. The caller must forget it, with what was polled before and is not applied.
   Nothing is in flight then: no poll runs beside an apply.
4. ``commit`` is a bookmark for lag tools. It is asked for in the background, may be lost, and never raises for
   the ordinary trouble of a rebalance. # I1
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import NamedTuple, Protocol

from logsync.core.event import Fault, Record
from logsync.core.position import LogIdentity, Position

BATCH_BYTES = 1 << 20
"""Bytes of values in one batch. Decoded and planned they take many times as much, and twice that while one batch is
applied and the next one decoded. With small events the limit of records is reached first."""


class Part(NamedTuple):
    """What one poll brought for one partition."""

    partition: int
    records: list[Record]
    next_offset: int
    """The log's end if the reader has reached it, else 0. It may lie past the last record: transaction markers and
    filtered ranges are offsets too, and without them lag would never reach zero. # L4
    After a last record with a fault: the offset at which the log can be read again."""

    def record(self, offset: int) -> Record:
        """The record that stands at ``offset``."""
        return self.records[bisect_left(self.records, offset, key=attrgetter("offset"))]


class Batch(NamedTuple):
    """What one poll brought."""

    parts: list[Part]
    assigned: list[int]
    revoked: list[int]
    more: bool = False
    """Something was left over for the next poll, and more than that may be at hand."""


class LogReader(Protocol):
    """One member of a consumer group. All methods but ``interrupt`` are called on the worker's thread."""

    def open(self) -> None:
        """Join the group. Raises ConfigError, LogUnavailable."""

    def close(self) -> None:
        """Make the last commits, and leave the group, or keep the place in it for a successor.

        Never raises; takes 10 seconds at most, whatever Kafka does.
        """

    def poll(self, timeout: float, limit: int) -> Batch:
        """Up to ``limit`` records and BATCH_BYTES (one alone may have more). Keeps the membership alive.

        Waits up to ``timeout`` seconds for the first.

        Raises PositionGap when the next offset of a started partition is outside the log.
        """

    def start(self, position: Position) -> None:
        """Read this assigned partition from ``position.next_offset`` on, wherever it was before."""

    def stop(self, *partitions: int) -> None:
        """Read no more from these until ``start``, or from none at all if none is named. What was fetched of them is
        dropped; the membership and the assignment stay."""

    def commit(self, position: Position) -> None:
        """Ask Kafka to remember ``position.next_offset``."""

    def check(self) -> None:
        """Refuse a topic that cannot be a log: one that is compacted, or forgets without leave. # L5

        Raises ConfigError, LogUnavailable.
        """

    def identity(self) -> LogIdentity:
        """Which log this is now. Raises ConfigError (no such topic), LogUnavailable."""

    def bounds(self, partition: int) -> tuple[int, int]:
        """The partition's first offset and its end (the next offset to be written). Raises LogUnavailable."""

    def written(self, partitions: Collection[int]) -> dict[int, int]:
        """The ends of all that was written to these partitions, also by transactions that are open.

        Beyond the end in ``bounds`` while one is: what stands in between is read once it has ended. Raises
        LogUnavailable.
        """

    def id_at(self, partition: int, offset: int) -> str | Fault | None:
        """The event id at this offset, None if no record with an id stands there, or why that cannot be read.

        Raises LogUnavailable.
        """

    def records(self, partition: int, start: int, stop: int, meanwhile: Callable[[], None] = ...) -> Iterator[Record]:
        """The records in [start, stop), in log order. ``meanwhile``, the membership, what it raises: as in ``find``."""

    def find(
        self,
        partition: int,
        ids: Collection[str],
        start: int,
        stop: int,
        meanwhile: Callable[[], None] = ...,
        unread: Callable[[Record], None] = ...,
    ) -> dict[str, int]:
        """Where in [start, stop) each of these event ids stands first; ids that are not there are left out.

        ``meanwhile`` is called again and again as the reading goes on: at least once per 1,000 records that are read. A
        reader may remember what it read. ``unread`` is called, once, for each place of it that cannot be read.

        One pass over the range however many ids are asked for. A range may be long: the membership is kept alive
        meanwhile, and no record of the started partitions is lost. Raises LogUnavailable, also when partitions were
        revoked meanwhile (whatever was planned must be dropped: they have another owner), after ``interrupt``, and when
        the partition ends before ``stop`` for whoever answers: what is not seen does not count as not there.
        """

    def interrupt(self) -> None:
        """Let a ``find`` that is under way, and all later ones, raise LogUnavailable: the worker is to end.

        May be called from any thread and from a signal handler.
        """
