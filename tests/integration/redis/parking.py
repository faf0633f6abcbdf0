"""Parked events and plans about them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from logsync.core.event import Record
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.stores.redis import Incr
from tests.integration.redis.conftest import Server, plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


START = Position(0, 0)


NAMES = ("logsync:cache:parked", "logsync:cache:parked:about", "logsync:cache:parked:order")


ODD = [
    "a b", '"', '\\"', '" 0000000000000000001', "k", "k ", "k!", "k:", "k 1", "", "\x00", "\n", "0:", "ü", "\ud800",
    "\u2028", "(no key)", "*", "[k", "(k", "x" * 300_000,
]  # fmt: skip


def entry(offset: int, sequence: str = "k", *, error: str = "HandlerError", size: int = 10) -> Parked:
    at = NOON + timedelta(seconds=offset)
    record = Record(0, offset, b"key", b"\xff" * size, [("ce_id", b"i")], 0, 1)
    return Parked(0, offset, sequence, f"id-{offset}", "t", error, "\x00\ud800 no", at, at, 1, record)


def park(start: Position, *entries: Parked, to: int, writes: list[Write] | None = None) -> Plan:
    made = plan(start, *[writes or []] * (to - start.next_offset))
    return Plan(start, made.end, made.writes, made.offsets, parked=list(entries))


def release(
    start: Position, *offsets: int, still_parked: tuple[Parked, ...] = (), writes: tuple[Write, ...] = ()
) -> Plan:
    at = [offsets[0]] * len(writes) if offsets else []
    return Plan(start, start.released(), list(writes), at, still_parked=list(still_parked), released=list(offsets))


def as_the_memory_store_sees_it(entries: list[Parked]) -> dict[str, SequenceSummary]:
    found: dict[str, SequenceSummary] = {}
    for one in entries:
        first = found.get(one.sequence, SequenceSummary(one.offset, 0, one.first_at, one.error))
        found[one.sequence] = first._replace(events=first.events + 1)
    return found


def state(server: Server) -> dict[str, object]:
    """What is parked, with the structures that find it, read without the store's code."""
    plain = server.plain
    return {
        NAMES[0]: plain.hgetall(NAMES[0]),
        NAMES[1]: plain.hgetall(NAMES[1]),
        NAMES[2]: plain.zrange(NAMES[2], 0, -1),
        "content": server.content(),
        "positions": plain.hgetall("logsync:cache:positions"),
    }


def history(start: Position) -> Iterator[Plan]:
    """Without end: 40 events, each counted at once, or parked and counted when it is released a plan later."""
    at = start
    while True:
        offsets = range(at.next_offset, at.next_offset + 40)
        aside = [entry(n, f"k{n % 3}", size=2_000) for n in offsets if n % 4 == 0]
        made = plan(at, *[[] if n % 4 == 0 else [Incr("n")] for n in offsets])
        yield Plan(at, made.end, made.writes, made.offsets, parked=aside)
        at = made.end
        yield release(at, *[one.offset for one in aside if one.offset % 8], writes=(Incr("n", 5),))
        at = at.released()
