"""What every event gets before it is handed on, by whatever way it reaches the log: its id, its time, its bytes.

A producer sends the bytes, an outbox puts them into a table. Both begin here, so what one takes the other takes, and
what one refuses the other refuses, in the same words. No client is imported: an app with an outbox has none of Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel
from uuid_utils import uuid7

from logsync.core.codec import Encoded
from logsync.core.envelope import Envelope, checked_id, checked_time
from logsync.core.log import Log

Item = BaseModel | Envelope | tuple[BaseModel, Mapping[str, str]]
"""What ``append_many`` takes: an event, with what is said beside it where something is."""


class Prepared(NamedTuple):
    """An event that may stand in the log."""

    id: str
    time: datetime
    """In UTC."""
    encoded: Encoded
    type: str
    """The name of its type."""


def prepare(
    log: Log,
    event: BaseModel,
    headers: Mapping[str, str] | None = None,
    given_id: str | None = None,
    given_time: datetime | None = None,
) -> Prepared:
    """Give the event its id and time, unless the caller did, and make its bytes. Raises AppendRejected.

    UUIDv7 ids of one process are in the order they were made, also within a millisecond.
    """
    event_id = str(uuid7()) if given_id is None else checked_id(given_id)
    time = datetime.now(UTC) if given_time is None else checked_time(given_time)
    encoded = log.codec.encode(log, event, event_id=event_id, time=time, headers=headers.items() if headers else ())
    return Prepared(event_id, time, encoded, log.by_model[event.__class__].name)


def enveloped(item: Item) -> Envelope:
    """One item of ``append_many``, in the one form that says everything."""
    # An Envelope is a tuple, too.
    if isinstance(item, Envelope):
        return item
    return Envelope(item[0], headers=item[1]) if isinstance(item, tuple) else Envelope(item)
