"""A worker whose sink comes after others: what of a batch it may apply, and which partitions it leaves alone. # V1"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from logsync.core.position import LogIdentity
from logsync.core.sink import Sink
from logsync.log.contract import LogReader
from logsync.partition import Partition, Polled
from logsync.reading.predecessors import HOLD, Predecessors
from logsync.settings import Settings
from logsync.worker_status import WorkerStatus


class Following:
    """For most sinks, which come after nobody, it lets everything through."""

    def __init__(
        self, sink: Sink, settings: Settings, reader: LogReader, status: WorkerStatus, clock: Callable[[], float]
    ) -> None:
        """Raises ConfigError if a store of those that go first cannot be looked at. Opens nothing."""
        self.first = Predecessors(sink, settings, clock=clock)
        self._reader, self._status, self._clock = reader, status, clock

    def close(self) -> None:
        self.first.close()

    def tell(self) -> None:
        """Say in the worker's status for whom it waits."""
        self._status.waits_for = self.first.waits_for

    def may_retry(self, partition: Partition, log: LogIdentity) -> bool:
        """May events that are parked in this partition be tried again?"""
        return self.first.reached(partition.stored, log)

    def pieces(
        self, partition: Partition, polled: Polled, log: LogIdentity, *, turned: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> Iterator[Polled]:  # fmt: skip
        """All that was polled, in pieces that those who go first have applied.

        Where they do not get there, the partition begins again where the store is, a little later; others go on.
        """
        rest, done, (number, records, _) = polled, 0, polled.part
        for until in self.first.released(number, records, log, turned=turned, stopping=stopping):
            piece, rest = rest.cut(until - done) if until < len(records) else (rest, rest)
            done = until
            yield piece
        self.tell()
        if done < len(records) and not stopping():
            self._reader.stop(number)
            partition.suspend()
            partition.held_until = self._clock() + HOLD
