"""Events that cannot be applied, in all three stores: what waits, who retries it, and a kill -9 at each step."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from logsync.ops import parked

from .fold import Content, fold, read_log
from .harness import KINDS, Case, Process, named, until
from .sinks import MENDED, PARK, POISON, ItemPut

FIXED = {MENDED: "1"}
HELD = "k3"
"""The key that one poisonous event holds up."""


@pytest.fixture
def poisoned(case: Case) -> Case:
    """150 events, the poison, 100 more; 'k3' is held up from the poison on. Workers have parked and stopped."""
    case.env[PARK] = "1"
    case.append_mix(150)
    case.append(ItemPut(k=HELD, n=1_000_000, writer="mix", note=POISON))
    case.append_mix(100)
    case.finish()
    return case


def without_the_held(case: Case) -> Content:
    """The fold of the log without what the poison holds up."""
    records, held = [], False
    for raw in read_log(case.servers, case.name):
        data = json.loads(raw.value or b"{}")
        held |= data.get("note") == POISON
        if not (held and data.get("k") == HELD):
            records.append(raw)
    return fold(records)


def command(case: Case, kind: str, *words: str, env: dict[str, str] | None = None) -> Process:
    return case._spawn(["logsync.cli", "parked", words[0], named(kind), *words[1:]], env)


def ask(case: Case, kind: str) -> None:
    """What ``parked retry --all --yes`` writes, without waiting for anybody."""
    store = case._store(kind)
    everything = parked.Selection()
    parked.retry(store, parked.find(store, everything), everything, sink=case.sinks[kind].name, now=datetime.now(UTC))


def nothing_waits(case: Case, kind: str) -> bool:
    book = case._store(kind).read_book()
    return book is not None and not book.requests and not case._store(kind).sequences(0)


def is_whole(case: Case, *kinds: str) -> None:
    for kind in kinds or KINDS:
        assert nothing_waits(case, kind), kind
    case.is_the_fold(*kinds)


def test_a_poisonous_event_holds_up_its_key_alone_until_people_retry_it_after_a_fix(poisoned: Case) -> None:
    expected = without_the_held(poisoned)
    assert HELD in poisoned.expected()["items"]
    for kind in KINDS:
        assert poisoned.content(kind) == expected, kind
        shown = json.loads(command(poisoned, kind, "list", "--json").ends(0).partition("\nsink ")[0])
        assert (shown["sequences"], shown["rows"][0]["sequence"]) == (1, HELD)
        assert "poison" in shown["rows"][0]["message"]
        assert shown["events"] == shown["rows"][0]["waiting"] > 1
        (row,) = json.loads(poisoned._spawn(["logsync.cli", "status", named(kind), "--json"]).ends(0))
        assert (row["state"], row["parked"]) == ("parked", shown["events"])
        poisoned._spawn(["logsync.cli", "status", named(kind), "--fail-behind", "0"]).ends(8)
        told = poisoned._spawn(["logsync.cli", "doctor", named(kind)]).ends(10)
        assert f"1 sequences with {shown['events']} events are parked" in " ".join(told.split())

    for kind in KINDS:  # nothing is done without --yes; a retry without the fix changes nothing
        command(poisoned, kind, "retry", "--all").ends(7)
    for retry in [command(poisoned, kind, "retry", "--key", HELD, "--yes") for kind in KINDS]:
        assert "1 sequences with" in retry.ends(12)
    for kind in KINDS:
        assert poisoned.content(kind) == expected, kind
        shown = json.loads(command(poisoned, kind, "show", "0:150").ends(0))
        assert (shown["attempts"], shown["record"]["key"]) == (2, HELD)

    for retry in [command(poisoned, kind, "retry", "--error", "HandlerError", "--yes", env=FIXED) for kind in KINDS]:
        retry.ends(0)
    is_whole(poisoned)


def test_a_running_worker_retries_and_later_events_of_the_key_follow(poisoned: Case) -> None:
    workers = {kind: poisoned.start(kind, env=FIXED) for kind in KINDS}
    poisoned.append_mix(60)
    poisoned.catches_up()
    for kind in KINDS:
        assert HELD in poisoned._store(kind).sequences(0)  # the fix alone releases nothing
    retries = [
        command(poisoned, kind, "retry", "--all", "--yes") for kind in KINDS
    ]  # without the fix: it must not retry
    for retry in retries:
        retry.ends(0)
    poisoned.append_mix(60)
    poisoned.catches_up()
    is_whole(poisoned)
    for worker in workers.values():
        worker.terminate()


def test_a_discarded_event_is_skipped_for_ever_and_what_waits_behind_it_is_applied(poisoned: Case) -> None:
    def expected() -> Content:
        return fold([raw for raw in read_log(poisoned.servers, poisoned.name) if raw.offset != 150])

    words = ("discard", "--event", "0:150", "--reason", "a test", "--yes")
    for discard in [command(poisoned, kind, *words) for kind in KINDS]:
        discard.ends(0)
    for kind in KINDS:
        assert poisoned.content(kind) == expected(), kind
        assert nothing_waits(poisoned, kind)
    for rebuild in [poisoned.rebuild(kind) for kind in KINDS]:
        rebuild.ends(0)
    for kind in KINDS:
        assert poisoned.content(kind) == expected(), kind
        assert nothing_waits(poisoned, kind)


def test_a_rebuild_parks_by_the_same_rule_and_with_a_fix_parks_nothing(poisoned: Case) -> None:
    for rebuild in [poisoned.rebuild(kind) for kind in KINDS]:
        rebuild.ends(0)
    for kind in KINDS:
        assert poisoned.content(kind) == without_the_held(poisoned), kind
        assert HELD in poisoned._store(kind).sequences(0)
    poisoned.env |= FIXED
    for rebuild in [poisoned.rebuild(kind) for kind in KINDS]:
        rebuild.ends(0)
    is_whole(poisoned)


@pytest.mark.parametrize("step", ["before-release", "after-release"])
def test_a_worker_killed_around_a_retry_leaves_it_to_the_next_one(poisoned: Case, step: str) -> None:
    for kind in KINDS:
        ask(poisoned, kind)
    dying = [poisoned.start_deadly(step, 1, kind, env=FIXED) for kind in KINDS]
    for worker in dying:
        worker.ends(-9)
    poisoned.env |= FIXED
    poisoned.append_mix(40)
    workers = [poisoned.start(kind) for kind in KINDS]
    for kind in KINDS:
        until(lambda kind=kind: nothing_waits(poisoned, kind), f"{kind} retried")  # type: ignore[misc]
    poisoned.catches_up()
    is_whole(poisoned)
    for worker in workers:
        worker.terminate()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9])
def test_a_worker_killed_before_any_request_of_a_retry_in_opensearch_doubles_nothing(
    poisoned: Case, count: int
) -> None:
    ask(poisoned, "search")
    poisoned.start_deadly("within-release", count, "search", env=FIXED).ends(-9)
    poisoned.env |= FIXED
    poisoned.append_mix(40)
    worker = poisoned.start("search")
    until(lambda: nothing_waits(poisoned, "search"), "retried")
    poisoned.catches_up("search")
    is_whole(poisoned, "search")
    worker.terminate()


def test_a_worker_that_stands_still_in_a_retry_is_fenced_when_it_goes_on(poisoned: Case) -> None:
    """Another worker releases the same events meanwhile and applies more; the first one's plan must change nothing."""
    for kind in KINDS:
        ask(poisoned, kind)
    zombies = {kind: poisoned.start_deadly("before-release", 1, kind, "stop", env=FIXED) for kind in KINDS}
    for zombie in zombies.values():
        until(zombie.is_stopped, f"{zombie.name} stands still")
    poisoned.env |= FIXED
    workers = [poisoned.start(kind) for kind in KINDS]
    for kind in KINDS:
        until(lambda kind=kind: nothing_waits(poisoned, kind), f"{kind} retried")  # type: ignore[misc]
    poisoned.append_mix(40)
    poisoned.catches_up()
    for zombie in zombies.values():
        zombie.go_on()
        zombie.sees("REFUSED PositionConflict")
    is_whole(poisoned)
    for process in (*workers, *zombies.values()):
        process.terminate()
