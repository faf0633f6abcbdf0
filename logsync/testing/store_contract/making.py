"""Books, plans and parked events as the claims need them, in few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from logsync.core import formats
from logsync.core.book import Book
from logsync.core.event import Record
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.write import Write

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ODD = 'a "key" with ünïcode, a \\ and a \x00'
"""A name that a store may have to escape: for ids, sequences and messages, which other people invent."""


@contextmanager
def newer_version() -> Iterator[None]:
    """In this block everything is written in formats that this version of logsync does not read yet."""
    present = formats.UPGRADES
    newer = {kind: (*steps, dict) for kind, steps in present.items()}
    formats.UPGRADES = newer
    try:
        yield
    finally:
        formats.UPGRADES = present


def first_book(sink: str, *, partitions: int = 1) -> Book:
    """The book that a worker would begin with."""
    log = LogIdentity("cluster", "topic", "id", partitions)
    return Book(sink=sink, environment="test", log=log, handled=frozenset({"order.placed"}))


def steps(start: Position, *events: Sequence[Write]) -> Plan:
    """A plan with the writes of one event per step, at the offsets that follow ``start``."""
    writes, offsets = list[Write](), list[int]()
    for offset, step in enumerate(events, start.next_offset):
        writes += step
        offsets += [offset] * len(step)
    return Plan(start, moved(start, start.next_offset + len(events)), writes, offsets)


KNOWN = '{"next":7,"whole":false,"of":{"a":[1,"0f",2,"!\\"\\\\~",true,false]}}'
"""What a position knows of sources: ASCII, as it stands."""


def moved(start: Position, to: int) -> Position:
    """The position after the record just before ``to``."""
    return Position(start.partition, to, start.epoch, to - 1, f"id-{to - 1}", sources=KNOWN)


def waiting(
    offset: int, sequence: str = "k", *, partition: int = 0, error: str = "HandlerError", minute: int = 0
) -> Parked:
    """A parked event. Its record has bytes that are no text, in every place where bytes may stand.

    ``error`` "": it was never tried and waits behind another. ``minute``: when it was parked, after noon.
    """
    at = NOON + timedelta(minutes=minute)
    headers = [("ce_id", b"i"), ("x", None), ("y", b"\xff")]
    return Parked(
        partition, offset, sequence, f"id-{offset}", "order.placed", error, f"it broke: \u2028 {ODD}" if error else "",
        at, at, 1 if error else 0, Record(partition, offset, b"\xff\x00key", b"\x00\xfe", headers, 3, 99),
    )  # fmt: skip


def parks(start: Position, *entries: Parked, to: int, events: Sequence[Sequence[Write]] = ()) -> Plan:
    """A plan that moves to ``to``: the writes of its first events, and these events parked."""
    made = steps(start, *events)
    return Plan(start, moved(start, to), made.writes, made.offsets, parked=list(entries))


def retries(start: Position, *released: int, writes: Sequence[Write] = (), still_parked: Sequence[Parked] = ()) -> Plan:
    """A plan that tries parked events again: these are parked no longer. All the writes belong to the first of them."""
    offsets = [released[0]] * len(writes) if released else []
    end = start.released()
    return Plan(start, end, list(writes), offsets, still_parked=list(still_parked), released=list(released))
