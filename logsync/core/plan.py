"""From decoded events to one plan: what the store must do, and where the position then stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from logsync.core.event import Decoded, Event, Ignored
from logsync.core.position import Position
from logsync.core.sink import Sink
from logsync.errors import DecodeError, EventError, HandlerError, UnknownEventType
from logsync.writes import Write


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes of one partition and the move of the position that belongs to them.

    ``offsets[i]`` is the offset of the event that ``writes[i]`` came from; both are in log order.
    ``failure`` is the first event that cannot be applied; the plan covers everything before it, so that
    after ``store.apply(plan)`` the position stands exactly at the record a person has to look at.
    """

    start: Position
    end: Position
    writes: list[Write] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    applied: int = 0
    """Events that a handler saw, also when it returned nothing."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Events passed over by a stated rule, counted by rule and type: ``unhandled:order.placed``."""
    failure: EventError | None = None

    @property
    def moves(self) -> bool:
        return self.end.next_offset != self.start.next_offset


def skip_applied(events: Sequence[Decoded], stored: Position) -> Sequence[Decoded]:
    """Drop what the store already holds. Holes between offsets are normal; only order matters."""
    if not events or events[0].offset >= stored.next_offset:
        return events
    return [event for event in events if event.offset >= stored.next_offset]


def plan(
    sink: Sink,
    events: Sequence[Decoded],
    stored: Position,
    *,
    next_offset: int | None = None,
    skips: Collection[int] = (),
    repeats: Collection[int] = (),
    partitions: int = 1,
) -> Plan:
    """Call the handlers, in log order. Pure: the same events and position give the same plan.

    ``next_offset`` is where the reader stands after these events (it may be past the last one). ``skips``
    are the offsets that a person skipped by name, ``repeats`` those of retried appends whose original is in
    the log (A1). ``partitions`` is how many the log has: with several, overwrites need a word from the sink (S2).
    """
    writes: list[Write] = []
    offsets: list[int] = []
    skipped: Counter[str] = Counter()
    accepts = sink.accepts(partitions)
    handlers = sink.handlers
    applied = 0
    failure: EventError | None = None
    end = stored
    last: Decoded | None = None
    for event in events:
        if type(event) is Event:
            if skips and event.offset in skips:
                skipped["by-hand:" + event.type] += 1
            elif repeats and event.offset in repeats:
                skipped["repeat:" + event.type] += 1
            else:
                handler = handlers.get(type(event.data))
                if handler is None:
                    failure = UnknownEventType(
                        f"expected a handler of {event.type} for version {event.version} too, since the sink handles "
                        "the type; found none",
                        offset=event.offset,
                    )
                    break
                mark = len(writes)
                try:
                    result = handler(event)
                    if result is not None:
                        for write in (result,) if isinstance(result, Write) else result:
                            if type(write) not in accepts:
                                raise TypeError(_not_accepted(sink, write))
                            writes.append(write)
                except Exception as error:  # noqa: BLE001 - handlers are user code
                    del writes[mark:]  # an event's writes are all there or not at all
                    failure = HandlerError(
                        f"expected writes for {sink.store.kind}, the handler {getattr(handler, '__qualname__', '?')} "
                        f"raised {type(error).__name__}: {error}",
                        offset=event.offset,
                    )
                    failure.__cause__ = error
                    break
                offsets.extend([event.offset] * (len(writes) - mark))
                applied += 1
        elif skips and event.offset in skips:
            skipped[f"by-hand:{event.type}"] += 1
        elif type(event) is Ignored:
            skipped["unhandled:" + event.type] += 1
        elif event.unknown_type and sink.unknown == "skip":  # type: ignore[union-attr]
            skipped[f"unknown:{event.type}"] += 1
        else:
            kind = UnknownEventType if event.unknown_type else DecodeError  # type: ignore[union-attr]
            failure = kind(f"expected {event.expected}; found {event.found}", offset=event.offset)  # type: ignore[union-attr]
            break
        last = event
    if last is not None:
        end = stored.after(last)
    if failure is not None:
        failed = next(event for event in events if event.offset == failure.offset)
        end = end.at(failed.offset)
        failure.at(
            topic=sink.log.topic,
            partition=failed.partition,
            event_id=failed.id,
            event_type=failed.type,
            fix=how_to_mend(sink.address, failed.partition, failed.offset),
        )
    elif next_offset is not None:
        end = end.at(next_offset)
    return Plan(stored, end, writes, offsets, applied, skipped, failure)


def how_to_mend(sink: str, partition: int, offset: int) -> str:
    """The commands for an event that cannot be applied, the same words wherever it is found."""
    return (
        f"`logsync show {partition}:{offset} --sink {sink}` shows the record; deploy a fixed handler or "
        f"model and start again, or pass over it on record: "
        f'`logsync skip {sink} {partition} {offset} --reason "..." --yes`'
    )


def _not_accepted(sink: Sink, write: object) -> str:
    if isinstance(write, Write):
        if type(write) in sink.store.accepts:
            return (
                f"{type(write).__name__} overwrites, and the log has several partitions: if every row, key or document "
                f'belongs to one event key, say so with Sink(..., order="per-key"); otherwise use writes that add'
            )
        names = ", ".join(sorted(kind.__name__ for kind in sink.store.accepts))
        return f"{type(write).__name__} is not a write of {sink.store.kind}; it takes {names}"
    return f"{type(write).__name__} is not a write; return or yield writes such as Upsert(...)"
