"""Handlers under test: the Event that one gets, and what a whole sink makes of some events."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from logsync.core.codec import Decoder, encode
from logsync.core.envelope import Envelope, checked_id, checked_time
from logsync.core.event import Event, Record
from logsync.core.log import Log
from logsync.core.plan import Plan
from logsync.core.sink import Sink
from logsync.core.store import ChecksWrites, Store
from logsync.errors import ConfigError
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing.memory_log import START, MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.content import Content

M = TypeVar("M", bound=BaseModel)


def event(log: Log, data: M, *, offset: int = 0, id: str | None = None, time: datetime = START) -> Event[M]:
    """The Event that a handler gets for ``data``, through the real bytes: ``assert list(handler(event(log, ...)))``."""
    event_id = f"event-0-{offset}" if id is None else checked_id(id)
    coded = encode(log, data, event_id=event_id, time=checked_time(time))
    record = Record(0, offset, coded.key, coded.value, coded.headers, 0, 0)
    decoded = Decoder(log, [log.by_model[type(data)].name])(record)
    if not isinstance(decoded, Event):
        raise ConfigError(f"{data!r} does not survive its own encoding: expected {decoded!r}")
    return decoded  # type: ignore[return-value]


def feed(sink: Sink, *events: BaseModel | Envelope, partitions: int = 1) -> Content:
    """Append the events to an empty log, apply them to an empty Memory store, and return what it holds.

    A worker does it, the one that runs in production: it decodes, calls the sink's own handlers, and parks where the
    sink says so (``content.parked``). What the sink's own store is known to refuse is refused: values that are none
    and, where its schema tells, tables and columns that do not exist. Raises what would halt a worker: ConfigError,
    DecodeError, HandlerError, WriteRejected. ``partitions``: how many the log has; an event goes where its key says.
    An ``Envelope`` gives an event its id and time.
    """
    store = _LikeItsOwn(sink.store)
    source = MemoryLog(sink.log, partitions=partitions)
    for given in events:
        data, event_id, time, headers = given if isinstance(given, Envelope) else Envelope(given)
        number = _partition(sink.log, data, partitions)
        source.append(data, partition=number, id=event_id, time=time, headers=(headers or {}).items())
    worker = Worker(sink.with_store(store), MemoryReader(source), Settings.model_construct(), now=lambda: START)
    ends = {number: len(records) for number, records in enumerate(source.records)}
    while worker.status.positions != ends:
        worker.step()
    store.content.parked = [entry for number in ends for entry in store.parked(number)]
    return store.content


class _LikeItsOwn(Memory):
    """Memory that refuses what the sink's own store does, as far as that can be told without its server."""

    def __init__(self, own: Store) -> None:
        super().__init__()
        self._own = own
        self.kind, self.accepts = own.kind, own.accepts

    def apply(self, plan: Plan) -> None:
        if isinstance(self._own, ChecksWrites):
            self._own.check_writes(plan)
        super().apply(plan)


def _partition(log: Log, data: BaseModel, partitions: int) -> int:
    """The same for every event of one key."""
    key = log.by_model[type(data)].key(data) if type(data) in log.by_model else ""
    return zlib.crc32(key.encode("utf-8", "surrogatepass")) % partitions
