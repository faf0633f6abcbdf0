"""What a format of events must do for a log, and the two calls by which everybody uses it.

A codec owns all that stands in a record: how an event is written and read, where its id is, and how a retried append
is marked. Nothing outside a codec names a header. The default is CloudEvents (``logsync.core.cloudevents``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from logsync.core.event import Decoded, Headers, Record
from logsync.core.sources import Mark

LOOK_BACK = 200_000
"""Offsets before a retried append in which its original is looked for, whatever its mark says: a mark is believed no
further than a writer of ours would make it. # A1"""
REACH = 50_000
"""Offsets that a partition may have grown since a first attempt for a writer of ours to make another. What is appended
while that one is on its way comes on top, for LOGSYNC_APPEND_TIMEOUT at most: far less than what is left to LOOK_BACK,
unless that time is long and the partition a busy one. Then an error is logged. # A1"""

Decode = Callable[[Record], Decoded]
"""Total: what cannot be decoded is a value and never an exception."""


class Encoded(NamedTuple):
    """An event ready to send."""

    key: bytes
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class EventType:
    """A registered pydantic model: its name and version on the wire and how its key is found."""

    name: str
    version: int
    model: type[BaseModel]
    key: Callable[[Any], str]
    shared: Any
    """What ``Codec.shared`` made for this type."""


class EventTypes(Protocol):
    """What a codec sees of a log."""

    @property
    def topic(self) -> str: ...
    @property
    def codec(self) -> Codec: ...
    @property
    def types(self) -> Mapping[tuple[str, int], EventType]: ...
    @property
    def by_model(self) -> Mapping[type[BaseModel], EventType]: ...
    @property
    def names(self) -> Iterable[str]: ...


class Codec(Protocol):
    """A format of events. Has no state of its own: one object may serve many logs."""

    def shared(self, name: str, version: int, model: type[BaseModel], source: str) -> Any:
        """What all events of a type have in common, made once when the type is registered.

        Raises ConfigError for a model that this format does not give back as it was.
        """

    def encode(
        self,
        log: EventTypes,
        event: BaseModel,
        *,
        event_id: str,
        time: datetime,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Encoded:
        """The bytes of ``event``. Raises AppendRejected, before anything is sent, for what cannot be an event."""

    def renamed(self, encoded: Encoded, event_id: str) -> Encoded:
        """What ``encode`` gives for the same event with this id: for ids that are made of the value."""

    def decoder(self, log: EventTypes, handled: Iterable[str]) -> Decode:
        """Decoding for one sink. ``handled`` are the event names that it has handlers for. # T1"""

    def id_of(self, headers: Headers, value: bytes | None, place: str) -> str | None:
        """The event id of a record as the decoder sees it, without decoding. ``place``: ``topic/partition/offset``."""

    def retry(self, encoded: Encoded, since: int) -> Encoded:
        """The same event, marked as appended again. ``since``: the partition's end before the first attempt. # A1"""

    def retry_from(self, record: Record) -> int | None:
        """The ``since`` of a retried append; None for all other records, and where it cannot be read."""

    def marked(self, encoded: Encoded, mark: Mark) -> Encoded:
        """The same event, as a record of a source. Raises AppendRejected for one that ``marks`` would miss. # U1"""

    def barrier(self, log: EventTypes, mark: Mark, *, event_id: str, time: datetime) -> Encoded:
        """The record with which a writer of a source begins; its key is the source's name. # U1"""

    def marks(self, records: Sequence[Record]) -> list[tuple[int, Mark | None]]:
        """What those of the records say that are of a source, by offset; None where nothing can be read.

        Called for all records of a poll: of those that are of no source it may cost next to nothing.
        """


def encode(
    log: EventTypes, event: BaseModel, *, event_id: str, time: datetime, headers: Iterable[tuple[str, str]] = ()
) -> Encoded:
    """The bytes of ``event`` in the log's own format. Raises AppendRejected, before anything is sent."""
    return log.codec.encode(log, event, event_id=event_id, time=time, headers=headers)


def Decoder(log: EventTypes, handled: Iterable[str]) -> Decode:
    """``decode`` for one sink, in the log's own format: a function that never raises."""
    return log.codec.decoder(log, handled)


def ids_of(
    log: EventTypes, records: Iterable[Record], unread: Callable[[Record], None]
) -> Iterator[tuple[int, str | None]]:
    """Offset and event id of each record. ``unread`` is called for those that stand for a place that cannot be read."""
    for record in records:
        if record.fault is not None and record.fault.last is not None:
            unread(record)
        yield record.offset, id_of(log, record)


def id_of(log: EventTypes, record: Record) -> str | None:
    """The event id of this record of ``log``, None if it has none that can be read."""
    if record.fault is not None:
        return None
    return log.codec.id_of(record.headers, record.value, f"{log.topic}/{record.partition}/{record.offset}")
