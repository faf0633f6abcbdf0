"""What travels: a Record is bytes from the log, an Event is what a handler sees.

Both are named tuples: immutable, and cheap enough to build one per event.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import ClassVar, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

T_co = TypeVar("T_co", covariant=True)
Headers = list[tuple[str, bytes | None]]


# CloudEvents asks only that a type is not empty; we keep names readable.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def is_event_name(name: str) -> bool:
    """Can an event be registered under this name? What else stands in ce_type, no sink will ever handle."""
    return _NAME.fullmatch(name) is not None


class Fault(NamedTuple):
    """Why what stands in the log could not be read as a record."""

    why: str
    last: int | None = None
    """None: key and value are there, and only the headers cannot be told. Else nothing can be read from the record's
    offset up to this one: a damaged batch, or one that is too large for the client."""


class Record(NamedTuple):
    """One Kafka record, undecoded; or a place in the log that has none that can be read (``fault``)."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    leader_epoch: int | None = None
    timestamp: int = 0
    """Milliseconds since 1970, from the broker or the producer as the topic says. For display only."""
    fault: Fault | None = None
    """None for every record that could be read."""


class Event(NamedTuple, Generic[T_co]):
    """One event as a handler sees it. A handler is a function of this value and of nothing else. # I5"""

    id: str
    """Unique per event, UUIDv7 when logsync wrote it; the same for an append and its retries."""
    type: str
    version: int
    key: str | None
    time: datetime
    """When the writer made the event (timezone-aware). Take expiry and dates from here, never from a clock."""
    data: T_co
    partition: int
    offset: int
    leader_epoch: int | None
    headers: Headers
    """All headers as they stand in the log, ``traceparent`` among them."""
    retry_from: int | None = None
    """Set on a retried append: an original may stand at or after this offset of the partition. # A1"""

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context of the writer, if it sent one."""
        for name, value in self.headers:
            if name == "traceparent" and value is not None:
                return value.decode("ascii", "replace")
        return None


class Tombstone(BaseModel, frozen=True):
    """The event that a null value stands for: what its key named is gone. Every log knows this type.

    ``of`` is the registered name of the event type it ends, or None when the writer did not say.
    """

    TYPE: ClassVar[str] = "logsync.tombstone"
    key: str
    of: str | None = None


class Ignored(NamedTuple):
    """A record of a type that the log knows and the sink does not handle. Skipped and counted. # T1"""

    partition: int
    offset: int
    leader_epoch: int | None
    id: str | None
    type: str


class Undecodable(NamedTuple):
    """A record that is not an event of this log: a value, because decoding is total."""

    partition: int
    offset: int
    leader_epoch: int | None
    id: str | None
    type: str | None
    unknown_type: bool
    """True: a well-formed event of a type or version that nobody registered. False: broken bytes."""
    expected: str
    found: str
    unreadable: bool = False
    """True: the log could not be read here, so nobody knows which events this was, nor their keys."""


Decoded = Event[BaseModel] | Ignored | Undecodable
