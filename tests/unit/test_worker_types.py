"""Types that nobody knows, that nothing handles, and handlers that come late. # T1 T2"""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from logsync import Log, Sink
from logsync.errors import (
    ConfigError,
    UnknownEventType,
)
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from logsync.writes.rows import Upsert
from tests.unit.shop import PageSeen, make_sink
from tests.unit.working import finish, three, worker


def test_a_type_that_the_log_does_not_know_halts_unless_the_sink_says_skip() -> None:  # T1
    source = three()
    source.append_raw(b"k", b"{}", [("ce_specversion", b"1.0"), ("ce_id", b"i"), ("ce_type", b"stranger")])
    with pytest.raises(UnknownEventType, match="stranger"):
        finish(worker(source, Memory()), source)
    store = Memory()
    made = finish(worker(source, sink=make_sink(store, unknown="skip")), source)
    assert made.status.skipped == {"unknown": 1}


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
