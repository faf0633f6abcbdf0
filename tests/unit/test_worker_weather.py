"""What a worker must not do while partitions move, stores race and transactions leave their marks.

Each of these stands for one line of the loop whose absence only a rare coincidence would show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import (
    ConfigError,
    LogsyncError,
    PositionConflict,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)
from logsync.log.contract import Batch, Part
from logsync.observe.health import ready
from logsync.read_ahead import AHEAD_FROM
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.worker_status import WorkerState, WorkerStatus
from logsync.writes.rows import Upsert
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink
from tests.unit.test_worker import Clock, Flaky, finish, rebuilt, settings, three, worker


def turn(made: Worker, times: int = 1) -> None:
    """Let the loop turn, with what it does about errors."""
    turns = iter([False] * times + [True])
    made.run(lambda _: next(turns))


def turn_until(made: Worker, condition: Callable[[WorkerStatus], bool]) -> None:
    for _ in range(500):
        if condition(made.status):
            return
        turn(made)
    pytest.fail(f"it does not come to that: {made.status}")


def assign(made: Worker, *partitions: int) -> None:
    assert isinstance(made.reader, MemoryReader)
    made.reader.assign(*partitions)


def test_a_partition_that_was_taken_away_is_forgotten_and_resumed_where_the_store_then_is() -> None:
    source, server = three(), Server()
    made = finish(worker(source, Memory(server)), source)
    assign(made)
    turn(made)
    assert made.status.positions == made.status.ends == {}
    assert made.status.state is WorkerState.JOINING
    source.append(OrderPlaced(order="z", cents=1))
    finish(worker(source, Memory(server)), source)
    assign(made, 0)
    source.append(OrderPlaced(order="z", cents=2))
    turn_until(made, lambda report: report.positions == {0: 5})
    assert made.sink.store.content.row("totals", name="cents") == {"name": "cents", "n": 21}  # type: ignore[attr-defined]
    assert made.status.retries == made.status.conflicts == 0


def test_a_partition_that_was_taken_and_given_back_between_two_turns_is_resumed() -> None:
    source, server = three(), Server()
    made = finish(worker(source, Memory(server)), source)
    assign(made)
    source.append(OrderPlaced(order="z", cents=1))
    finish(worker(source, Memory(server)), source)
    assign(made, 0)
    turn(made)
    assert made.status.positions == {0: 4}
    source.append(OrderPlaced(order="z", cents=2))
    finish(made, source)
    assert made.status.retries == made.status.conflicts == 0


def test_records_of_a_revoked_partition_are_not_applied_whatever_the_reader_brings() -> None:
    """A second line of defence: LogReader promises that there are none."""

    class Hasty(MemoryReader):
        def poll(self, timeout: float, limit: int) -> Batch:
            batch = super().poll(timeout, limit)
            return batch._replace(parts=[Part(0, self.source.records[0][3:], 0)]) if batch.revoked else batch

    source, store = three(), Memory()
    made = finish(Worker(make_sink(store), Hasty(source), settings(), clock=Clock()), source)
    source.append(OrderPlaced(order="z", cents=1))
    assign(made)
    turn(made, 3)
    assert store.positions()[0].next_offset == 3
    assert store.content.row("orders", order="z") is None


def test_records_that_were_read_before_an_outage_are_not_applied_from_the_middle_after_it() -> None:
    source, store = three(), Flaky()
    store.before = [StoreUnavailable("down")]
    made = worker(source, store)
    made.reader.at_most = 1  # type: ignore[attr-defined]
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_a_type_is_written_down_before_the_position_moves_past_it() -> None:  # T2
    class Killed(BaseException):
        pass

    class Dying(Memory):
        def apply(self, plan: Plan) -> None:
            super().apply(plan)
            raise Killed

    source, store = three(), Dying()
    source.append(PageSeen(page="/"))
    with pytest.raises(Killed):
        finish(worker(source, store), source)
    assert store.positions()[0].next_offset == 4
    book = store.read_book()
    assert book
    assert book.skipped == {"page.seen"}


class Overtaken(Memory):
    """Whatever is applied, another worker of the sink was faster with the same plan."""

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        super().apply(plan)


def test_conflicts_under_different_assignments_do_not_add_up() -> None:  # P3
    source, store = three(), Overtaken()
    for _ in range(6):
        source.append(OrderPlaced(order="z", cents=1))
    made = worker(source, store)
    made.reader.at_most = 1  # type: ignore[attr-defined]
    for conflicts in (2, 4, 6):
        turn_until(made, lambda report, expected=conflicts: report.conflicts == expected)  # type: ignore[misc]
        assign(made)
        turn(made)
        assign(made, 0)
    with pytest.raises(ConfigError, match="two programs"):
        turn_until(made, lambda _: False)
    assert made.status.conflicts == store.positions()[0].next_offset == 9
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 24}


def test_a_race_on_the_book_is_no_conflict_of_positions() -> None:  # P3
    class Contested(Memory):
        races = 5

        def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
            found = self.read_book()
            if found and self.races:  # another worker of the group wrote down something else
                self.races -= 1
                super().write_book(found.next())
            super().write_book(book, positions=positions)

    source, store = three(), Contested()
    source.append(PageSeen(page="/"))
    made = finish(worker(source, store), source)
    assert made.status.retries == 5
    assert made.status.conflicts == 0
    book = store.read_book()
    assert book
    assert book.skipped == {"page.seen"}


def test_a_worker_from_before_a_rebuild_writes_nothing_into_the_book_after_it() -> None:  # T2
    """Otherwise the handler that the rebuild was made for would be refused as one that came too late."""
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    rebuilt(store, 2)
    source.append(PageSeen(page="/"))
    turn(made)
    assert made.status.conflicts == 1
    book = store.read_book()
    assert book
    assert book.skipped == frozenset()
    sink = make_sink(store)
    sink.on(PageSeen)(lambda event: Upsert("pages", {"page": event.data.page}))
    finish(worker(source, sink=sink), source)
    assert store.content.tables["pages"] == [{"page": "/"}]


def test_a_book_that_went_away_under_a_worker_is_not_made_again_over_its_data() -> None:  # P1 T2
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    store.server.books.clear()
    source.append(PageSeen(page="/"))
    with pytest.raises(ConfigError, match="holds data"):
        finish(made, source)


def test_markers_at_the_end_of_the_log_are_passed_so_that_lag_reaches_zero() -> None:  # L4
    source, store = MemoryLog(log), Memory()
    source.append_marker()
    made = finish(worker(source, store), source)  # a log of nothing else
    source.append(OrderPlaced(order="a", cents=5))
    source.append_marker()
    finish(made, source)  # right behind a record
    source.append_marker()
    finish(made, source)  # while the log is quiet
    turn(made, 10)
    assert store.positions()[0].next_offset == source.committed[0] == 4
    assert made.status.lag == 0
    source.append(OrderPlaced(order="b", cents=7))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 12}


def test_a_topic_that_cannot_be_a_log_is_refused_before_the_store_is_claimed() -> None:  # L5
    class Compacted(MemoryReader):
        def check(self) -> None:
            raise ConfigError("the topic is compacted")

    source, store = three(), Memory()
    with pytest.raises(ConfigError, match="compacted"):
        finish(Worker(make_sink(store), Compacted(source), settings(), clock=Clock()), source)
    assert store.read_book() is None
    assert not store.content


@pytest.mark.parametrize("offset", [-1, 3, 5, 1000])  # none; one without writes; none yet; far past the log's end
def test_a_store_that_refuses_an_event_outside_the_plan_is_named_and_nothing_moves(offset: int) -> None:
    """Otherwise the plan would be cut there: at -1 without end, at 1000 by a position that no log has."""

    class Foreign(Memory):
        kind = "acme"
        refusals = 0

        def apply(self, plan: Plan) -> None:
            if self.refusals < 3:  # bounded, so that this test ends without the guard
                self.refusals += 1
                raise WriteRejected("no", offset=offset)
            super().apply(plan)

    source, store = three(), Foreign()
    source.append(PageSeen(page="/"))
    source.append(OrderPlaced(order="z", cents=1))
    made = worker(source, store)
    with pytest.raises(ConfigError, match="acme") as caught:
        turn(made, 3)
    assert str(offset) in str(caught.value)
    assert store.positions()[0].next_offset == 0
    assert not store.content


class SequenceSummary(Flaky):
    """Every apply waits long enough for all that the worker has to do meanwhile."""

    def apply(self, plan: Plan) -> None:
        while self.meanwhile is not None and self.meanwhile():
            self.waited += 1
        super().apply(plan)

    waited = 0


def eager(source: MemoryLog, store: Memory) -> Worker:
    """One record per poll, and each is enough to be read ahead."""
    made = Worker(
        make_sink(store, order="per-key"), MemoryReader(source), settings(batch_records=AHEAD_FROM), clock=Clock(),
        chance=lambda: 0.5,
    )  # fmt: skip
    made.reader.at_most = 1  # type: ignore[attr-defined]
    return made


def test_the_next_plans_events_are_decoded_while_the_store_waits() -> None:  # F1
    source, store = three(), SequenceSummary()
    made = eager(source, store)
    finish(made, source)
    # While the first of three is applied the second is decoded; then the first one's records and events are freed and
    # the third is decoded; then the second one's are freed.
    assert store.waited == 1 + 3 + 2
    turn(made)
    assert made._ahead._spent == []  # a quiet log leaves nothing in memory
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.batches == 3


def test_a_poll_that_brings_little_is_applied_in_its_own_turn() -> None:  # F1
    source, store = three(), Memory()
    made = worker(source, store)
    turn(made, 2)  # resume; then poll and apply
    assert store.positions()[0].next_offset == 3


@pytest.mark.parametrize(
    "error", [StoreUnavailable("down"), StoreOutcomeUnknown("lost"), PositionConflict("book_conflict")]
)
def test_what_was_read_ahead_of_a_plan_that_failed_is_not_applied(error: LogsyncError) -> None:  # I7
    source, store = three(), SequenceSummary()
    made = eager(source, store)
    turn(made, 2)
    store.before = [error]  # the first event's plan fails while the second event is read ahead
    finish(made, source)
    assert made.status.retries == 1
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_what_was_read_ahead_is_dropped_with_its_partition() -> None:  # I7
    source, store = three(), SequenceSummary()
    made = eager(source, store)
    turn(made, 3)
    assert store.positions()[0].next_offset == 1  # and the second event is read ahead
    assign(made)
    turn(made)
    assert store.positions()[0].next_offset == 1
    store.server.positions["db"][0] = Position(0, 0, 1)  # restored from a backup, while nobody owned it
    store.server.contents.clear()
    assign(made, 0)
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_what_was_read_ahead_is_dropped_when_its_partition_comes_back_in_the_same_turn() -> None:  # I7
    source, store = three(), SequenceSummary()
    made = eager(source, store)
    turn(made, 3)
    store.server.positions["db"][0] = Position(0, 0, 1)
    store.server.contents.clear()
    assign(made)
    assign(made, 0)
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_what_stands_behind_an_open_transaction_is_lag_and_not_the_end() -> None:
    source, store = three(), Memory()
    made = worker(source, store)
    finish(made, source)
    source.open_from[0] = 3  # the first of these is in a transaction that has not ended
    source.append(OrderPlaced(order="x", cents=1))
    source.append(OrderPlaced(order="y", cents=1))
    clock = made._clock
    assert isinstance(clock, Clock)
    for _ in range(60):
        clock.now += 1
        made.step()
    assert (made.status.lag, made.status.held) == (2, {0: 2})
    assert "2 of them stand behind a transaction that is open" in ready(made.status, clock())[1]
    assert not ready(made.status, clock())[0]
    source.open_from.clear()
    finish(made, source)
    made.step()
    clock.now += 1
    made.step()
    assert (made.status.lag, made.status.held) == (0, {})
