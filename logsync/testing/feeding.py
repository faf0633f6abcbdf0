"""Handlers under test: the Event that one gets, and what a whole sink makes of some events."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from logsync.core.codec import Decoder, encode
from logsync.core.event import Event, Record
from logsync.core.log import Log
from logsync.core.planning import plan
from logsync.core.position import Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError
from logsync.stores.memory import Memory
from logsync.testing.memory_log import START, MemoryLog
from logsync.writes.content import Content

M = TypeVar("M", bound=BaseModel)


def event(log: Log, data: M, *, offset: int = 0, time: datetime = START) -> Event[M]:
    """The Event that a handler gets for ``data``, through the real bytes: ``assert list(handler(event(log, ...)))``."""
    coded = encode(log, data, event_id=f"event-0-{offset}", time=time)
    record = Record(0, offset, coded.key, coded.value, coded.headers, 0, 0)
    decoded = Decoder(log, [log.by_model[type(data)].name])(record)
    if not isinstance(decoded, Event):
        raise ConfigError(f"{data!r} does not survive its own encoding: expected {decoded!r}")
    return decoded  # type: ignore[return-value]


def feed(sink: Sink, *events: BaseModel) -> Content:
    """Append the events to an empty log, apply them to an empty Memory store, and return what it holds.

    Runs the sink's own handlers through the real encode, decode and plan. Raises what would halt a worker:
    HandlerError, DecodeError, WriteRejected.
    """
    store = Memory()
    store.open(sink.name)
    source = MemoryLog(sink.log)
    records = [source.append(data) for data in events]
    decode = Decoder(sink.log, sink.handled)
    start = Position(0, 0)
    store.server.positions[sink.name] = {0: start}
    made = plan(sink.with_store(store), [decode(record) for record in records], start)
    store.apply(made)
    if made.failure is not None:
        raise made.failure
    return store.content
