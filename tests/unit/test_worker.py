"""The loop, over a log and a store in memory: what it does about every kind of trouble."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logsync.core.book import Skip
from logsync.core.codec import Decoder
from logsync.core.offsets import Offsets
from logsync.core.plan import Plan
from logsync.core.planning import skip_applied
from logsync.core.position import Position
from logsync.core.store import Traits
from logsync.errors import (
    ConfigError,
    DecodeError,
    HandlerError,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)
from logsync.log.contract import Batch
from logsync.observe.health import ready
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.worker_status import WorkerState
from logsync.writes.rows import Increment
from tests.unit.shop import OrderCancelled, OrderPlaced, PageSeen, log, make_sink
from tests.unit.working import Clock, Flaky, finish, rebuilt, settings, three, worker


def test_it_applies_the_log_and_commits_after_the_store_moved() -> None:
    source, store = three(), Memory()
    finish(worker(source, store), source)
    assert store.content.row("orders", order="a") == {"order": "a", "cents": 6}
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert store.positions()[0].next_offset == source.committed[0] == 3


def test_what_the_store_holds_is_dropped_from_a_batch_that_begins_before_it() -> None:
    """A client that is told where to begin may deliver the whole batch of the log that this offset stands in."""
    source = three()
    records = source.records[0]
    events = [Decoder(log, log.names)(record) for record in records]
    assert [event.offset for event in skip_applied(events, Position(0, 2))] == [2]
    assert [event.offset for event in skip_applied(events, Position(0, 3))] == []


def test_it_begins_where_the_store_is_and_not_where_kafka_says() -> None:
    source, store = three(), Memory()
    finish(worker(source, store), source)
    source.committed[0] = 0  # an expired group
    source.append(OrderPlaced(order="c", cents=1))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}


def test_resume_commits_the_position_of_a_restored_store_at_once() -> None:  # P2
    source, store = three(), Memory()
    finish(worker(source, store), source)
    store.server.positions["db"][0] = Position(0, 1, last_offset=0, last_id="event-0-0")
    made = worker(source, store)
    made.reader.at_most = 0  # type: ignore[attr-defined]  # nothing is read: only resume can commit
    made.step()
    made.step()
    assert source.committed[0] == 1


def test_an_outcome_that_is_unknown_is_read_from_the_store_and_nothing_doubles() -> None:
    source, store = three(), Flaky()
    store.after = [StoreOutcomeUnknown("connection lost in COMMIT")]
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.retries == 1


def test_an_outage_is_waited_for_without_limit() -> None:
    source, store = three(), Flaky()
    store.before = [StoreUnavailable("down")] * 200
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.retries == 200


def test_after_an_outage_the_store_is_opened_again() -> None:
    source, store = three(), Flaky()
    store.before = [StoreUnavailable("down")]
    finish(worker(source, store), source)
    assert store.opens == 2


def test_while_waiting_it_says_so() -> None:
    source, store = three(), Flaky()
    store.before = [StoreUnavailable("down")] * 1000
    made = worker(source, store)
    made.run(lambda report: report.retries == 3)
    assert made.status.state is WorkerState.WAITING
    assert "down" in made.status.reason


def test_three_conflicts_under_one_assignment_halt() -> None:  # P3
    source = three()
    for n in range(20):
        source.append(OrderPlaced(order=f"x{n}", cents=1))

    class Contested(Memory):
        def apply(self, plan: Plan) -> None:
            at = self.server.positions["db"][0]
            self.server.positions["db"][0] = at._replace(next_offset=at.next_offset + 1)
            super().apply(plan)

    with pytest.raises(ConfigError, match="two programs use this sink name"):
        finish(worker(source, Contested()), source)


def test_a_single_conflict_resumes_from_the_store() -> None:
    source, server = three(), Server()
    store = Memory(server)
    made = worker(source, store)
    made.reader.at_most = 1  # type: ignore[attr-defined]
    made.run(lambda report: report.applied == 2)
    rival = Memory(server)
    rival.open("db")
    rival.apply(
        Plan(server.positions["db"][0], Position(0, 3), [Increment("totals", {"name": "cents"}, {"n": 6})], [2])
    )
    source.append(OrderPlaced(order="d", cents=1))
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}
    assert made.status.conflicts == 1


def test_a_raising_handler_halts_at_its_event_with_everything_before_it_applied() -> None:
    source, store = three(), Memory()
    source.append(OrderPlaced(order="bad", cents=-1))
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(HandlerError) as caught:
        finish(worker(source, store), source)
    text = str(caught.value)
    for part in ("test.shop", "partition 0", "offset 3", "event-0-3", "order.placed", "cents is negative"):
        assert part in text
    assert "logsync show 0:3" in text
    assert "logsync skip db 0 3" in text
    assert store.positions()[0].next_offset == source.committed[0] == 3
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_record_skipped_by_hand_is_passed_over_and_counted() -> None:
    source, store = three(), Memory()
    source.append_raw(b"k", b"\xff\xfe", [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"order.placed")])
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(DecodeError):
        finish(worker(source, store), source)
    book = store.read_book()
    assert book
    skip = Skip(partition=0, offsets=Offsets([3]), reason="garbage", at=datetime(2026, 1, 1, tzinfo=UTC))
    store.write_book(book.next(skips=(skip,)))
    made = finish(worker(source, store), source)
    assert made.status.skipped == {"by-hand:order.placed": 1}
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}


def test_a_refused_write_halts_at_its_event_with_everything_before_it_applied() -> None:
    source, store = three(), Memory()
    sink = make_sink(store)

    @sink.on(PageSeen)
    def page_seen(event: object) -> Increment:
        return Increment("totals", {"name": "pages"}, {"n": 0.5})  # type: ignore[dict-item]

    source.append(PageSeen(page="/"))
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(WriteRejected) as caught:
        finish(worker(source, sink=sink), source)
    assert "offset 3" in str(caught.value)
    assert "event-0-3" in str(caught.value)
    assert store.positions()[0].next_offset == 3
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_an_event_that_is_refused_only_in_company_is_applied_alone() -> None:  # G1
    source = three()

    class Picky(Memory):
        def apply(self, plan: Plan) -> None:
            if len(plan.offsets) > 2:
                raise WriteRejected("too many at once", offset=plan.offsets[-1])
            super().apply(plan)

    store = Picky()
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_kafka_that_does_not_answer_is_waited_for() -> None:
    source, store = three(), Memory()
    source.down = True
    made = worker(source, store)
    made.run(lambda report: report.retries == 3)
    source.down = False
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_conflicts_that_are_far_apart_do_not_add_up() -> None:  # P3
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    for epoch in range(2, 7):
        rebuilt(store, epoch)
        source.append(OrderPlaced(order="x", cents=0))
        finish(made, source)
        made._clock.now += 3600  # type: ignore[attr-defined]
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_worker_without_a_partition_is_a_spare_one_and_ready() -> None:
    class Spare(MemoryReader):
        def poll(self, timeout: float, limit: int) -> Batch:
            return Batch([], [], [])

    made = Worker(make_sink(Memory()), Spare(MemoryLog(log)), settings(), clock=Clock())
    turns = iter(range(200))
    made.run(lambda report: report.state is WorkerState.STANDBY or next(turns, None) is None)
    assert ready(made.status, made._clock())[0]


def test_overwrites_from_several_partitions_need_a_word_from_the_sink() -> None:  # S2
    source = MemoryLog(log, partitions=2)
    source.append(OrderPlaced(order="a", cents=5))
    source.append(OrderPlaced(order="b", cents=5), partition=1)
    source.append(OrderCancelled(order="b"), partition=1)
    with pytest.raises(ConfigError, match="per-key"):
        finish(worker(source, Memory()), source)
    store = Memory()
    finish(worker(source, sink=make_sink(store, order="per-key")), source)
    assert store.content.tables["orders"] == [{"order": "a", "cents": 5}]
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 10}


def test_a_store_for_one_partition_refuses_more() -> None:  # O5
    source, store = MemoryLog(log, partitions=2), Memory()
    store.traits = Traits(atomic=True, most_partitions=1)
    with pytest.raises(ConfigError, match="2"):
        finish(worker(source, store), source)
