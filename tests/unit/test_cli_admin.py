"""Rebuild, forget and skip over a store in memory: what is written, in which order, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from logsync.cli.exits import Exit
from logsync.cli.status import CODES, worst
from logsync.core.book import Book, Skip
from logsync.core.event import Event, Record
from logsync.core.log import Log
from logsync.core.offsets import Offsets
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogIdentityError, PositionConflict
from logsync.ops import positions, records
from logsync.ops import rebuild as rebuilding
from logsync.ops.status import Row, SinkState, judge, too_far
from logsync.stores.memory import Memory, Server
from logsync.writes.rows import Upsert

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOG = LogIdentity("cluster", "things", "id-1", 1)
OTHER = LOG._replace(topic_id="id-2")
log = Log("things")


@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str


def a_sink(server: Server) -> Sink:
    sink = Sink("db", log, Memory(server))

    @sink.on(ThingMade)
    def made(event: Event[ThingMade]) -> Upsert:
        return Upsert("things", key={"name": event.data.name})

    sink.store.open("db", None)  # type: ignore[arg-type]
    return sink


def applied(sink: Sink, *, at: int = 3, **fields: Any) -> Book:
    """A store that holds one row and stands at ``at``."""
    book = Book(sink="db", environment="default", log=LOG, handled=sink.handled, **fields)
    sink.store.write_book(book, positions=[Position(0, 0)])
    sink.store.apply(
        Plan(Position(0, 0), Position(0, at, 1, at - 1, "e"), [Upsert("things", key={"name": "old"})], [at - 1])
    )
    return book


def look(sink: Sink, log: LogIdentity = LOG, low: int = 0, high: int = 9) -> rebuilding.RebuildPlan:
    return rebuilding.plan_rebuild(sink.store, log, {0: (low, high)})


def rebuild(
    sink: Sink, plan: rebuilding.RebuildPlan, *, from_log_start: bool = False, lose_parked: bool = False
) -> Book:
    return rebuilding.rebuild(
        sink, sink.store, plan, environment="default", from_log_start=from_log_start, lose_parked=lose_parked, now=NOW
    )


def test_rebuild_leaves_an_empty_store_at_the_logs_start_in_a_new_epoch() -> None:
    sink = a_sink(Server())
    applied(sink, skipped=frozenset({"thing.lost"}))
    book = rebuild(sink, look(sink))
    assert not sink.store.holds_data()
    assert sink.store.positions() == {0: Position(0, 0, epoch=2)}
    assert (book.epoch, book.state, book.skipped) == (2, "ready", frozenset())
    assert [entry.action for entry in book.audit] == ["rebuild"]
    assert sink.store.read_book() == book


def test_a_plan_made_before_the_rebuild_is_refused_after_it() -> None:
    sink = a_sink(Server())
    applied(sink, at=3)
    rebuild(sink, look(sink))
    stale = Plan(Position(0, 3), Position(0, 4, 1, 3, "f"), [Upsert("things", key={"name": "stale"})], [3])
    for plan in (stale, Plan(Position(0, 0), Position(0, 1, 1, 0, "e"), stale.writes, [0])):
        with pytest.raises(PositionConflict):
            sink.store.apply(plan)


def test_while_a_rebuild_wipes_nothing_can_be_applied_and_another_rebuild_finishes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = a_sink(Server())
    applied(sink)

    def dies(book: object) -> None:
        with pytest.raises(PositionConflict):
            sink.store.apply(Plan(Position(0, 3), Position(0, 4, 1, 3, "f"), [Upsert("t", key={"name": "x"})], [3]))
        raise KeyboardInterrupt

    monkeypatch.setattr(sink.store, "wipe", dies)
    with pytest.raises(KeyboardInterrupt):
        rebuild(sink, look(sink))
    monkeypatch.undo()
    book = sink.store.read_book()
    assert book is not None
    assert (book.state, sink.store.positions()) == ("wiping", {})
    again = rebuild(sink, look(sink))
    assert (again.state, again.epoch, len(again.audit)) == ("ready", 3, 2)
    assert not sink.store.holds_data()


def test_of_two_rebuilds_at_once_the_slower_one_wipes_nothing() -> None:
    sink = a_sink(Server())
    applied(sink)
    slow = look(sink)
    rebuild(sink, look(sink))
    sink.store.apply(Plan(Position(0, 0, 2), Position(0, 1, 2, 0, "e"), [Upsert("t", key={"name": "x"})], [0]))
    with pytest.raises(PositionConflict):
        rebuild(sink, slow)
    assert sink.store.holds_data()


def test_rebuild_follows_another_log_and_drops_the_skips_of_the_old_one() -> None:
    sink = a_sink(Server())
    skip = Skip(partition=0, offsets=Offsets([7]), reason="bad", at=NOW)
    applied(sink, skips=(skip,))
    assert rebuild(sink, look(sink)).skips == (skip,)
    book = rebuild(sink, look(sink, OTHER))
    assert (book.log, book.skips) == (OTHER, ())


def parks(sink: Sink, count: int) -> None:
    """The first ``count`` records are parked, and the one at 1 was given up."""
    applied(sink, at=count)
    at = sink.store.positions()[0]
    entries = [
        Parked(0, n, f"key {n}", f"id-{n}", "t", "HandlerError", "", NOW, NOW, 1, Record(0, n, None, b"", []))
        for n in range(count)
    ]
    entries[1] = entries[1]._replace(discarded="noise")
    sink.store.apply(Plan(at, at.released(), parked=entries))


@pytest.mark.parametrize(("log", "low", "gone"), [(LOG, 0, 0), (LOG, 1, 1), (LOG, 170, 169), (OTHER, 0, 249)])
def test_rebuild_deletes_the_last_copy_of_an_event_only_on_somebodys_word(
    log: LogIdentity, low: int, gone: int
) -> None:
    sink = a_sink(Server())
    parks(sink, 250)  # more than a store gives at once
    plan = look(sink, log, low, 300)
    assert plan.only_copies == gone
    if gone:
        with pytest.raises(ConfigError, match=f"^{gone} parked events of db stand in the log no more"):
            rebuild(sink, plan, from_log_start=True)
        assert len(sink.store.parked(0, limit=300)) == 250
    book = rebuild(sink, plan, from_log_start=True, lose_parked=bool(gone))
    assert sink.store.parked(0) == []
    assert book.audit[-1].detail.get("parked_lost", 0) == gone


def test_rebuild_works_without_a_book_though_content_is_there() -> None:
    server = Server()
    sink = a_sink(server)
    applied(sink)
    server.books.clear()
    server.positions.clear()
    assert look(sink).holds_data
    assert rebuild(sink, look(sink)).epoch == 1
    assert not sink.store.holds_data()
    assert sink.store.positions() == {0: Position(0, 0)}


def test_rebuild_from_a_log_without_its_head_needs_a_word_and_begins_where_the_log_does() -> None:
    sink = a_sink(Server())
    applied(sink)
    with pytest.raises(ConfigError, match="--from-log-start"):
        rebuild(sink, look(sink, low=5))
    assert sink.store.holds_data()
    book = rebuild(sink, look(sink, low=5), from_log_start=True)
    at = sink.store.positions()[0]
    assert at == Position(0, 5, epoch=2, sources=at.sources)
    assert book.audit[-1].detail["log_starts"] == {"0": 5}


def test_forget_removes_positions_and_keeps_content_and_record() -> None:
    sink = a_sink(Server())
    applied(sink)
    book = positions.forget(sink.store, sink="db", now=NOW)
    assert (sink.store.positions(), sink.store.holds_data()) == ({}, True)
    assert (book.audit[0].action, book.audit[0].detail) == ("forget", {"0": 3})


def test_skip_is_on_record_once_and_only_ahead_of_the_position() -> None:
    sink = a_sink(Server())
    applied(sink, at=3)
    for _ in range(2):
        book = records.skip(sink.store, Record(0, 3, None, b"", []), sink="db", reason="noise", now=NOW)
    assert [(s.partition, str(s.offsets), s.reason) for s in book.skips] == [(0, "3", "noise")]
    assert [entry.action for entry in book.audit] == ["skip"]
    with pytest.raises(ConfigError, match="its next offset is 3"):
        records.skip(sink.store, Record(0, 2, None, b"", []), sink="db", reason="late", now=NOW)


def test_a_record_of_another_log_is_not_skipped_in_this_one() -> None:
    """The settings point elsewhere: the offset that was shown there is another record here."""
    sink = a_sink(Server())
    applied(sink, at=3)
    before, record = sink.store.read_book(), Record(0, 3, None, b"", [])
    with pytest.raises(LogIdentityError, match="another log than this record"):
        records.skip(sink.store, record, sink="db", reason="noise", now=NOW, log=OTHER)
    assert sink.store.read_book() == before
    assert records.skip(sink.store, record, sink="db", reason="noise", now=NOW, log=LOG).skips


def test_skip_is_written_on_top_of_what_a_worker_wrote_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = a_sink(Server())
    book = applied(sink)
    positions = sink.store.positions

    def worker_writes_first() -> dict[int, Position]:
        monkeypatch.undo()
        sink.store.write_book(book.next(skipped=frozenset({"thing.lost"})))
        return positions()

    monkeypatch.setattr(sink.store, "positions", worker_writes_first)
    after = records.skip(sink.store, Record(0, 3, None, b"", []), sink="db", reason="noise", now=NOW)
    assert (after.revision, after.skipped, len(after.skips)) == (3, {"thing.lost"}, 1)


def test_a_sink_that_no_worker_ever_resumed_has_nothing_to_forget_or_skip() -> None:
    sink = a_sink(Server())
    with pytest.raises(ConfigError, match="no position in this store yet"):
        positions.forget(sink.store, sink="db", now=NOW)


BOOK = Book(sink="db", environment="default", log=LOG)


@pytest.mark.parametrize(
    ("book", "at", "state", "lag"),
    [
        (BOOK, 9, SinkState.OK, 0),
        (BOOK, 4, SinkState.BEHIND, 5),
        (BOOK, None, SinkState.LOST, None),
        (None, None, SinkState.NO_POSITION, None),
        (BOOK, 1, SinkState.GAP, 8),
        (BOOK, 10, SinkState.GAP, -1),
        (BOOK.next(state="wiping"), None, SinkState.WIPING, None),
        (BOOK.next(environment="staging"), 4, SinkState.OTHER_ENVIRONMENT, None),
        (BOOK.next(log=OTHER), 4, SinkState.OTHER_LOG, None),
    ],
)
def test_status_judges_from_facts(book: Book | None, at: int | None, state: SinkState, lag: int | None) -> None:
    from logsync.log.lookup import Span

    position = None if at is None else Position(0, at)
    row = judge("db", 0, Span(2, 9), book, position, identity=LOG, environment="default")
    assert (row.state, row.position, row.end, row.lag) == (state, at, 9, lag)


def test_status_tells_a_position_that_is_lost_from_a_sink_that_has_not_begun() -> None:  # P1
    """Whatever would keep a worker from beginning is no sink that waits for its first worker."""
    from logsync.log.lookup import Span

    def found(book: Book | None, *, holds_data: bool) -> Row:
        return judge("db", 0, Span(0, 9), book, None, identity=LOG, environment="default", holds_data=holds_data)

    assert found(None, holds_data=False).state is SinkState.NO_POSITION
    for row in (found(BOOK, holds_data=False), found(None, holds_data=True)):
        assert row.state is SinkState.LOST
        assert "logsync rebuild SINK --yes" in row.detail
        assert worst([SinkState.OK, row.state]) is Exit.CONFIG


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), Exit.OK),
        ((SinkState.OK, SinkState.BEHIND, SinkState.PARKED, SinkState.NO_POSITION), Exit.OK),
        ((SinkState.WIPING, SinkState.MOVING), Exit.OK),
        ((SinkState.OK, SinkState.STORE_UNREACHABLE), Exit.UNAVAILABLE),
        ((SinkState.LOG_UNREACHABLE, SinkState.PARKED), Exit.UNAVAILABLE),
        ((SinkState.GAP, SinkState.LOG_UNREACHABLE), Exit.LOG),
        ((SinkState.OTHER_LOG,), Exit.LOG),
        ((SinkState.OTHER_ENVIRONMENT, SinkState.GAP), Exit.CONFIG),
        ((SinkState.STORE_UNREACHABLE, SinkState.MISCONFIGURED, SinkState.OK), Exit.CONFIG),
    ],
)
def test_status_ends_with_what_the_worst_sink_would_end_with(states: tuple[SinkState, ...], code: Exit) -> None:
    assert worst(states) is code
    assert set(SinkState) >= set(CODES)


RUNNING = {SinkState.OK, SinkState.BEHIND, SinkState.HELD}


def test_fail_behind_counts_what_is_not_applied_behind_or_parked_and_trusts_no_other_state() -> None:
    assert not too_far(Row("db", 0, SinkState.OK, lag=0), 0)
    assert not too_far(Row("db", 0, SinkState.BEHIND, lag=5), 5)
    assert too_far(Row("db", 0, SinkState.BEHIND, lag=6), 5)
    assert not too_far(Row("db", 0, SinkState.PARKED, lag=2, parked=3), 5)
    assert too_far(Row("db", 0, SinkState.PARKED, lag=3, parked=3), 5)
    assert too_far(Row("db", 0, SinkState.PARKED, lag=0, parked=1), 0)
    assert all(too_far(Row("db", 0, state, lag=0), 5) for state in set(SinkState) - RUNNING)
