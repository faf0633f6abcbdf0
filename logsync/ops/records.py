"""Single records of the log: what one is, how far a sink is from it, and passing over it on record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from logsync.core.book import AuditEntry, Book
from logsync.core.codec import Decoder
from logsync.core.event import Event, Record, Undecodable
from logsync.core.log import Log
from logsync.core.moments import since_1970
from logsync.core.planning import plan
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.core.sources import BARRIER, Mark
from logsync.core.store import ChecksWrites, Store
from logsync.errors import ConfigError, EventError, LogIdentityError, LogsyncError, StoreError, WriteRejected
from logsync.ops.access import amend, look
from logsync.settings import Settings

_DEEPER = 100
"""Levels by which a caller that prints a value may nest it deeper, and call deeper, than ``describe`` has tried."""


def skip(
    store: Store, record: Record, *, sink: str, reason: str, now: datetime, log: LogIdentity | None = None
) -> Book:
    """Put one record on the list of those to pass over, or all of a range that cannot be read.

    Workers read the list when they resume.

    Raises ConfigError when the position is past the record already: then it was applied or passed over, and
    a skip would change nothing now but the content after a rebuild. Skipping it twice is one skip. ``log`` is the one
    that the record was shown from: raises LogIdentityError if the sink's position belongs to another, where this offset
    is another record.
    """
    partition, offset = record.partition, record.offset
    detail = {"partition": partition, "offset": offset, "reason": reason}
    last = offset
    if record.fault is not None and record.fault.last is not None:
        last = detail["last"] = record.fault.last
    audit = AuditEntry(at=now, action="skip", detail=detail)

    def add(book: Book) -> Book | None:
        if log is not None and (differences := book.log.differences(log)):
            raise LogIdentityError(
                f"sink {sink}: its position belongs to another log than this record: {'; '.join(differences)}",
                fix="point LOGSYNC_KAFKA at the log of this sink",
            )
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
        return book.next(skips=book.skipping(partition, range(offset, last + 1), reason=reason, at=now), audit=audit)

    return amend(store, sink, add)


def describe(record: Record, log: Log) -> dict[str, Any]:
    """Everything about a record, as JSON values. Bytes that are not UTF-8 show as ``\\x..`` escapes."""
    decoded = Decoder(log, log.names)(record)
    headers: dict[str, Any] = {}
    for name, value in record.headers:
        text = _text(value)
        if name not in headers:
            headers[name] = text
        else:  # Kafka allows that, and the last one counts
            headers[name] = [*(headers[name] if isinstance(headers[name], list) else [headers[name]]), text]
    time = decoded.time if isinstance(decoded, Event) else since_1970(record.timestamp)
    if record.fault is not None and record.fault.last is not None:
        time = None
    [mark] = [mark for _, mark in log.codec.marks([record])] or [None]
    barrier = mark is not None and mark.number == 0
    wrong = {"expected": decoded.expected, "found": decoded.found} if isinstance(decoded, Undecodable) else None
    return {
        "topic": log.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": time and time.isoformat(),
        "leader_epoch": record.leader_epoch,
        "id": decoded.id,
        "type": decoded.type,
        "key": _text(record.key),
        "headers": headers,
        "value": _value(record.value),
        "bytes": len(record.value or b""),
        "undecodable": None if barrier else wrong,
        **({} if mark is None else {"source": _of_source(mark)}),
    }


def _of_source(mark: Mark) -> str:
    """What a record says of its source; whether it counts follows from all records before it."""
    what = f"record {mark.number}, for the fact at {mark.at}" if mark.number else "the barrier with which it begins"
    return f"{mark.source}, term {mark.term}, writer {mark.writer}: {what}"


def trouble(sink: Sink, record: Record, partitions: int) -> LogsyncError | None:
    """What keeps the sink, as it is now, from applying this record, as far as it can be told without its store."""
    event = Decoder(sink.log, sink.handled)(record)
    try:
        made = plan(sink, [event], Position(record.partition, record.offset), partitions=partitions)
        if made.failure is None and isinstance(sink.store, ChecksWrites):
            sink.store.check_writes(made)
    except (ConfigError, WriteRejected) as error:
        return error
    return made.failure


def relate(
    sink: Sink, records: Sequence[Record], facts: list[dict[str, Any]], partitions: int, settings: Settings
) -> None:
    """Say in each fact how far the sink is from the record, and whether its handler takes it."""
    try:
        stands, unknown = look(sink, settings).positions or {}, "not applied: the sink has no position"
    except (StoreError, ConfigError) as error:  # the record is worth showing while the store is down
        stands, unknown = {}, f"not known: {error.message}"
    for record, fact in zip(records, facts, strict=True):
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
        passed = fact["undecodable"] or fact["type"] == BARRIER
        found = None if passed else trouble(sink, record, partitions)
        if found is not None:
            lines = list(found.trace) if isinstance(found, EventError) else []
            fact["sink"]["fails"] = {"error": type(found).__name__, "message": found.message, "traceback": lines}


def _value(value: bytes | None) -> Any:
    """What stands in the value: JSON, if it is one that can be written again, or else its text."""
    if value is None:
        return None
    try:
        read = json.loads(value, parse_constant=_no_json)
        probe = read
        for _ in range(_DEEPER):
            probe = [probe]
        json.dumps(probe, allow_nan=False, indent=1)  # 1e400 is read as infinite; and indenting takes a deeper stack
    except (ValueError, RecursionError):
        return _text(value)
    return read


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
