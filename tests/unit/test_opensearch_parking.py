"""What a store without transactions needs of the core to park and release exactly once."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from logsync.core.codec import Decoder
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner, plan
from logsync.core.position import Position
from logsync.core.store import Traits
from logsync.stores.memory import Memory
from logsync.stores.opensearch import DeleteDoc, fold
from logsync.stores.opensearch.write import within_reach
from logsync.testing import MemoryLog
from logsync.writes.rows import Increment, Upsert
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.test_parking import NOON, ask, mended, poisoned, retry
from tests.unit.test_worker import finish, worker


class Replayable(Memory):
    traits = Traits(atomic=False)


def test_a_plan_tells_what_events_would_write_that_wait_behind_another() -> None:
    source = poisoned()
    for store, told in ((Replayable(), [2, 4]), (Memory(), [])):
        sink = make_sink(store, on_error="park")
        decode = Decoder(log, sink.handled)
        events = [decode(record) for record in source.records[0]]
        made = plan(sink, events, Position(0, 0), aside=ParkingPlanner(sink, {}, source.records[0].__getitem__, NOON))
        assert [entry.offset for entry in made.parked] == [1, 2, 4]
        assert sorted(made.refused) == told
        assert made.applied == 3
        assert set(made.offsets) == {0, 3, 5}
        assert all(type(write) in (Upsert, Increment) for writes in made.refused.values() for write in writes)


def test_a_request_to_release_what_is_not_due_yet_leaves_it_waiting() -> None:
    """A replayable store parks before its position moves. An event that it holds at or after its position is met again,
    and must then find itself parked, or it would be applied and stay parked as well."""
    source, store = MemoryLog(log), Replayable()
    source.append(OrderPlaced(order="a", cents=1))
    finish(worker(source, sink=mended(store)), source)
    ahead = poisoned().records[0]
    for record in ahead[1:3]:
        source.append_raw(record.key, record.value, list(record.headers))
    aside = ParkingPlanner(mended(store), {}, source.records[0].__getitem__, datetime.now(UTC))
    decode = Decoder(log, mended(store).handled)
    aside.park(decode(source.records[0][1]), None)
    store.server.parked["db"] = {(0, entry.offset): entry for entry in aside.parked}  # and then it died
    ask(store)
    made = worker(source, sink=mended(store))
    finish(made, source)
    assert [entry.offset for entry in store.parked(0)] == [1, 2]
    ask(store)
    retry(made, store)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 1 - 7 + 8}


def test_no_part_of_a_plan_reaches_past_a_generation() -> None:
    offsets = [0, 1, fold.REACH - 2, fold.REACH - 1, 200_000, 3_000_000]
    made = Plan(Position(0, 0), Position(0, 3_000_001), [DeleteDoc("x", str(n)) for n in offsets], offsets)
    parts = list(within_reach(made))
    assert [offset for part in parts for offset in part.offsets] == offsets
    assert [write for part in parts for write in part.writes] == made.writes
    assert (parts[0].start, parts[-1].end) == (made.start, made.end)
    for part, after in pairwise(parts):
        assert part.end == after.start
    for part in parts:
        assert not part.offsets or part.start.next_offset <= part.offsets[0]
        assert not part.offsets or part.offsets[-1] - part.start.next_offset <= fold.REACH - 2
        assert not part.offsets or part.offsets[-1] < part.end.next_offset
