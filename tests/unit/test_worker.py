"""The loop, over a log and a store in memory: what it does about every kind of trouble."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from logsync import Log, Sink
from logsync.core.book import Book, Skip
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.offsets import Offsets
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.store import Traits
from logsync.errors import (
    ConfigError,
    DecodeError,
    HandlerError,
    LogIdentityError,
    PositionConflict,
    PositionGap,
    StoreOutcomeUnknown,
    StoreUnavailable,
    UnknownEventType,
    WriteRejected,
)
from logsync.log.contract import Batch
from logsync.observe.health import ready
from logsync.ops import rebuild as rebuilding
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.worker_status import WorkerState
from logsync.writes.rows import Increment, Upsert
from tests.unit.shop import OrderCancelled, OrderPlaced, PageSeen, log, make_sink


class Clock:
    """Time that stands still until a test moves it; every look at it costs a little, so waits end."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.2
        return self.now


class Flaky(Memory):
    """A Memory whose next applies do what the test says: an error before, or after, they took effect."""

    def __init__(self, server: Server | None = None) -> None:
        super().__init__(server)
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.opens = 0

    def open(self, sink: str, settings: Settings | None = None) -> None:
        self.opens += 1
        super().open(sink, settings)

    def apply(self, plan: Plan) -> None:
        if self.before:
            raise self.before.pop(0)
        super().apply(plan)
        if self.after:
            raise self.after.pop(0)


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, environment="test", **changes)  # type: ignore[call-arg, arg-type]


def worker(source: MemoryLog, store: Memory | None = None, *, sink: object = None, **options: object) -> Worker:
    sink = sink or make_sink(store)
    return Worker(sink, MemoryReader(source), settings(), clock=Clock(), chance=lambda: 0.5, **options)  # type: ignore[arg-type]


def finish(made: Worker, source: MemoryLog) -> Worker:
    """Run until every partition is at the log's end."""
    turns = iter(range(2000))

    def done(report: object) -> bool:
        read = {partition.number: partition.stored for partition in made._read}
        at_end = len(read) == len(source.records) and all(
            position.next_offset == len(source.records[number]) for number, position in read.items()
        )
        if not at_end and next(turns, None) is None:
            pytest.fail(f"the worker does not get to the end: {made.status}")
        return at_end

    made.run(done)
    return made


def three() -> MemoryLog:
    source = MemoryLog(log)
    source.append(OrderPlaced(order="a", cents=5))
    source.append(OrderPlaced(order="b", cents=7))
    source.append(OrderPlaced(order="a", cents=6))
    return source


def test_it_applies_the_log_and_commits_after_the_store_moved() -> None:
    source, store = three(), Memory()
    finish(worker(source, store), source)
    assert store.content.row("orders", order="a") == {"order": "a", "cents": 6}
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert store.positions()[0].next_offset == source.committed[0] == 3


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


def test_a_type_that_the_log_does_not_know_halts_unless_the_sink_says_skip() -> None:  # T1
    source = three()
    source.append_raw(b"k", b"{}", [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"stranger")])
    with pytest.raises(UnknownEventType, match="stranger"):
        finish(worker(source, Memory()), source)
    store = Memory()
    made = finish(worker(source, sink=make_sink(store, unknown="skip")), source)
    assert made.status.skipped == {"unknown:stranger": 1}


def test_a_known_type_without_a_handler_is_skipped_counted_and_remembered() -> None:  # T1 T2
    source, store = three(), Memory()
    source.append(PageSeen(page="/"))
    made = finish(worker(source, store), source)
    assert made.status.skipped == {"unhandled:page.seen": 1}
    book = store.read_book()
    assert book
    assert book.skipped == {"page.seen"}


def test_a_handler_that_comes_too_late_is_refused_and_accepted_by_name() -> None:  # T2
    source, store = three(), Memory()
    source.append(PageSeen(page="/"))
    finish(worker(source, store), source)

    def late() -> object:
        sink = make_sink(store)
        sink.on(PageSeen)(lambda event: Upsert("pages", {"page": event.data.page}))
        return sink

    with pytest.raises(ConfigError, match=r"page\.seen") as caught:
        finish(worker(source, sink=late()), source)
    assert "--accept-from-now" in str(caught.value)
    source.append(PageSeen(page="/new"))
    finish(worker(source, sink=late(), accept_from_now=True), source)
    assert store.content.tables["pages"] == [{"page": "/new"}]
    book = store.read_book()
    assert book
    assert book.audit[-1].action == "accept-from-now"


def test_a_handler_for_a_type_that_was_never_skipped_needs_no_word() -> None:  # T2
    source, store = three(), Memory()
    finish(worker(source, store), source)
    sink = make_sink(store)
    sink.on(PageSeen)(lambda event: Upsert("pages", {"page": event.data.page}))
    source.append(PageSeen(page="/"))
    finish(worker(source, sink=sink), source)
    assert store.content.tables["pages"] == [{"page": "/"}]


def test_no_position_over_a_store_with_data_is_refused() -> None:  # P1
    source, store = three(), Memory()
    finish(worker(source, store), source)
    store.server.books.clear()
    store.server.positions.clear()
    with pytest.raises(ConfigError, match="holds data") as caught:
        finish(worker(source, store), source)
    assert "logsync rebuild db" in str(caught.value)
    assert "--from-log-start" in str(caught.value)


def test_no_position_over_a_log_without_its_head_is_refused() -> None:  # P1
    source = three()
    source.starts[0] = 1
    with pytest.raises(ConfigError, match="no longer begins at 0"):
        finish(worker(source, Memory()), source)
    store = Memory()
    finish(worker(source, store, from_log_start=True), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 13}


def test_a_book_without_its_position_is_refused() -> None:  # P1
    source, store = three(), Memory()
    finish(worker(source, store), source)
    store.server.positions.clear()
    with pytest.raises(ConfigError, match="no position for partition 0"):
        finish(worker(source, store), source)


def test_a_topic_recreated_while_the_worker_runs_is_noticed_before_the_next_apply() -> None:  # L1
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    source.identity = source.identity._replace(topic_id="another")
    source.append(OrderPlaced(order="z", cents=1))
    made._clock.now += 2  # type: ignore[attr-defined]
    with pytest.raises(LogIdentityError, match="topic_id"):
        finish(made, source)
    assert store.positions()[0].next_offset == 3


def test_an_answer_from_before_a_standstill_is_no_look_of_now() -> None:  # L1
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    answer, time = made.reader.identity, [5000.0]

    def stands_still() -> LogIdentity:
        found = answer()
        if found.topic_id != "another":  # asked, answered, and before the answer is read the topic is made again
            source.identity = source.identity._replace(topic_id="another")
            source.append(OrderPlaced(order="z", cents=1))
            time[0] += 60
        return found

    made.reader.identity = stands_still  # type: ignore[method-assign]
    made._clock = lambda: time[0]
    made.step()
    with pytest.raises(LogIdentityError, match="topic_id"):
        made.step()
    assert store.positions()[0].next_offset == 3


def test_a_log_that_lost_its_tail_and_grew_again_is_noticed() -> None:  # L2
    source, store = three(), Memory()
    finish(worker(source, store), source)
    source.records[0][2] = source.records[0][2]._replace(headers=[("ce_id", b"somebody-else")])
    source.append(OrderPlaced(order="z", cents=1))
    with pytest.raises(LogIdentityError, match="lost its tail"):
        finish(worker(source, store), source)


@pytest.mark.parametrize(
    ("start", "keep", "words"), [(2, 3, "deleted by retention"), (0, 0, "lost 1 offsets at its end")]
)
def test_a_position_outside_the_log_halts(start: int, keep: int, words: str) -> None:  # L4
    source, store = three(), Memory()
    made = worker(source, store)
    made.reader.at_most = 1  # type: ignore[attr-defined]
    made.run(lambda report: report.applied == 1)
    source.starts[0] = start
    del source.records[0][keep:]
    with pytest.raises(PositionGap, match=words):
        finish(worker(source, store), source)


def test_another_environments_store_is_refused() -> None:  # P3
    source, store = three(), Memory()
    finish(worker(source, store), source)
    other = Settings(_env_file=None, environment="staging")  # type: ignore[call-arg]
    made = Worker(make_sink(store), MemoryReader(source), other)
    with pytest.raises(ConfigError, match="environment 'test'"):
        finish(made, source)


def test_a_retry_whose_original_is_in_the_log_is_applied_once() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.skipped == {"duplicate:order.placed": 1}


def test_a_lookup_that_goes_on_counts_as_alive() -> None:
    """A range of the log may take minutes; the health check must not end the worker for it."""
    source, clock, still = three(), Clock(), []

    class Slow(MemoryReader):
        def find(self, *args: Any, meanwhile: Callable[[], None], **options: Any) -> dict[str, int]:
            clock.now += 1000
            found = super().find(*args, meanwhile=meanwhile, **options)
            still.append(clock.now - made.status.turned_at)
            return found

    original = source.records[0][1]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    made = Worker(make_sink(), Slow(source), settings(), clock=clock)
    finish(made, source)
    assert [seconds < 100 for seconds in still] == [True]


def test_a_retry_whose_original_never_arrived_is_applied() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    headers = [(n, b"new" if n == "ce_id" else v) for n, v in original.headers]
    source.append_raw(original.key, original.value, [*headers, (RETRY_FROM, b"1")])
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}


def test_a_retry_of_a_retry_is_applied_once_although_no_original_arrived() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    headers = [(n, b"new" if n == "ce_id" else v) for n, v in original.headers]
    for _ in range(2):
        source.append_raw(original.key, original.value, [*headers, (RETRY_FROM, b"1")])
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}
    assert made.status.skipped == {"duplicate:order.placed": 1}


@pytest.mark.parametrize("at_most", [1, 2, 100])
def test_the_verdict_on_a_retry_does_not_depend_on_the_batch_it_came_in(at_most: int) -> None:  # A1
    source, store = three(), Memory()
    first, second = source.records[0][0], source.records[0][1]
    source.append_raw(first.key, first.value, [*first.headers, (RETRY_FROM, b"0")])  # its range holds the original
    source.append_raw(second.key, second.value, [*second.headers, (RETRY_FROM, b"3")])  # its range does not
    made = worker(source, store)
    made.reader.at_most = at_most  # type: ignore[attr-defined]
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}
    assert made.status.skipped == {"duplicate:order.placed": 1}


def test_kafka_that_does_not_answer_is_waited_for() -> None:
    source, store = three(), Memory()
    source.down = True
    made = worker(source, store)
    made.run(lambda report: report.retries == 3)
    source.down = False
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_topic_that_is_not_there_halts_although_nothing_is_ever_assigned() -> None:
    class Nowhere(MemoryReader):
        def poll(self, timeout: float, limit: int) -> Batch:
            return Batch([], [], [])

        def identity(self) -> LogIdentity:
            raise ConfigError("there is no such topic")

    made = Worker(make_sink(Memory()), Nowhere(MemoryLog(log)), settings(), clock=Clock())
    with pytest.raises(ConfigError, match="no such topic"):
        made.run(lambda report: report.retries > 3)


def rebuilt(store: Memory, epoch: int) -> None:
    book = store.read_book()
    assert book
    wiping = book.next(state="wiping", epoch=epoch)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, epoch)])


def test_a_store_that_is_rebuilt_while_the_log_is_quiet_is_filled_again_by_the_idle_worker() -> None:  # I2 P2
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    rebuilt(store, 2)
    made.run(lambda report: report.applied >= 6)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.conflicts == 0


def test_a_store_that_is_restored_while_the_log_is_quiet_catches_up_although_nobody_appends() -> None:  # I2 P2
    source, store = three(), Memory()
    store.open("db")
    finish(worker(source, store), source)
    backup = (copy.deepcopy(store.content), dict(store.server.positions["db"]))
    source.append(OrderPlaced(order="c", cents=1))
    made = finish(worker(source, store), source)
    store.server.contents["db"], store.server.positions["db"] = backup  # the book is the same: only positions tell
    turns = iter(range(200))
    made.run(lambda report: report.retries > 0 or next(turns, None) is None)
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}


def test_conflicts_that_are_far_apart_do_not_add_up() -> None:  # P3
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    for epoch in range(2, 7):
        rebuilt(store, epoch)
        source.append(OrderPlaced(order="x", cents=0))
        finish(made, source)
        made._clock.now += 3600  # type: ignore[attr-defined]
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_version_without_handler_halts_at_its_event_with_everything_before_it_applied() -> None:  # T1
    versions = Log("test.versions")

    @versions.event("a", key="k")
    class First(BaseModel):
        k: str

    @versions.event("a", key="k", version=2)
    class Second(BaseModel):
        k: str

    store = Memory()
    sink = Sink("db", versions, store)
    sink.on(Second)(lambda event: Upsert("seen", {"k": event.data.k}))
    source = MemoryLog(versions)
    source.append(Second(k="good"))
    source.append(First(k="old"))
    with pytest.raises(UnknownEventType, match="version 1"):
        finish(worker(source, sink=sink), source)
    assert store.positions()[0].next_offset == 1
    assert store.content.tables["seen"] == [{"k": "good"}]


def test_decoder_and_reader_agree_on_the_id_of_a_record_with_two() -> None:  # L2
    source, store = three(), Memory()
    last = source.records[0][2]
    source.records[0][2] = last._replace(headers=[("ce_id", b"another"), *last.headers])
    finish(worker(source, store), source)
    source.append(OrderPlaced(order="z", cents=1))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}


def test_a_type_that_an_older_worker_passed_over_during_a_deploy_is_refused_as_late() -> None:  # T2
    source, store = three(), Memory()
    source.append(PageSeen(page="/"))
    finish(worker(source, store), source)
    book = store.read_book()
    assert book
    store.write_book(book.next(handled=book.handled | {"page.seen"}))  # the new worker had started meanwhile
    sink = make_sink(store)
    sink.on(PageSeen)(lambda event: Upsert("pages", {"page": event.data.page}))
    with pytest.raises(ConfigError, match=r"page\.seen"):
        finish(worker(source, sink=sink), source)


def test_a_stranger_that_was_skipped_is_remembered_and_its_late_handler_refused() -> None:  # T2
    source, store = three(), Memory()
    source.append_raw(b"k", b"{}", [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"stranger")])
    finish(worker(source, sink=make_sink(store, unknown="skip")), source)
    book = store.read_book()
    assert book
    assert book.skipped == {"stranger"}


def test_a_worker_without_a_partition_is_a_spare_one_and_ready() -> None:
    class Spare(MemoryReader):
        def poll(self, timeout: float, limit: int) -> Batch:
            return Batch([], [], [])

    made = Worker(make_sink(Memory()), Spare(MemoryLog(log)), settings(), clock=Clock())
    turns = iter(range(200))
    made.run(lambda report: report.state is WorkerState.STANDBY or next(turns, None) is None)
    assert ready(made.status, made._clock())[0]


def test_a_rebuild_that_another_one_overtook_deletes_nothing_of_its_replay() -> None:
    source, store = three(), Memory()
    finish(worker(source, store), source)
    identity = source.identity

    def rebuild() -> None:
        plan_ = rebuilding.plan_rebuild(store, identity, {0: (0, 3)})
        rebuilding.rebuild(
            make_sink(store),
            store,
            plan_,
            environment="test",
            from_log_start=False,
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )

    wipe = store.wipe

    def slow_wipe(book: Book) -> None:  # while the first rebuild stands here, another gets through and is replayed
        store.wipe = wipe  # type: ignore[method-assign]
        rebuild()
        finish(worker(source, store), source)
        wipe(book)

    store.wipe = slow_wipe  # type: ignore[method-assign]
    with pytest.raises(PositionConflict):
        rebuild()
    assert store.positions()[0].next_offset == 3
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_rebuild_under_way_is_waited_for() -> None:
    source, store = three(), Memory()
    finish(worker(source, store), source)
    book = store.read_book()
    assert book
    wiping = book.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    made = worker(source, store)
    made.run(lambda report: report.retries == 3)
    assert "rebuild" in made.status.reason
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


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
