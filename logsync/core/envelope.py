"""What a writer may say of an event beside its data: its id, its time, and headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel

from logsync.errors import AppendRejected

_MOST = 255  # bytes of an id: as many as idempotency keys of web services have


class Envelope(NamedTuple):
    """An event for ``append_many``, with what ``append`` takes beside it."""

    event: BaseModel
    id: str | None = None
    """The event's own id, such as that of a webhook; by default a new UUIDv7. Two events may have the same. # A4"""
    time: datetime | None = None
    """When it happened (timezone-aware), for a backfill; by default now."""
    headers: Mapping[str, str] | None = None


def checked_id(given: object) -> str:
    """An id from outside. Raises AppendRejected for what cannot stand in a header, a table and a log line."""
    found = f"of type {type(given).__name__}"
    if isinstance(given, str):
        size = len(given.encode("utf-8", "surrogatepass"))
        if 0 < size <= _MOST and given.isprintable() and given == given.strip():
            return str(given)
        found = ascii(given) if size <= _MOST else f"{size} bytes long"
    raise AppendRejected(
        f"id is {found}; expected 1 to {_MOST} bytes of printable text without spaces around it",
        fix="leave id out for a new one, or give the text that names this event where it comes from",
    )


def checked_time(given: datetime) -> datetime:
    """A time from outside, in UTC. Raises AppendRejected for one that names no instant."""
    try:
        if given.utcoffset() is None:
            raise ValueError("it has no time zone")
        moment = given.astimezone(UTC)
        return datetime.combine(moment.date(), moment.time(), UTC)  # of a subclass, what ce_time can hold
    except Exception as error:
        raise AppendRejected(
            f"time is no instant: {error}", fix="give an aware datetime: datetime(2026, 1, 1, tzinfo=UTC)"
        ) from error
