"""Where a worker may begin: positions that are missing, moved, or of another log."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import pytest

from logsync.core.book import Book
from logsync.core.position import LogIdentity, Position
from logsync.errors import (
    ConfigError,
    LogIdentityError,
    PositionConflict,
    PositionGap,
)
from logsync.log.contract import Batch
from logsync.ops import rebuild as rebuilding
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.working import Clock, finish, rebuilt, settings, three, worker


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


def test_a_topic_that_is_not_there_halts_although_nothing_is_ever_assigned() -> None:
    class Nowhere(MemoryReader):
        def poll(self, timeout: float, limit: int) -> Batch:
            return Batch([], [], [])

        def identity(self) -> LogIdentity:
            raise ConfigError("there is no such topic")

    made = Worker(make_sink(Memory()), Nowhere(MemoryLog(log)), settings(), clock=Clock())
    with pytest.raises(ConfigError, match="no such topic"):
        made.run(lambda report: report.retries > 3)


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


def test_decoder_and_reader_agree_on_the_id_of_a_record_with_two() -> None:  # L2
    source, store = three(), Memory()
    last = source.records[0][2]
    source.records[0][2] = last._replace(headers=[("ce_id", b"another"), *last.headers])
    finish(worker(source, store), source)
    source.append(OrderPlaced(order="z", cents=1))
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}


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
