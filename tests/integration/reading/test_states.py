"""Each answer to "what became of my event", produced in all three stores with real servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from devstack import Stack
from logsync import AppendRejected, ConfigError, Producer, Receipt
from logsync.core.cloudevents import RETRY_FROM
from logsync.errors import LogIdentityError
from logsync.reading import Seen, State, Views
from logsync.settings import Settings
from tests.integration.worker.harness import KINDS, Case, named, until
from tests.integration.worker.sinks import MENDED, PARK, POISON, ItemLooked, ItemPut
from tests.integration.worker.test_store_moved import Snapshot
from tests.integration.worker.test_weathers_store import ask

from .conftest import App

pytestmark = pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
FIXED = {MENDED: "1"}


def test_an_appended_event_is_applied_once_its_worker_has_it_and_behind_without_one(app: App) -> None:
    receipt = app.put("a")
    assert receipt.type == "item.put"
    for kind in KINDS:
        assert app.now(receipt, kind).state is State.NOT_STARTED, kind
    workers = {kind: app.case.start(kind) for kind in KINDS}
    for kind in KINDS:
        assert app.settles(receipt, kind) == Seen(State.APPLIED, app.name(kind))
        book = app.case._store(kind).read_book()
        assert book is not None
        assert receipt.topic_id == book.log.topic_id, "the store follows this very topic"
        assert "a" in app.case.content(kind)["items"]
        workers[kind].terminate()
    receipts = [app.put("b"), app.put("c")]
    for kind in KINDS:
        behind = app.now(receipts[1], kind)
        assert (behind.state, behind.events) == (State.BEHIND, 2), kind
        assert app.views.freshest(receipts[0], app.name(kind)) is None
    assert app.views.wait(receipt, *map(app.name, KINDS), timeout=60).state is State.APPLIED


def test_a_type_that_no_handler_takes_is_passed_over_without_a_look(app: App) -> None:
    receipt = app.producer.append(ItemLooked(k="a"))
    nowhere = Settings(_env_file=None, postgres="postgresql://127.0.0.1:1/x", redis="redis://127.0.0.1:1", opensearch="http://127.0.0.1:1")  # type: ignore[arg-type]  # fmt: skip
    with Views(*app.case.sinks.values(), settings=nowhere) as views:
        seen = views.wait(receipt, *map(app.name, KINDS), timeout=0)
    assert (seen.state, seen.why) == (State.PASSED_OVER, "item.looked has no handler")


def test_what_is_parked_says_why_until_it_is_retried_or_discarded(app: App) -> None:
    case = app.case
    case.env[PARK] = "1"
    fine, poison, behind_it = app.put("a"), app.put("b", note=POISON), app.put("b")
    given_up = app.put("c", note=POISON)
    case.finish()
    for kind in KINDS:
        assert app.now(fine, kind).state is State.APPLIED
        seen = app.now(poison, kind)
        assert seen.state is State.PARKED
        assert "this note is poison" in seen.why
        waits = app.now(behind_it, kind)
        assert (waits.state, waits.why) == (State.PARKED, "it waits behind an event that is parked")
        assert app.views.wait([fine, poison], app.name(kind), timeout=0.5).state is State.PARKED
    for kind in KINDS:
        words = ("--event", f"0:{given_up.offset}", "--reason", "a test", "--yes")
        case._spawn(["logsync.cli", "parked", "discard", named(kind), *words]).ends(0)
        seen = app.now(given_up, kind)
        assert (seen.state, seen.why) == (State.PASSED_OVER, "skipped by hand: a test"), kind
        case._spawn(["logsync.cli", "parked", "retry", named(kind), "--all", "--yes"], FIXED).ends(0)
        assert app.now(poison, kind).state is app.now(behind_it, kind).state is State.APPLIED, kind


def test_an_event_that_a_person_skips_is_passed_over(app: App) -> None:
    poison, later = app.put("a", note=POISON), app.put("b")
    for kind in KINDS:
        worker = app.case.start(kind, "--until-end")
        worker.ends(4)
        assert app.now(poison, kind).state is State.BEHIND, kind
        words = [named(kind), "0", str(poison.offset), "--reason", "a test", "--yes"]
        app.case._spawn(["logsync.cli", "skip", *words]).ends(0)
    app.case.finish()
    for kind in KINDS:
        assert app.now(poison, kind).state is State.PASSED_OVER, kind
        assert app.now(later, kind).state is State.APPLIED, kind


@pytest.mark.parametrize("fate", ["applied", "parked", "discarded"])
def test_a_retried_append_is_what_its_first_attempt_is(app: App, fate: str) -> None:
    """The log holds both attempts, and workers pass over the second: the first one counts. # A1"""
    case, event_id = app.case, str(uuid.uuid4())
    case.env[PARK] = "1"
    first = app.put("before")
    event = ItemPut(k="a", n=1, note="" if fate == "applied" else POISON)
    mark = [(RETRY_FROM, b"%d" % (first.offset + 1))]
    case.append(event, event_id=event_id)
    case.append(event, event_id=event_id, headers=mark)
    app.put("after")
    again = first._replace(event_id=event_id, offset=first.offset + 2, since=first.offset + 1)
    case.finish()
    for kind in KINDS:
        if fate == "discarded":
            words = ("--event", f"0:{first.offset + 1}", "--reason", "a test", "--yes")
            case._spawn(["logsync.cli", "parked", "discard", named(kind), *words]).ends(0)
        expected = {"applied": State.APPLIED, "parked": State.PARKED, "discarded": State.PASSED_OVER}[fate]
        assert app.now(again, kind).state is expected, kind
        assert ("a" in case.content(kind)["items"]) == (fate == "applied")
        if fate == "parked":
            case._spawn(["logsync.cli", "parked", "retry", named(kind), "--all", "--yes"], FIXED).ends(0)
            assert app.now(again, kind).state is State.APPLIED, kind


def test_a_rebuild_is_told_until_it_has_reached_where_the_log_ended(app: App) -> None:
    early = app.put("a")
    late = app.put("b")
    app.case.finish()
    for kind in KINDS:
        app.case.rebuild(kind, "--no-replay").ends(0)
    app.all_are(State.REBUILDING, early)
    newer = app.put("c")
    app.all_are(State.REBUILDING, newer)
    for kind in KINDS:  # killed once it has applied some of it
        app.case.start_deadly("after-apply", 1, kind, env={"LOGSYNC_BATCH_RECORDS": "1"}).ends(-9)
        assert app.case.positions(kind) == {0: 1}
    app.all_are(State.REBUILDING, early)
    app.case.finish()
    for receipt in (early, late, newer):
        app.all_are(State.APPLIED, receipt)


class Copy:
    """A backup of what a sink has in its store now."""

    def __init__(self, case: Case, kind: str) -> None:
        self._case, self._kind = case, kind
        if kind == "db":
            self._tables = Snapshot(case)
        elif kind == "cache":
            self._redis = redis.Redis.from_url(case.env["LOGSYNC_REDIS"])
            self._values = {key: self._redis.dump(key) for key in self._redis.scan_iter(f"*{case.name}*")}
        else:
            self._repo, self._indices = f"_snapshot/{case.name}", f"{case.name}-items--e1,{case.name}-tally--e1"
            ask(case, "PUT", self._repo, {"type": "fs", "settings": {"location": case.name}})
            what = {"indices": self._indices, "include_global_state": False}
            ask(case, "PUT", f"{self._repo}/one?wait_for_completion=true", what)

    def put_back(self) -> None:
        if self._kind == "db":
            self._tables.restore()
        elif self._kind == "cache":
            for key, value in self._values.items():
                self._redis.restore(key, 0, value, replace=True)
        else:
            ask(self._case, "POST", f"{self._indices}/_close")
            path = f"{self._repo}/one/_restore?wait_for_completion=true"
            ask(self._case, "POST", path, {"indices": self._indices})
            ask(self._case, "DELETE", self._repo)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_put_back_is_behind_what_it_had_applied(app: App, kind: str) -> None:
    app.put("a")
    app.case.finish(kind)
    copy = Copy(app.case, kind)
    receipt = app.put("b")
    app.case.finish(kind)
    assert app.now(receipt, kind).state is State.APPLIED
    copy.put_back()
    seen = app.now(receipt, kind)
    assert (seen.state, seen.events) == (State.BEHIND, 1)
    app.case.finish(kind)
    assert app.now(receipt, kind).state is State.APPLIED


def test_a_receipt_of_a_topic_that_was_made_again_is_refused(app: App) -> None:
    app.put("a")
    app.case.finish()
    app.case.delete_topic()
    app.case.create_topic()
    with Producer(app.case.log, settings=app.case.settings) as producer:
        receipts: list[Receipt] = []

        def appended() -> bool:
            with suppress(AppendRejected):  # not every part of the broker knows the new topic yet
                receipts.append(producer.append(ItemPut(k="b", n=1)))
            return bool(receipts)

        until(appended, "an event in the new topic")
    for kind in KINDS:
        with pytest.raises(LogIdentityError, match="another one of this name"):
            app.now(receipts[0], kind)


def test_a_receipt_of_another_topic_and_a_store_of_another_environment_are_refused(app: App) -> None:
    receipt = app.put("a")
    app.case.finish()
    other = app.case.settings.model_copy(update={"environment": "elsewhere"})
    with Views(*app.case.sinks.values(), settings=other) as views:
        for kind in KINDS:
            with pytest.raises(ConfigError, match="wait for a sink of the log"):
                app.now(receipt._replace(topic="other"), kind)
            with pytest.raises(ConfigError, match="environment"):
                views.wait(receipt, app.name(kind), timeout=60)


SERVERS = {"db": "postgres", "cache": "redis", "search": "opensearch"}


@pytest.fixture
def applied(app: App) -> Receipt:
    receipt = app.put("a")
    app.case.finish()
    app.all_are(State.APPLIED, receipt)
    return receipt


@pytest.fixture
def stood_still(stack: Stack) -> Iterator[Stack]:
    yield stack
    for name in SERVERS.values():
        stack.resume(name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_hangs_is_unreachable_within_the_timeout(
    app: App, applied: Receipt, stood_still: Stack, kind: str
) -> None:
    others = [app.name(each) for each in KINDS if each != kind]
    stood_still.pause(SERVERS[kind])
    assert app.views.wait(applied, app.name(kind), timeout=1.5).state is State.UNREACHABLE
    with Views(*app.case.sinks.values(), settings=app.case.settings) as views:  # and one that has no connection yet
        assert views.wait(applied, app.name(kind), timeout=0.5).state is State.UNREACHABLE
        assert views.freshest(applied, app.name(kind), *others, timeout=2.0) in others
    stood_still.resume(SERVERS[kind])
    assert app.settles(applied, kind).state is State.APPLIED


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_died_is_unreachable_and_answers_again_when_it_is_back(
    app: App, applied: Receipt, stack: Stack, kind: str
) -> None:
    stack.kill(SERVERS[kind])
    try:
        seen = app.views.wait(applied, app.name(kind), timeout=1.5)
        assert seen.state is State.UNREACHABLE
        assert seen.why
    finally:
        stack.start(SERVERS[kind])
    assert app.settles(applied, kind).state in (State.APPLIED, State.BEHIND, State.NOT_STARTED)
