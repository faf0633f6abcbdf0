"""How a sink stands to its log: one row per partition, from what store and log say now. Looks, changes nothing."""

from __future__ import annotations

from enum import StrEnum
from time import time
from typing import Any, NamedTuple

from logsync.core.book import Book
from logsync.core.inspection import Inspection
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogUnavailable, StoreError, in_commands
from logsync.log.admin import Kafka
from logsync.log.group import group_id
from logsync.log.lookup import Span
from logsync.ops.access import look
from logsync.ops.reading import reading
from logsync.ops.transactions import open_transactions
from logsync.settings import Settings

_PATIENCE = 5.0  # seconds: a status that hangs on a store that is down tells nobody that it is down


class SinkState(StrEnum):
    """How one sink stands to one partition."""

    OK = "ok"
    BEHIND = "behind"
    HELD = "open transaction"
    """Everything up to a transaction that has not ended is applied, and more stands behind it."""
    PARKED = "parked"
    """Behind or not: there are events that were set aside."""
    NO_POSITION = "no position"
    """No worker has begun here, as far as the store knows."""
    LOST = "position lost"
    """There is a book, or content, and no position: it was forgotten or lost. No worker goes on. # P1"""
    WIPING = "wiping"
    MOVING = "moving"
    OTHER_LOG = "other log"
    OTHER_ENVIRONMENT = "other environment"
    GAP = "gap"
    STORE_UNREACHABLE = "store unreachable"
    LOG_UNREACHABLE = "log unreachable"
    MISCONFIGURED = "misconfigured"


class Row(NamedTuple):
    """One sink and partition. ``lag`` counts offsets, so also those of records that will be skipped."""

    sink: str
    partition: int | None
    state: SinkState
    position: int | None = None
    committed: int | None = None
    end: int | None = None
    lag: int | None = None
    lag_seconds: float | None = None
    """The age of the oldest record that is not applied; 0 when there is none."""
    parked: int | None = None
    """Events that were set aside, and those that wait behind them."""
    detail: str = ""


def too_far(row: Row, allowed: int) -> bool:
    """True unless the row is known to have at most ``allowed`` events that are not applied: behind, or parked."""
    running = (SinkState.OK, SinkState.BEHIND, SinkState.HELD, SinkState.PARKED)
    if row.state not in running or row.lag is None or (row.state is SinkState.PARKED and row.parked is None):
        return True
    return row.lag + (row.parked or 0) > allowed


def judge(
    sink: str,
    partition: int,
    span: Span,
    book: Book | None,
    position: Position | None,
    *,
    identity: LogIdentity,
    environment: str,
    holds_data: bool = False,
) -> Row:
    """The row of one partition from facts alone; committed offset and age are added by the caller.

    ``holds_data``: the store has content of the sink. It is asked only if there is no book.
    """
    at = position.next_offset if position else None
    row = Row(sink, partition, SinkState.OK, position=at, end=span.high, lag=None if at is None else span.high - at)
    if book is not None and book.state == "wiping":
        return row._replace(state=SinkState.WIPING, detail="`logsync rebuild SINK --yes` finishes it")
    if book is not None and book.environment != environment:
        return row._replace(
            state=SinkState.OTHER_ENVIRONMENT, lag=None, detail=f"the store belongs to {book.environment}"
        )
    if book is not None and (differences := book.log.differences(identity)):
        return row._replace(state=SinkState.OTHER_LOG, lag=None, detail="; ".join(differences))
    if at is None or row.lag is None:
        if book is None and not holds_data:
            return row._replace(state=SinkState.NO_POSITION)
        left = "a book" if book is not None else "data of this sink"
        detail = f"it was forgotten or lost, and the store has {left}: `logsync rebuild SINK --yes` replays the log"
        return row._replace(state=SinkState.LOST, detail=detail)
    if book is not None and position is not None and position.epoch != book.epoch:
        detail = "`logsync position set` or `adopt` is under way, or was interrupted: run it again"
        return row._replace(state=SinkState.MOVING, detail=detail)
    if not span.low <= at <= span.high:
        return row._replace(state=SinkState.GAP, detail=f"the log holds {span.low} to before {span.high}")
    return row._replace(state=SinkState.BEHIND if row.lag else SinkState.OK)


def survey(sink: Sink, settings: Settings) -> list[Row]:
    """The rows of one sink. Raises nothing that an outage can cause."""

    topic, group = sink.log.topic, group_id(settings.environment, sink.name)
    try:
        with reading(sink.log, settings, group_id=group, timeout=_PATIENCE) as lookup:
            # A worker may be running. In this order committed <= position <= end is what one sees: the other
            # way round a healthy sink could seem to have committed, or read, what is not there yet. # P2
            bookmarks = lookup.committed(lookup.spans())
            seen, trouble = _examine(sink, settings)
            kafka = Kafka(settings, timeout=_PATIENCE)
            identity = kafka.identify(topic)
            written = kafka.offsets(topic, identity.partitions, "end")
            spans = lookup.spans()
            held = open_transactions(sink.log, settings, spans, written, timeout=_PATIENCE)
            rows = []
            for partition, span in spans.items():
                row = judge(
                    sink.name, partition, span, seen.book, (seen.positions or {}).get(partition),
                    identity=identity, environment=settings.environment, holds_data=seen.holds_data,
                )  # fmt: skip
                row = row._replace(detail=in_commands(row.detail, sink.address))
                if partition in held and row.state in (SinkState.OK, SinkState.BEHIND) and row.lag is not None:
                    lag = row.lag + held[partition].offsets
                    state = SinkState.BEHIND if row.lag else SinkState.HELD
                    detail = f"{held[partition].found}; {held[partition].fix}"
                    row = row._replace(state=state, end=written[partition], lag=lag, detail=detail)
                if trouble:
                    row = row._replace(**trouble)
                elif row.state in (SinkState.OK, SinkState.BEHIND, SinkState.HELD) and row.position is not None:
                    first = lookup.first_at(partition, row.position) if row.lag else None
                    age = None
                    if row.state is SinkState.OK:
                        age = 0.0
                    elif row.state is SinkState.HELD and (began := held[partition].began) is not None:
                        age = max(0.0, time() - began.timestamp())
                    elif first is not None and first.fault is None:
                        age = max(0.0, time() - first.timestamp / 1000)
                    elif first is not None and first.fault is not None:
                        row = row._replace(detail=f"the next record cannot be read: {first.fault.why}")
                    parked = sum(known.events for known in seen.waiting.get(partition, {}).values())
                    state = SinkState.PARKED if parked and row.state is not SinkState.HELD else row.state
                    age = None if age is None else round(age, 3)
                    row = row._replace(state=state, lag_seconds=age, parked=parked)
                rows.append(row._replace(committed=bookmarks.get(partition)))
            return _with_predecessors(rows, sink, settings)
    except LogUnavailable as error:
        positions = _examine(sink, settings)[0].positions or {}
        down = Row(sink.name, None, SinkState.LOG_UNREACHABLE, detail=error.message)
        return [down._replace(partition=p, position=at.next_offset) for p, at in positions.items()] or [down]
    except ConfigError as error:
        return [Row(sink.name, None, SinkState.MISCONFIGURED, detail=error.message)]


def _examine(sink: Sink, settings: Settings) -> tuple[Inspection, dict[str, Any]]:
    """What the store remembers; if it cannot tell, what a row says about that."""
    try:
        return look(sink, settings.model_copy(update={"store_timeout": _PATIENCE})), {}
    except StoreError as error:
        return Inspection(), {"state": SinkState.STORE_UNREACHABLE, "detail": error.message}
    except ConfigError as error:
        return Inspection(), {"state": SinkState.MISCONFIGURED, "detail": error.message}


def _with_predecessors(rows: list[Row], sink: Sink, settings: Settings) -> list[Row]:
    """Say of a row that is behind for which sink it waits, if it has come as far as that one. # V1"""
    for first in sink.after if any(row.state is SinkState.BEHIND for row in rows) else ():
        seen, trouble = _examine(first, settings)
        if trouble:
            waits = dict.fromkeys(
                (row.partition for row in rows), f"which cannot tell where it is: {trouble['detail']}"
            )
        else:
            reached = {number: at.next_offset for number, at in (seen.positions or {}).items()}
            waits = {
                row.partition: f"which is at {reached.get(row.partition or 0, 0)}"
                for row in rows
                if row.position is not None and reached.get(row.partition or 0, 0) <= row.position
            }
        rows = [
            row._replace(detail=row.detail or f"waits for sink {first.name}, {waits[row.partition]}")
            if row.state is SinkState.BEHIND and row.partition in waits
            else row
            for row in rows
        ]
    return rows
