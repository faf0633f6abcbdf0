"""Would a rebuilt sink get anywhere? Its handlers on the log's first events, before anything is wiped.

What is found here would be found by the replay as well, but with the content gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from logsync.bookkeeping import check_partitions
from logsync.core.codec import Decoder, EventTypes
from logsync.core.event import Record
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner, at_fault, plan
from logsync.core.resume import beginning
from logsync.core.sink import Sink
from logsync.core.sources import judge
from logsync.core.store import ChecksWrites, Rehearses, Store
from logsync.errors import ConfigError, EventError
from logsync.ops.reading import reading
from logsync.ops.rebuild import RebuildPlan
from logsync.settings import Settings

FIRST = 200
"""How many records of each partition are tried."""


def first_records(log: EventTypes, settings: Settings, spans: Mapping[int, tuple[int, int]]) -> dict[int, list[Record]]:
    """The first records of each partition. Raises LogUnavailable, ConfigError."""
    with reading(log, settings) as lookup:
        return {
            partition: list(islice(lookup.read(partition, low, high), FIRST))
            for partition, (low, high) in spans.items()
        }


def rehearse(
    sink: Sink, store: Store, what: RebuildPlan, records: Mapping[int, Sequence[Record]], *, now: datetime
) -> int:
    """Try these ``records``, the first of their partitions, as the replay would. Returns the number of events applied.

    A store that can carries the writes out and takes them back; any other says what it knows to be wrong. Changes
    nothing. Raises ConfigError, and what would halt the replay (EventError); also if all events would be parked.
    """
    check_partitions(sink, what.log)
    sink.check_order(what.log.partitions)
    applied, parked = 0, []
    for partition, some in sorted(records.items()):
        made = _tried(sink, store, what, partition, some, now)
        applied += made.applied
        parked += [entry for entry in made.parked if entry.attempts]
    if parked and not applied:
        first = parked[0]
        raise ConfigError(
            f"none of the log's first events could be applied, {len(parked):,} would be parked; the first, partition "
            f"{first.partition}, offset {first.offset}: {first.error}: {first.message}",
            fix="deploy a sink that can apply them",
        )
    return applied


def _tried(
    sink: Sink, store: Store, what: RebuildPlan, partition: int, records: Sequence[Record], now: datetime
) -> Plan:
    by_offset = {record.offset: record for record in records}
    decode = Decoder(sink.log, sink.handled)
    events = [decode(record) for record in records]
    # Skips stay through a rebuild, if the log is the one in which somebody saw the record.
    same = what.book is not None and not what.book.log.differences(what.log)
    skips = what.book.skips_of(partition) if what.book is not None and same else ()
    start = beginning(partition, what.spans[partition][0])
    judged = judge(start.sources, start.next_offset, sink.log.codec.marks(records))
    verdicts: dict[int, EventError] = {}
    while True:
        aside = ParkingPlanner(sink, {}, by_offset.__getitem__, now, verdicts)
        made = plan(
            sink, events, start, skips=skips, partitions=what.log.partitions, aside=aside, judged=judged,
        )  # fmt: skip
        if made.failure is not None:
            raise made.failure
        try:
            if isinstance(store, Rehearses):
                store.rehearse(made)
            elif isinstance(store, ChecksWrites):
                store.check_writes(made)
        except EventError as error:
            hint = error.fix
            fault = at_fault(sink, error, made, events)
            error.fix = "; ".join(filter(None, (hint, error.fix)))
            if fault.offset in verdicts:
                raise
            verdicts[fault.offset] = error
        else:
            return made
