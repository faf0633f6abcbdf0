"""Events set aside, outside the prefix, as the position is: apply.lua moves both in one step.

    <bookkeeping>parked          hash: "<partition>:<offset>" -> the event, Parked as JSON
    <bookkeeping>parked:about    hash: the same field -> its place in the order, and what a worker must remember of it
    <bookkeeping>parked:order    sorted set, all scores 0, so sorted by its bytes; two members per event:
                                 "<partition>:<offset>" and its place '<partition>:"<sequence>" <offset>'

Offsets have 19 digits, so that bytes sort like numbers. A sequence stands there as JSON in ASCII: it may be any text,
and no such string is the beginning of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan

if TYPE_CHECKING:
    from logsync.stores.redis.client import RedisClient

_SEQUENCES = 1000
"""Sequences per call: a few milliseconds of a server that does nothing else meanwhile."""
_EVENTS = 1000
"""The most parked events per call."""
_BYTES = 8_000_000
"""A call ends with the event that exceeds this: one alone may be a megabyte."""


def changes(plan: Plan) -> list[bytes]:
    """What apply.lua must do about parked events; empty, as a rule. No content of an event can make it fail.

    First the fields of those to forget, each after their number; then field, about and event of those to keep. What is
    retried is in both: forgotten, and kept as it is now.
    """
    if not (plan.parked or plan.still_parked or plan.released):
        return []
    gone = [field(plan.start.partition, offset) for offset in plan.released]
    gone += [field(entry.partition, entry.offset) for entry in plan.still_parked]
    words = [b"%d" % len(gone), *gone]
    for entry in (*plan.still_parked, *plan.parked):
        place = b"%b%019d" % (_line(entry.partition, entry.sequence), entry.offset)
        about = json.dumps([entry.first_at.isoformat(), entry.error]).encode()
        words += (field(entry.partition, entry.offset), place + b"\n" + about, entry.to_json().encode())
    return words


def parked_keys(bookkeeping: str) -> list[bytes]:
    """In the order in which apply.lua takes them. ``bookkeeping``: what stands before the names of the sink's keys."""
    return [(bookkeeping + name).encode() for name in ("parked", "parked:about", "parked:order")]


class ParkedReader:
    """Reads what is parked, a bounded piece per call, so that no other client of the server waits for long."""

    def __init__(self, keys: list[bytes]) -> None:
        """``keys``: what ``parked_keys`` says. Opens nothing."""
        from logsync.stores.redis.client import Script

        self.keys = keys
        self._read, self._sequences = Script("parked.lua"), Script("sequences.lua")
        self.scripts = [self._read, self._sequences]

    def sequences(self, io: RedisClient, partition: int) -> dict[str, SequenceSummary]:
        found: dict[str, SequenceSummary] = {}
        at = b'[%d:"' % partition
        while at:
            args = [at, b"(%d:#" % partition, b"%d" % _SEQUENCES]  # "#" is the character after the quote
            at, *flat = io.ask(self._sequences, self.keys[1:], args)
            for text, events in zip(flat[::2], flat[1::2], strict=True):
                place, about = text.split(b"\n")
                line, _, first = place.rpartition(b" ")
                since, error = json.loads(about)
                name = json.loads(line.partition(b":")[2])
                found[name] = SequenceSummary(int(first), events, datetime.fromisoformat(since), error)
        return found

    def parked(self, io: RedisClient, partition: int, sequence: str | None, after: int, limit: int) -> Iterator[Parked]:
        line = b"%d:" % partition if sequence is None else _line(partition, sequence)
        while limit > 0:
            # ":" is the character after the digits.
            args = [b"[%b%019d" % (line, after + 1), b"(%b:" % line, b"%d" % min(limit, _EVENTS), b"%d" % _BYTES]
            more, *values = io.ask(self._read, [self.keys[0], self.keys[2]], args)
            for value in values:
                entry = Parked.from_json(value)
                yield entry
                after, limit = entry.offset, limit - 1
            if not more:
                return


def field(partition: int, offset: int) -> bytes:
    return b"%d:%019d" % (partition, offset)


def _line(partition: int, sequence: str) -> bytes:
    """What the places of this sequence begin with."""
    return b"%d:%b " % (partition, json.dumps(sequence).encode())
