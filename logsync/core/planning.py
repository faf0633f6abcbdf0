"""From decoded events to one plan: handlers are called, parking is decided, the refused event is found. Pure."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from pydantic import BaseModel

from logsync.core.event import Decoded, Event, Ignored, Record, Undecodable
from logsync.core.handlers import name, named
from logsync.core.parked import Parked, Sequences, by_key, name_of
from logsync.core.plan import Plan
from logsync.core.policy import Park, disposition
from logsync.core.position import Position
from logsync.core.raised import in_words, last_lines
from logsync.core.sink import Sink
from logsync.core.sources import Judged
from logsync.core.write import Write
from logsync.errors import ConfigError, DecodeError, EventError, HandlerError, ParkingFull, UnknownEventType, Unreadable

_MESSAGE = 4_000
"""Characters of an error that are kept with a parked event: an exception may carry a whole document in its text."""


class ParkingPlanner:
    """What waits in one partition as the planner sees it, and the rules for what joins it. Used for one plan."""

    def __init__(
        self,
        sink: Sink,
        waiting: Sequences,
        record: Callable[[int], Record],
        now: datetime,
        refused: Mapping[int, EventError] | None = None,
    ) -> None:
        """``record`` gives the record at an offset. ``refused``: the store's verdict on events of this plan."""
        self._sink, self._waiting, self._record, self._now = sink, waiting, record, now
        self._by_key = sink.sequence_by is by_key
        self.refused = refused or {}
        self.parked: list[Parked] = []
        self.waits = bool(waiting)
        """Does anything wait? If not, ``joins`` need not be asked."""
        self._grown: Counter[str] = Counter()
        self._new = 0  # sequences that nothing waited in before

    def joins(self, event: Decoded) -> bool:
        """Does this event wait behind an earlier one of its sequence? # I8

        An event that is older than the first one that waits is a replay of what was applied before that.
        """
        if type(event) is Undecodable and event.unreadable:
            return False  # it has no key, and stands for events of any
        name = self._name(event)
        if name in self._grown:
            return True
        waiting = self._waiting.get(name)
        return waiting is not None and event.offset >= waiting.first

    def _name(self, event: Decoded) -> str:
        """``name_of`` its record. Called for every event while anything waits, hence the short way."""
        if self._by_key and type(event) is Event and event.key and event.key.isascii() and event.key.isprintable():
            return event.key  # what by_key makes of these bytes; test_the_short_way_names_what_by_key_names
        return name_of(self._sink.sequence_by, self._record(event.offset))

    def park(self, event: Decoded, error: EventError | None) -> None:
        """Set ``event`` aside. ``error`` None: it waits behind another. Raises ParkingFull."""
        record = self._record(event.offset)
        name = name_of(self._sink.sequence_by, record)
        waiting, limits = self._waiting.get(name), self._sink.parking
        events = self._grown[name] + (waiting.events if waiting else 0)
        if events >= limits.events:
            raise self._full(event, f"sequence {name!r} holds {events:,} parked events", "events", limits.events)
        held, new = len(self._waiting) + self._new, waiting is None and name not in self._grown
        if new and held >= limits.sequences:
            raise self._full(event, f"{held:,} sequences are parked", "sequences", limits.sequences)
        self.waits = True
        self._grown[name] += 1
        self._new += new
        self.parked.append(
            Parked(
                event.partition, event.offset, name, event.id, event.type,
                type(error).__name__ if error else "", error.told[:_MESSAGE] if error else "",
                self._now, self._now, 1 if error else 0, record,
            )
        )  # fmt: skip

    def _full(self, event: Decoded, what: str, limit: str, value: int) -> EventError:
        error = located(self._sink, event, ParkingFull(f"it cannot be applied, and cannot be parked: {what}"))
        error.fix = (
            f"`logsync parked list {self._sink.address}` shows why; mend the cause, then `logsync parked retry "
            f"{self._sink.address} --all --yes`; or allow more with Parking({limit}=...), now {value:,}"
        )
        return error


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
    duplicates: Collection[int] = (),
    partitions: int = 1,
    aside: ParkingPlanner | None = None,
    judged: Judged | None = None,
) -> Plan:
    """Call the handlers, in log order. Pure: the same events and position give the same plan.

    ``next_offset`` is where the reader stands after these events (it may be past the last one). ``skips``
    are the offsets that a person skipped by name, ``duplicates`` those of retried appends whose original is in
    the log (A1). ``partitions`` is how many the log has: with several, overwrites need a word from the sink (S2).
    ``aside`` None: nothing waits and nothing is parked, whatever the sink says. ``judged``: the verdict on records of
    sources from ``stored`` on; it stands before everything else. # U1
    """
    calls = _Calls(sink, partitions, aside.refused if aside else {})
    passed: Mapping[int, str] = judged.passed if judged is not None else {}
    skipped: Counter[str] = Counter()
    failure: EventError | None = None
    end = stored
    last: Decoded | None = None
    chosen = bool(skips or duplicates or passed)
    for event in events:
        # Only events that a rule may concern are checked: checking each one would take a tenth of the planning.
        rule = _passed_over(sink, event, skips, duplicates, passed) if chosen or type(event) is not Event else None
        if rule is not None:
            skipped[rule] += 1
        else:
            try:
                if aside is not None and aside.waits and aside.joins(event):
                    aside.park(event, None)
                    if not sink.store.traits.atomic:
                        calls.keep(event)
                else:
                    calls(event)
            except EventError as error:
                failure = _parked_or_failed(sink, event, error, aside)
                if failure is not None:
                    break
        last = event
    if last is not None:
        end = stored.after(last)
    if failure is not None:
        end = end.at(failure.offset)
    elif next_offset is not None:
        end = end.at(next_offset)
    if judged is not None:
        end = end._replace(sources=judged.sources(end.next_offset))
    return Plan(
        stored, end, calls.writes, calls.offsets, calls.applied, skipped, failure,
        parked=aside.parked if aside else [], refused=calls.refused,
    )  # fmt: skip


def plan_retry(
    sink: Sink,
    entries: Sequence[Parked],
    events: Sequence[Decoded],
    stored: Position,
    *,
    skips: Collection[int] = (),
    partitions: int = 1,
    refused: Mapping[int, EventError] | None = None,
    now: datetime,
) -> Plan:
    """Try parked events of one sequence again, in order, up to the first that still fails. Pure.

    ``events`` are the decoded ``entries``. ``next_offset`` stays where it is; the position counts one release more.
    """
    calls = _Calls(sink, partitions, refused or {})
    skipped: Counter[str] = Counter()
    released: list[int] = []
    retried: list[Parked] = []
    for entry, event in zip(entries, events, strict=True):
        rule = _passed_over(sink, event, skips, (), {})  # no duplicate and no repeat is ever parked  # A1 U1
        if rule is not None:
            skipped[rule] += 1
        else:
            try:
                calls(event)
            except EventError as error:
                retried.append(
                    entry._replace(
                        error=type(error).__name__,
                        message=error.told[:_MESSAGE],
                        last_at=now,
                        attempts=entry.attempts + 1,
                    )
                )
                break
        released.append(event.offset)
    return Plan(
        stored, stored.released(), calls.writes, calls.offsets, calls.applied, skipped,
        still_parked=retried, released=released, refused=calls.refused,
    )  # fmt: skip


def plan_discard(entries: Sequence[Parked], stored: Position, *, reason: str, at: datetime) -> Plan:
    """Mark parked events as given up. Pure.

    The position counts one release, so a plan made under the former position can no longer apply one of them.
    """
    return Plan(
        stored, stored.released(), still_parked=[entry._replace(discarded=reason, last_at=at) for entry in entries]
    )


def _passed_over(
    sink: Sink, event: Decoded, skips: Collection[int], duplicates: Collection[int], passed: Mapping[int, str]
) -> str | None:
    """The rule by which an event is skipped and counted, or None. # I7"""
    if passed and event.offset in passed:
        return f"{passed[event.offset]}:{event.type}"
    if skips and event.offset in skips:
        return f"by-hand:{event.type}"
    if type(event) is Ignored:
        return "unhandled:" + event.type
    if duplicates and event.offset in duplicates:
        return f"duplicate:{event.type}"
    if type(event) is Event:
        return None
    return f"unknown:{event.type}" if event.unknown_type and sink.unknown == "skip" else None  # type: ignore[union-attr]


class _NotAccepted(Exception):
    """What a handler returned is no write that its sink takes."""

    def __init__(self, write: object) -> None:
        self.write = write


class _Calls:
    """Calls handlers and collects their writes: those of one event all, or none."""

    def __init__(self, sink: Sink, partitions: int, refused: Mapping[int, EventError]) -> None:
        self.writes: list[Write] = []
        self.offsets: list[int] = []
        self.applied = 0
        self.refused: dict[int, list[Write]] = {}
        self._sink, self._handlers, self._accepts = sink, sink.handlers, sink.accepts(partitions)
        self._known_refused = refused
        self._located = partial(located, sink)

    def __call__(self, event: Decoded) -> None:
        """Raises EventError if ``event`` cannot be applied; nothing of it is in ``writes`` then.

        What a handler returns that is no write of its sink is a mistake of the program, which no event is at fault for:
        ConfigError. Parked, it would set the whole log aside. # S2
        """
        if type(event) is not Event:
            raise self._located(event, _undecodable(event))  # type: ignore[arg-type]
        handler = self._handlers.get(type(event.data))
        if handler is None:
            what = f"expected a handler of {event.type} for version {event.version} too, as the sink handles the type"
            raise self._located(event, UnknownEventType(f"{what}; found none"))
        writes, accepts = self.writes, self._accepts
        mark = len(writes)
        result: object = None
        try:
            result = handler(event)
            if type(result) in accepts:
                writes.append(result)  # type: ignore[arg-type]
            elif result is not None:
                for write in (result,) if isinstance(result, Write) else result:
                    if type(write) not in accepts:
                        raise _NotAccepted(write)
                    writes.append(write)
        except _NotAccepted as found:
            del writes[mark:]
            raise _misused(self._sink, event, handler, found.write, result) from None
        except (Exception, SystemExit) as error:
            del writes[mark:]
            if result is not None and not hasattr(result, "__iter__"):
                raise _misused(self._sink, event, handler, result, result) from None
            what = f"the handler {name(handler)} raised {in_words(error)}; expected writes for {self._sink.store.kind}"
            raise self._located(event, HandlerError(what, trace=last_lines(error))) from error
        if self._known_refused and event.offset in self._known_refused:
            self.refused[event.offset] = writes[mark:]
            del writes[mark:]
            raise self._known_refused[event.offset]
        for _ in range(mark, len(writes)):
            self.offsets.append(event.offset)
        self.applied += 1

    def keep(self, event: Decoded) -> None:
        """Note in ``refused`` what an event that is parked untried would write, if its handler can say."""
        mark, applied = len(self.writes), self.applied
        try:
            self(event)
        except EventError:
            return
        self.refused[event.offset] = self.writes[mark:]
        del self.writes[mark:], self.offsets[mark:]
        self.applied = applied


def _parked_or_failed(sink: Sink, event: Decoded, error: EventError, aside: ParkingPlanner | None) -> EventError | None:
    """None if the event is parked now, else the error that halts the worker at it."""
    if aside is None or not isinstance(disposition(error, parks=sink.parks(error)), Park):
        return error
    try:
        aside.park(event, error)
    except ParkingFull as full:
        full.__cause__ = error
        return full
    return None


def _undecodable(event: Undecodable) -> EventError:
    kind = Unreadable if event.unreadable else UnknownEventType if event.unknown_type else DecodeError
    return kind(f"expected {event.expected}; found {event.found}")


def located(sink: Sink, event: Decoded, error: EventError) -> EventError:
    """``error`` with the coordinates of ``event`` and the commands that show and mend it."""
    error.topic, error.partition, error.offset = sink.log.topic, event.partition, event.offset
    error.event_id, error.event_type = event.id, event.type
    where = f"{sink.address} {event.partition} {event.offset}"
    if isinstance(error, Unreadable):
        error.fix = (
            "if it is too large, raise receive.message.max.bytes in LOGSYNC_KAFKA_OPTIONS; if it is damaged, let "
            "another replica lead the partition, or restore the broker's file; then start again. "
            f'`logsync skip {where} --reason "..." --yes` passes over all that cannot be read there, on record'
        )
        return error
    error.fix = (
        f"`logsync show {event.partition}:{event.offset} --sink {sink.address}` shows the record; deploy a fixed "
        f'handler or model and start again, or pass over it on record: `logsync skip {where} --reason "..." --yes`'
    )
    return error


def at_fault(sink: Sink, error: EventError, made: Plan, events: Sequence[Decoded]) -> Decoded:
    """The event of the plan ``made`` that the store refused; the error gets its coordinates."""
    if error.offset not in made.offsets:  # cutting the plan there could loop without end, or pass the log's end
        raise ConfigError(
            f"the {sink.store.kind} store refused an event at offset {error.offset}, of which there is no "
            f"write in its plan: {error.message}",
            fix="report it to the authors of that store",
        ) from error
    event = next(event for event in events if event.offset == error.offset)
    located(sink, event, error)
    return event


def _misused(sink: Sink, event: Decoded, handler: object, write: object, result: object) -> ConfigError:
    """The error of a program whose ``handler`` returned ``result``, in which ``write`` is none that the sink takes."""
    who = f"{sink.log.topic}, partition {event.partition}, offset {event.offset}: the handler {named(handler)}"
    if isinstance(write, Write):
        wrong = sink.refusal(type(write))
        return ConfigError(
            f"{who} returned a write that sink {sink.name} does not take: {wrong.message}", fix=wrong.fix
        )
    fix = "return a write, a list of writes, or `yield` each"
    if inspect.iscoroutine(result) or isinstance(result, AsyncIterator):
        if inspect.iscoroutine(result):
            result.close()  # or Python warns that it was never awaited
        fix = "write the handler with `def`: it is a function of its event and waits for nothing"
    if write is result or isinstance(result, str | bytes | Mapping | BaseModel):
        return ConfigError(f"{who} returned {type(result).__name__} instead of writes of {sink.store.kind}", fix=fix)
    if isinstance(write, list | tuple) or hasattr(write, "__next__"):
        fix = "`yield from` it, or return one flat list"
    elif isinstance(write, type):
        fix = f"make one: {write.__name__}(...)"
    elif write is None:
        fix = "leave it out where there is nothing to write"
    what = f"the class {write.__name__}" if isinstance(write, type) else type(write).__name__
    return ConfigError(f"{who} returned or yielded {what} among its writes of {sink.store.kind}", fix=fix)
