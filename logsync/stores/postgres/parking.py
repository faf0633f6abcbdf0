"""Events set aside: the table logsync.parked, changed in the transaction that moves the position. # I8 K2"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.stores.postgres.encode import array, escaped, unescaped
from logsync.stores.postgres.statements import Statement

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

_KEEP = """
INSERT INTO logsync.parked (sink, partition, log_offset, sequence, error, first_at, body)
SELECT %s::text, %s::int, * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
ON CONFLICT (sink, partition, log_offset) DO {}
"""
_PARK = _KEEP.format("NOTHING")  # K2
_AGAIN = _KEEP.format("UPDATE SET error = EXCLUDED.error, body = EXCLUDED.body")
_RELEASE = "DELETE FROM logsync.parked WHERE sink = %s AND partition = %s AND log_offset = ANY(%s::bigint[])"
# One pass over the table and one sort, whatever the server believes about its size: the table was filled a moment ago,
# and the server has no statistics of it yet. The time is sent as a number: the text of one depends on settings.
_SEQUENCES = """
SELECT DISTINCT ON (sequence) sequence, log_offset, count(*) OVER (PARTITION BY sequence),
       (extract(epoch FROM first_at) * 1000000)::bigint, error
FROM logsync.parked WHERE sink = %s AND partition = %s ORDER BY sequence, log_offset
"""
_READ = "SELECT body FROM logsync.parked WHERE sink = %s AND partition = %s AND log_offset > %s"
_OF_SEQUENCE = " AND left(sequence, 200) = left(%s, 200) AND sequence = %s"  # the first half as in the index
_FORGET = """
DELETE FROM logsync.parked WHERE ctid = ANY(ARRAY(SELECT ctid FROM logsync.parked WHERE sink = %s LIMIT %s))
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE = 100_000
"""Events per statement that forgets them: a few seconds at most."""
_CHUNK = 16_000_000
"""Characters of events per statement, roughly: one value of Postgres ends at 1 GB."""


def changes(sink: str, plan: Plan) -> list[Statement]:
    """What the plan says about parked events; empty, as a rule. No content of an event can make these fail."""
    partition = plan.start.partition
    made = [_keep(_PARK, sink, partition, *some) for some in _chunks(plan.parked)]
    made += [_keep(_AGAIN, sink, partition, *some) for some in _chunks(plan.still_parked)]
    if plan.released:
        made.append(Statement(_RELEASE, (sink, partition, array(plan.released))))
    return made


class ParkedReader:
    """Reads what one sink has parked."""

    def __init__(self, link: Link, sink: str) -> None:
        self._link, self._sink = link, sink

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        rows = self._link.ask(_SEQUENCES, self._sink, partition).fetchall()
        return {
            unescaped(name): SequenceSummary(first, events, _EPOCH + timedelta(microseconds=since), unescaped(error))
            for name, first, events, since, error in rows
        }

    def parked(self, partition: int, *, sequence: str | None, after: int, limit: int) -> list[Parked]:
        sql, params = _READ, [self._sink, partition, after]
        if sequence is not None:
            sql, params = sql + _OF_SEQUENCE, [*params, *[escaped(sequence)] * 2]
        rows = self._link.ask(sql + " ORDER BY log_offset LIMIT %s", *params, limit).fetchall()
        return [Parked.from_json(body) for (body,) in rows]


def forget_some(link: Link, sink: str) -> bool:
    """Delete what the sink has parked, up to a bound. True if there may be more."""
    return link.ask(_FORGET, sink, _AT_ONCE).rowcount == _AT_ONCE


def _chunks(entries: Sequence[Parked]) -> Iterator[tuple[Sequence[Parked], list[str]]]:
    """The entries and their texts, in parts that one statement can carry."""
    first, size, texts = 0, 0, list[str]()
    for end, entry in enumerate(entries, 1):
        texts.append(entry.to_json())
        size += len(texts[-1])
        if size >= _CHUNK or end == len(entries):
            yield entries[first:end], texts
            first, size, texts = end, 0, []


def _keep(sql: str, sink: str, partition: int, entries: Sequence[Parked], texts: Sequence[str]) -> Statement:
    columns: tuple[Sequence[object], ...] = (
        [entry.offset for entry in entries],
        [escaped(entry.sequence) for entry in entries],
        [escaped(entry.error) for entry in entries],
        [entry.first_at for entry in entries],
        texts,
    )
    return Statement(sql, (sink, partition, *[array(column) for column in columns]))
