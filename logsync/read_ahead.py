"""The next batch is decoded while the store works on this one. # F1

All of it happens on the worker's thread, in the time in which a store waits for its server.
"""

from __future__ import annotations

from collections.abc import Mapping

from logsync.core.codec import Decode
from logsync.core.event import Decoded, Record
from logsync.log.contract import Batch
from logsync.partition import Partition, Polled

AHEAD_FROM = 10
"""A poll that brings a tenth of a full batch, or leaves records for the next one, is read ahead: decoded while the
store waits, and applied a turn later. A smaller one is applied at once, so that a single event never waits."""
_SLICE = 32
"""Records decoded between two looks at whether the store has answered: a fraction of a millisecond."""


class ReadAhead:
    """Decides what is read ahead. What was polled and not applied is kept in its partition and goes with it."""

    def __init__(self, partitions: Mapping[int, Partition], decode: Decode, batch_records: int) -> None:
        self._partitions, self._decode, self._full = partitions, decode, batch_records
        self._spent: list[list[Record] | list[Decoded]] = []  # of the turn before: freed while the store works

    @property
    def holds(self) -> bool:
        """Is there anything to apply in the next turn?"""
        return any(partition.ahead is not None for partition in self._partitions.values())

    def take(self, batch: Batch) -> list[tuple[Partition, Polled]]:
        """What to apply now: what the turn before has read ahead, else this batch, if it is too small for that.

        Called before resume, when all that was read ahead begins at the positions as they are. When that is no longer
        true it is dropped, with the partition or by ``Partition.suspend``: a part that began behind the position would
        be a silent hole. # I7
        """
        read = {number: partition for number, partition in self._partitions.items() if partition.position is not None}
        polled = [(read[part.partition], Polled(part)) for part in batch.parts if part.partition in read]
        ahead = [(partition, partition.ahead) for partition in read.values() if partition.ahead is not None]
        records = sum(len(part.records) for part in batch.parts)
        if not (ahead or batch.more or records * AHEAD_FROM >= self._full):
            return polled
        for partition, _ in ahead:
            partition.ahead = None
        for partition, later in polled:
            partition.ahead = later
        return ahead

    def applied(self, ready: list[tuple[Partition, Polled]]) -> None:
        """These are in the store."""
        self._spent = [spent for _, polled in ready for spent in (polled.part.records, polled.events)]

    def use_the_wait(self) -> bool:
        """Free a slice of what was applied last, or decode a slice of what is applied next: these are a tenth and a
        quarter of a worker's work. False if nothing is left to do.
        """
        while self._spent:
            if rest := self._spent[-1]:
                del rest[-_SLICE:]
                return True
            self._spent.pop()
        ahead = [partition.ahead for partition in self._partitions.values() if partition.ahead is not None]
        return any(polled.decode(self._decode, _SLICE) for polled in ahead)
