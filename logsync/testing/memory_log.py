"""A log in memory, and a member of a group that reads it: no server, no thread, the real core."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel

from logsync.core.codec import encode, id_of, ids_of
from logsync.core.envelope import checked_id, checked_time
from logsync.core.event import Record
from logsync.core.log import Log
from logsync.core.position import LogIdentity, Position
from logsync.errors import LogUnavailable, PositionGap
from logsync.log.contract import BATCH_BYTES, Batch, Part

M = TypeVar("M", bound=BaseModel)
START = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first event of a MemoryLog happened; every later one is a second younger."""


class MemoryLog:
    """A topic in memory. Ids and times are functions of the offset, so a test can name them."""

    def __init__(self, log: Log, *, partitions: int = 1) -> None:
        self.log = log
        self.identity = LogIdentity("memory", log.topic, str(uuid.uuid4()), partitions)
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.holes: list[set[int]] = [set() for _ in range(partitions)]
        """Offsets at which readers see no record: transaction markers, and what an aborted transaction left."""
        self.open_from: dict[int, int] = {}
        """By partition, the first offset of a transaction that is open: no reader sees anything from there on."""
        self.starts = [0] * partitions
        self.committed: dict[int, int] = {}
        self.down = False

    def append(
        self,
        event: BaseModel,
        *,
        partition: int = 0,
        id: str | None = None,
        time: datetime | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Record:
        """Append an event as a Producer would, at the end of ``partition``."""
        offset = len(self.records[partition])
        event_id = f"event-{partition}-{offset}" if id is None else checked_id(id)
        moment = START + timedelta(seconds=offset) if time is None else checked_time(time)
        coded = encode(self.log, event, event_id=event_id, time=moment, headers=headers)
        return self.append_raw(coded.key, coded.value, list(coded.headers), partition=partition)

    def append_raw(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], *, partition: int = 0
    ) -> Record:
        """Append any bytes at all."""
        offset = len(self.records[partition])
        record = Record(partition, offset, key, value, headers, 0, int(START.timestamp() * 1000) + offset * 1000)
        self.records[partition].append(record)
        return record

    def append_marker(self, *, partition: int = 0) -> None:
        """Append what ends a transaction: it takes an offset, and no reader sees it."""
        self.holes[partition].add(self.append_raw(None, None, [], partition=partition).offset)


class MemoryReader:
    """A member of a group on a MemoryLog; it has all partitions until ``assign`` says otherwise.

    Keeps the contract of ``logsync.log.contract``. ``at_most`` bounds the records of one poll, as ``limit`` does.
    """

    def __init__(self, source: MemoryLog, *, at_most: int = 1_000_000) -> None:
        self.source = source
        self.at_most = at_most
        self._given = set(range(len(source.records)))
        self._held: set[int] = set()  # given, as far as this member was told
        self._taken: set[int] = set()  # since then
        self._next: dict[int, int] = {}
        self._told: dict[int, int] = {}  # the end, where it was reached

    def assign(self, *partitions: int) -> None:
        """Give this member these partitions and no others. As in Kafka, it learns that from its next poll."""
        self._given = set(partitions)
        self._taken |= self._held - self._given

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def poll(self, timeout: float, limit: int) -> Batch:  # noqa: ARG002 - nothing to wait for
        parts = []
        room, left, more, taken = min(limit, self.at_most), BATCH_BYTES, False, False
        for partition in sorted(self._next.keys() - self._taken):
            offset, (low, end) = self._next[partition], self.bounds(partition)
            if not low <= offset <= end:
                raise PositionGap(f"{offset} is outside the log: {self.bounds(partition)}", fix="logsync rebuild")
            found = list[Record]()
            at_end = True
            for record in self._visible(partition, offset, end):
                size = len(record.value or b"")
                if room == 0 or (taken and size > left):
                    more, at_end = True, False
                    break
                found.append(record)
                room, left, taken = room - 1, left - size, True
            if found or (at_end and self._told.get(partition) != end):
                self._next[partition] = end if at_end else found[-1].offset + 1
                parts.append(Part(partition, found, end if at_end else 0))
            if at_end:
                self._told[partition] = end
        for partition in self._taken:
            self._next.pop(partition, None)
        batch = Batch(parts, sorted(self._given - (self._held - self._taken)), sorted(self._taken), more)
        self._held, self._taken = set(self._given), set()
        return batch

    def start(self, position: Position) -> None:
        if position.partition in self._held:
            self._next[position.partition] = position.next_offset
            self._told.pop(position.partition, None)

    def stop(self, *partitions: int) -> None:
        for partition in partitions or tuple(self._next):
            self._next.pop(partition, None)

    def commit(self, position: Position) -> None:
        if position.partition in self._held:
            self.source.committed[position.partition] = position.next_offset

    def check(self) -> None:
        pass

    def identity(self) -> LogIdentity:
        if self.source.down:
            raise LogUnavailable("the memory log is down")
        return self.source.identity

    def bounds(self, partition: int) -> tuple[int, int]:
        written = len(self.source.records[partition])
        return self.source.starts[partition], self.source.open_from.get(partition, written)

    def written(self, partitions: Collection[int]) -> dict[int, int]:
        return {partition: len(self.source.records[partition]) for partition in partitions}

    def id_at(self, partition: int, offset: int) -> str | None:
        return next((id_of(self.source.log, record) for record in self._visible(partition, offset, offset + 1)), None)

    def records(
        self, partition: int, start: int, stop: int, meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[Record]:
        if self.bounds(partition)[1] < stop:
            raise LogUnavailable(f"partition {partition} ends at {self.bounds(partition)[1]}")
        for record in self._visible(partition, start, stop):
            meanwhile()
            yield record

    def find(
        self,
        partition: int,
        ids: Collection[str],
        start: int,
        stop: int,
        meanwhile: Callable[[], None] = lambda: None,
        unread: Callable[[Record], None] = lambda _: None,
    ) -> dict[str, int]:
        found: dict[str, int] = {}
        for offset, event_id in ids_of(self.source.log, self.records(partition, start, stop, meanwhile), unread):
            if event_id is not None and event_id in ids:
                found.setdefault(event_id, offset)
        return found

    def interrupt(self) -> None:
        pass  # nothing here takes long

    def _visible(self, partition: int, start: int, stop: int) -> Iterator[Record]:
        holes = self.source.holes[partition]
        return (record for record in islice(self.source.records[partition], start, stop) if record.offset not in holes)
