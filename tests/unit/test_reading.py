"""What is known of an event in one store, from one look; and one poller that looks for everybody who waits."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pytest

from logsync.core.book import Book, Skip
from logsync.core.codec import LOOK_BACK
from logsync.core.offsets import Offsets
from logsync.core.position import LogIdentity, Position
from logsync.core.receipt import Receipt, merge
from logsync.core.view import NO_RETRIES, Place, Retried, Sight, View
from logsync.errors import ConfigError, LogIdentityError, StoreUnavailable
from logsync.reading import Seen, State, Views
from logsync.reading.judging import asked_for, by_type, check_receipt, judge
from logsync.reading.pace import Pace
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.testing.store_contract.making import waiting
from tests.unit.shop import make_sink
from tests.waiting import PATIENCE

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINK = make_sink()
BOOK = Book(sink="db", environment="default", log=LogIdentity("c", "test.shop", "id", 2), handled=SINK.handled)
RECEIPT = Receipt("e", "test.shop", 1, 7, "id", "order.placed")


def at(next_offset: int, epoch: int = 1) -> dict[int, Position]:
    return {0: Position(0, 0, epoch), 1: Position(1, next_offset, epoch)}


def said(sight: Sight, receipt: Receipt = RECEIPT) -> Seen:
    return judge(receipt, SINK, "default", sight)


def test_an_event_below_the_position_is_applied() -> None:
    assert said(Sight(BOOK, at(8), {})) == Seen(State.APPLIED, "db")


def test_an_event_at_or_behind_the_position_is_not_and_the_distance_is_told() -> None:
    assert said(Sight(BOOK, at(7), {})) == Seen(State.BEHIND, "db", events=1)
    assert said(Sight(BOOK, at(2), {})) == Seen(State.BEHIND, "db", events=6)


def test_a_parked_event_is_parked_although_the_position_is_past_it() -> None:
    seen = said(Sight(BOOK, at(9), {(1, 7): "HandlerError: no"}))
    assert (seen.state, seen.why) == (State.PARKED, "HandlerError: no")
    assert said(Sight(BOOK, at(9), {(0, 7): "another partition"})).state is State.APPLIED


def test_an_event_that_a_person_skipped_is_passed_over() -> None:
    skip = Skip(partition=1, offsets=Offsets([7]), reason="noise", at=NOON)
    seen = said(Sight(BOOK.next(skips=(skip,)), at(9), {}))
    assert (seen.state, seen.why) == (State.PASSED_OVER, "skipped by hand: noise")
    other = skip.model_copy(update={"partition": 0})
    assert said(Sight(BOOK.next(skips=(other,)), at(9), {})).state is State.APPLIED
    assert said(Sight(BOOK.next(skips=(skip,)), at(7), {})).state is State.BEHIND


def test_a_type_that_an_older_worker_passes_over_was_not_applied() -> None:
    assert said(Sight(BOOK.next(skipped=frozenset({"order.placed"})), at(9), {})).state is State.PASSED_OVER


def test_a_rebuild_is_not_through_before_every_partition_is_where_the_log_ended() -> None:
    rebuilt = BOOK.next(epoch=2, rebuilt_to={0: 0, 1: 20})
    assert said(Sight(BOOK.next(state="wiping", epoch=2), {}, {})).state is State.REBUILDING
    assert said(Sight(rebuilt, at(9, epoch=2), {})).state is State.REBUILDING
    assert said(Sight(rebuilt, at(20, epoch=1), {})).state is State.REBUILDING, "positions of the epoch before it"
    assert said(Sight(rebuilt, {1: Position(1, 20, 2)}, {})).state is State.REBUILDING
    assert said(Sight(rebuilt, at(20, epoch=2), {})).state is State.APPLIED


def test_a_store_that_never_saw_the_sink_has_not_started() -> None:
    assert said(Sight(None, {}, {})).state is State.NOT_STARTED
    lost = said(Sight(BOOK, {0: Position(0, 3)}, {}))
    assert lost.state is State.NOT_STARTED
    assert "doctor" in lost.why


def test_a_receipt_of_another_log_is_refused_and_not_waited_for() -> None:
    with pytest.raises(ConfigError, match="other"):
        check_receipt(RECEIPT._replace(topic="other.topic"), SINK)
    with pytest.raises(LogIdentityError, match="another one of this name"):
        said(Sight(BOOK, at(9), {}), RECEIPT._replace(topic_id="recreated"))
    with pytest.raises(LogIdentityError, match="partition 2"):
        said(Sight(BOOK, at(9), {}), Receipt("e", "test.shop", 2, 7))
    assert said(Sight(BOOK, at(9), {}), RECEIPT._replace(topic_id="")).state is State.APPLIED, "of an older producer"


AGAIN = RECEIPT._replace(since=3)


def test_a_retried_append_is_asked_about_with_all_that_may_be_its_first_attempt() -> None:
    assert asked_for([RECEIPT, AGAIN._replace(offset=9)]) == ({(1, 7), (1, 9)}, {(1, 9): Retried("e", 3)})
    far = AGAIN._replace(offset=LOOK_BACK + 10)
    assert asked_for([far])[1] == {(1, far.offset): Retried("e", 10)}, "workers look back no further"


def test_what_may_be_the_first_attempt_of_a_retried_append_and_was_skipped_is_not_called_applied() -> None:
    def seen(offsets: set[int], receipt: Receipt = AGAIN, partition: int = 1) -> State:
        skip = Skip(partition=partition, offsets=Offsets(offsets), reason="noise", at=NOON)
        return said(Sight(BOOK.next(skips=(skip,)), at(9), {}), receipt).state

    assert seen({3}) is seen({6}) is seen({0, 4, 20}) is State.PASSED_OVER
    assert seen({0, 1, 2, 8}) is seen({5}, partition=0) is seen({5}, RECEIPT) is State.APPLIED


def test_a_store_of_another_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match="LOGSYNC_ENVIRONMENT=default"):
        judge(RECEIPT, SINK, "staging", Sight(BOOK, at(9), {}))


def test_a_type_without_a_handler_is_told_by_the_receipt_alone() -> None:
    seen = by_type(RECEIPT._replace(type="page.seen"), SINK)
    assert seen is not None
    assert seen.state is State.PASSED_OVER
    assert by_type(RECEIPT, SINK) is None
    assert by_type(RECEIPT._replace(type=""), SINK) is None


def test_merged_receipts_keep_the_last_of_each_log_partition_and_type() -> None:
    later, other = RECEIPT._replace(offset=9, event_id="l"), RECEIPT._replace(offset=3, type="page.seen")
    elsewhere = RECEIPT._replace(topic="t2"), RECEIPT._replace(partition=0), RECEIPT._replace(topic_id="new")
    assert set(merge([RECEIPT, later, other, *elsewhere])) == {later, other, *elsewhere}
    assert merge([]) == ()


def test_the_pace_is_told_once_two_samples_differ() -> None:
    pace, behind = Pace(), Seen(State.BEHIND, "db", events=50)
    pace.note(0.0, at(0))
    assert pace.seconds(RECEIPT, behind) is None
    pace.note(1.0, at(0))
    assert pace.seconds(RECEIPT, behind) is None, "it stands still"
    pace.note(2.0, at(100))
    assert pace.seconds(RECEIPT, behind) == 1.0
    pace.note(3.0, at(10, epoch=2))
    assert pace.seconds(RECEIPT, behind) is None, "a rebuild"


class Watched(Memory):
    """A store whose looks are counted, delayed and broken by the test."""

    def __init__(self) -> None:
        super().__init__(Server())
        self.looks: list[set[Place]] = []
        self.closed = self.dropped = 0
        self.error: Exception | None = None
        self.hangs = threading.Event()
        self.hangs.set()
        self.set(0)

    def set(self, next_offset: int, book: Book | None = BOOK) -> None:
        if book is not None:
            self.server.books["db"] = book
        self.server.positions["db"] = at(next_offset)

    def view(self, sink: str, settings: object = None) -> View:
        return _WatchedView(self, super().view(sink))


class _WatchedView:
    def __init__(self, store: Watched, view: View) -> None:
        self._store, self._view = store, view

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        self._store.looks.append(set(asked))
        if self._store.error is not None:
            raise self._store.error
        self._store.hangs.wait(PATIENCE)
        return self._view.look(asked, retried)

    def close(self) -> None:
        self._store.closed += 1

    def __del__(self) -> None:
        self._store.dropped += 1


def views(store: Watched) -> Views:
    return Views(make_sink(store), settings=Settings(_env_file=None))


def test_waiting_ends_when_the_event_is_applied() -> None:
    store = Watched()
    with views(store) as held:
        threading.Timer(0.05, lambda: store.set(8)).start()
        assert held.wait(RECEIPT, "db", timeout=PATIENCE) == Seen(State.APPLIED, "db")


def test_waiting_ends_at_its_timeout_with_what_is_known() -> None:
    with views(Watched()) as held:
        assert held.wait(RECEIPT, "db", timeout=0.1) == Seen(State.BEHIND, "db", events=8)


def test_a_store_that_hangs_is_unreachable_within_the_timeout() -> None:
    store = Watched()
    store.hangs.clear()
    with views(store) as held:
        assert held.wait(RECEIPT, "db", timeout=0.1).state is State.UNREACHABLE
        assert held.freshest(RECEIPT, "db", timeout=0.1) is None
        store.hangs.set()
        store.set(8)
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED


def test_an_outage_is_waited_for_and_told_when_time_is_over() -> None:
    store = Watched()
    store.set(8)
    store.error = StoreUnavailable("it is down")
    with views(store) as held:
        seen = held.wait(RECEIPT, "db", timeout=0.2)
        assert (seen.state, seen.why) == (State.UNREACHABLE, "it is down")

        def mend() -> None:
            store.error = None

        threading.Timer(0.05, mend).start()
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED


@pytest.mark.parametrize("error", [ConfigError("no rights"), LogIdentityError("another log"), RuntimeError("a bug")])
def test_what_a_person_has_to_mend_is_raised_at_once(error: Exception) -> None:
    store = Watched()
    store.error = error
    with views(store) as held, pytest.raises(Exception, match=r"no rights|another log|RuntimeError"):
        held.wait(RECEIPT, "db", timeout=PATIENCE)


def test_a_thousand_waiters_cost_one_poll() -> None:
    store = Watched()
    with views(store) as held:

        async def wait_all() -> list[Seen]:
            waits = [held.seen(RECEIPT._replace(offset=n), "db", timeout=PATIENCE) for n in range(1_000)]
            return await asyncio.gather(*waits)

        began = time.monotonic()
        threading.Timer(0.3, lambda: store.set(1_000)).start()
        found = asyncio.run(wait_all())
        took = time.monotonic() - began
    assert {seen.state for seen in found} == {State.APPLIED}
    assert len(store.looks) <= took / 0.003 + 2, "one look at a time, however many wait"
    assert len(store.looks[-1]) > 1


def test_several_sinks_are_as_late_as_the_last_of_them() -> None:
    db, cache = Watched(), Watched()
    db.set(8)
    other = make_sink(cache)
    other.name = "cache"
    cache.server.books["cache"] = BOOK
    cache.server.positions["cache"] = at(3)
    held = Views(make_sink(db), other, settings=Settings(_env_file=None))
    with held:
        seen = held.wait(RECEIPT, "db", "cache", timeout=0.1)
        assert (seen.sink, seen.state) == ("cache", State.BEHIND)
        assert held.freshest(RECEIPT, "cache", "db", timeout=PATIENCE) == "db"
        assert asyncio.run(held.freshest_async(RECEIPT, "cache", "db", timeout=PATIENCE)) == "db"
        assert held.freshest(RECEIPT, "cache", timeout=PATIENCE) is None
        with pytest.raises(ConfigError, match="known: cache, db"):
            held.wait(RECEIPT, "search")
        with pytest.raises(ConfigError, match="no sink is named"):
            held.wait(RECEIPT)


def test_of_several_receipts_the_furthest_from_applied_is_told() -> None:
    store = Watched()
    store.set(8)
    later = RECEIPT._replace(offset=20)
    page = RECEIPT._replace(offset=50, type="page.seen")
    with views(store) as held:
        assert held.wait([RECEIPT, page, later], "db", timeout=0.1) == Seen(State.BEHIND, "db", events=13)
        assert held.wait([RECEIPT, page], "db", timeout=PATIENCE).state is State.APPLIED, "the sink handles only one"
        assert held.wait([page], "db", timeout=PATIENCE).state is State.PASSED_OVER
        assert held.wait([], "db").state is State.APPLIED


def test_a_parked_event_is_told_although_a_later_one_was_applied() -> None:
    store = Watched()
    store.set(9)
    store.server.parked["db"] = {(1, 4): waiting(4, partition=1)}
    with views(store) as held:
        assert held.wait([RECEIPT, RECEIPT._replace(offset=4)], "db", timeout=PATIENCE).state is State.PARKED


def test_a_retried_append_is_parked_as_its_original_is() -> None:
    store = Watched()
    store.set(9)
    store.server.parked["db"] = {(1, 4): waiting(4, partition=1)._replace(event_id="e")}
    with views(store) as held:
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED, "another append of the same id"
        assert held.wait(AGAIN, "db", timeout=PATIENCE).state is State.PARKED
        assert held.wait(AGAIN._replace(since=5), "db", timeout=PATIENCE).state is State.APPLIED
        assert held.wait(AGAIN._replace(event_id="f"), "db", timeout=PATIENCE).state is State.APPLIED


def test_a_waiter_that_is_cancelled_leaves_nothing_behind() -> None:
    store = Watched()
    held = views(store)

    async def cancel() -> None:
        task = asyncio.create_task(held.seen(RECEIPT, "db", timeout=PATIENCE))
        while not store.looks:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with held:
        asyncio.run(cancel())
        assert not held._pollers["db"]._waiters


def test_the_thread_and_its_connection_go_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logsync.reading.poller.ENDS_AFTER", 0.05)
    store = Watched()
    store.set(8)
    held = views(store)
    for _ in range(2):
        closed = store.closed
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED
        deadline = time.monotonic() + PATIENCE
        while store.closed == closed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held._pollers["db"]._thread is None


def test_a_child_asks_over_a_connection_of_its_own() -> None:
    store = Watched()
    store.set(8)
    with views(store) as held:
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED
        made = len(store.looks)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                seen = held.wait(RECEIPT, "db", timeout=PATIENCE)
                os.write(writer, f"{seen.state} {store.closed + store.dropped} {len(store.looks) - made}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"applied 0 1", "the parent's connection is left alone"
        assert held.wait(RECEIPT, "db", timeout=PATIENCE).state is State.APPLIED
