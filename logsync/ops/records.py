"""Single records of the log: what one is, how far a sink is from it, and passing over it on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from logsync.core.book import AuditEntry, Book
from logsync.core.codec import Decoder
from logsync.core.event import Event, Record, Undecodable
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.core.store import Store
from logsync.errors import ConfigError, StoreError
from logsync.ops.access import amend, look
from logsync.settings import Settings


def skip(store: Store, record: Record, *, sink: str, reason: str, now: datetime) -> Book:
    """Put one record on the list of those to pass over. Workers read the list when they resume.

    Raises ConfigError when the position is past the record already: then it was applied or passed over, and
    a skip would change nothing now but the content after a rebuild. Skipping it twice is one skip.
    """
    partition, offset = record.partition, record.offset
    audit = AuditEntry(at=now, action="skip", detail={"partition": partition, "offset": offset, "reason": reason})

    def add(book: Book) -> Book | None:
        # Read after the book: a worker that passes the record between the two reads is caught here or, if it
        # passes it after, had not seen the skip and applied it; the caller looks at the position once more.
        position = store.positions().get(partition)
        if position is not None and position.next_offset > offset:
            raise ConfigError(
                f"sink {sink} is past partition {partition}, offset {offset} already: its next offset is "
                f"{position.next_offset}",
                fix="append an event that corrects the content; the log is the truth",
            )
        if offset in book.skips_of(partition):
            return None
        return book.next(skips=book.skipping(partition, [offset], reason=reason, at=now), audit=audit)

    return amend(store, sink, add)


def describe(record: Record, log: Log) -> dict[str, Any]:
    """Everything about a record, as JSON values. Bytes that are not UTF-8 show as ``\\x..`` escapes."""
    decoded = Decoder(log, log.names)(record)
    headers = {name: _text(value) for name, value in record.headers}
    time = decoded.time if isinstance(decoded, Event) else datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return {
        "topic": log.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": time.isoformat(),
        "leader_epoch": record.leader_epoch,
        "id": decoded.id,
        "type": decoded.type,
        "key": _text(record.key),
        "headers": headers,
        "value": _value(record.value),
        "bytes": len(record.value or b""),
        "undecodable": (
            {"expected": decoded.expected, "found": decoded.found} if isinstance(decoded, Undecodable) else None
        ),
    }


def relate(sink: Sink, facts: list[dict[str, Any]], settings: Settings) -> None:
    """Say in each fact how far the sink is from the record."""
    try:
        stands, unknown = look(sink, settings).positions or {}, "not applied: the sink has no position"
    except (StoreError, ConfigError) as error:  # the record is worth showing while the store is down
        stands, unknown = {}, f"not known: {error.message}"
    for fact in facts:
        at = stands.get(fact["partition"])
        position = None if at is None else at.next_offset
        ahead = 0 if position is None else fact["offset"] - position
        if position is None:
            word = unknown
        elif ahead < 0:
            word = "behind the position: applied, or skipped by a stated rule"
        else:
            word = f"not reached: {ahead} offsets ahead" if ahead else "the next record to apply"
        handled = fact["type"] in sink.handled
        fact["sink"] = {"name": sink.name, "handled": handled, "position": position, "is": word}


def _value(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return json.loads(value)
    except ValueError:
        return _text(value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
