"""Sinks whose positions are moved by hand, and copies of their log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from logsync.core.codec import Decoder
from logsync.core.event import Decoded, Event
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.core.store import Traits
from logsync.ops import positions
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Increment

NOW = datetime(2026, 3, 1, tzinfo=UTC)


log = Log("things")


@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str


class Versioned(Memory):
    """A store whose content holds offsets, as OpenSearch's does."""

    traits = Traits(atomic=False, content_knows_offsets=True)


def a_sink(store: Memory | None = None) -> Sink:
    sink = Sink("db", log, store or Memory())

    @sink.on(ThingMade)
    def made(event: Event[ThingMade]) -> Increment:
        return Increment("things", {"name": event.data.name}, {"n": 1})

    sink.store.open("db", Settings())
    return sink


def a_log(count: int, *, partitions: int = 1) -> MemoryLog:
    made = MemoryLog(log, partitions=partitions)
    for number in range(partitions):
        for n in range(count):
            made.append(ThingMade(name=f"{number}-{n}"), partition=number)
    return made


def copied(old: MemoryLog, start: int = 0, *, before: int = 0) -> MemoryLog:
    """The records of ``old`` from ``start`` on, after ``before`` others: the same events at other offsets."""
    copy = MemoryLog(log)
    for n in range(before):
        other = old.append(ThingMade(name=f"other-{n}"))
        old.records[0].pop()
        headers = [(name, b"other-%d" % n if name == "ce_id" else value) for name, value in other.headers]
        copy.append_raw(other.key, other.value, headers)
    for record in old.records[0][start:]:
        copy.append_raw(record.key, record.value, list(record.headers))
    return copy


def run(sink: Sink, source: MemoryLog, *, at_most: int = 1_000_000) -> Worker:
    """A worker that applies all there is."""
    worker = Worker(sink, MemoryReader(source, at_most=at_most), Settings())
    for _ in range(5):
        worker.step()
    return worker


def counts(sink: Sink) -> dict[str, int]:
    assert isinstance(sink.store, Memory)
    return {row["name"]: int(row["n"]) for row in sink.store.content.tables.get("things", [])}


def look(sink: Sink) -> Any:
    return sink.store.inspect(sink.name, Settings())


def decoded(source: MemoryLog, offset: int, partition: int = 0) -> Decoded:
    return Decoder(log, log.names)(source.records[partition][offset])


def set_(sink: Sink, source: MemoryLog, offset: int, *, partition: int = 0, **facts: Any) -> positions.Move:
    seen, records = look(sink), source.records[partition]
    at = (seen.positions or {}).get(partition)
    last = decoded(source, at.last_offset).id if at and at.last_offset is not None else None
    known = {
        "log": source.identity,
        "environment": "default",
        "span": (source.starts[partition], len(records)),
        "before": decoded(source, offset - 1, partition) if 0 < offset <= len(records) else None,
        "last_found": last,
        "reason": "why not",
        "now": NOW,
    }
    return positions.plan_set(sink, seen, partition=partition, offset=offset, **{**known, **facts})


def adopt(sink: Sink, source: MemoryLog, *, environment: str = "default") -> positions.Move:
    seen = look(sink)
    copy = positions.read_copy(
        sink, seen.positions or {}, lambda: [record for part in source.records for record in part]
    )
    starts = dict(enumerate(source.starts))
    return positions.plan_adopt(
        sink, seen, copy, log=source.identity, environment=environment, log_starts=starts, now=NOW
    )
