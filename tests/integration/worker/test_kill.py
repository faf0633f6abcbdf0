"""kill -9 at every step of the loop, in all three stores at once; the pair tells where each of them died."""

from __future__ import annotations

import pytest

from .harness import KINDS, Case


def die(case: Case, step: str, count: int, *kinds: str) -> dict[str, dict[str, int]]:
    """Let every sink's worker die at this step; returns the plan that each had in hand."""
    workers = {kind: case.start_deadly(step, count, kind) for kind in kinds or KINDS}
    for worker in workers.values():
        worker.ends(-9)
    return {kind: worker.fate for kind, worker in workers.items()}


def test_a_worker_killed_before_it_claims_its_store_leaves_nothing_that_the_next_one_minds(case: Case) -> None:
    case.append_mix(150)
    die(case, "before-book", 1)
    for kind in KINDS:
        assert not case.has_book(kind)
        assert case.pair(kind) == ({}, {})
    case.finish()
    case.is_the_fold()


def test_a_worker_killed_between_claim_and_first_read_is_succeeded_at_the_logs_first_event(case: Case) -> None:
    case.append_mix(150)
    die(case, "before-start", 1)
    for kind in KINDS:
        assert case.has_book(kind)
        assert case.pair(kind) == ({0: 0}, {})
    case.finish()
    case.is_the_fold()


@pytest.mark.parametrize("step", ["before-poll", "after-poll", "before-apply"])
def test_a_worker_killed_with_nothing_applied_in_hand_loses_nothing(case: Case, step: str) -> None:
    case.append_mix(150)
    fates = die(case, step, 3)
    for kind in KINDS:
        positions, committed = case.pair(kind)
        assert positions == committed
        assert positions[0] == fates[kind]["start" if step == "before-apply" else "end"] > 0
    case.finish()
    case.is_the_fold()


def test_a_worker_killed_between_apply_and_commit_applies_nothing_twice(case: Case) -> None:
    case.append_mix(150)
    fates = die(case, "after-apply", 3)
    for kind in KINDS:
        positions, committed = case.pair(kind)
        assert positions == {0: fates[kind]["end"]}
        assert committed == {0: fates[kind]["start"]}
        assert positions[0] > committed[0]
    case.finish()
    case.is_the_fold()


def test_a_worker_killed_after_commit_is_succeeded_at_the_next_event(case: Case) -> None:
    case.append_mix(150)
    fates = die(case, "after-commit", 3)
    for kind in KINDS:
        assert case.pair(kind) == ({0: fates[kind]["end"]}, {0: fates[kind]["end"]})
    case.finish()
    case.is_the_fold()


def test_documents_that_are_ahead_of_their_position_count_nothing_twice(case: Case) -> None:
    case.append_mix(150)
    fates = die(case, "between-documents-and-position", 3, "search")
    start, end = fates["search"]["start"], fates["search"]["end"]
    assert case.pair("search") == ({0: start}, {0: start})
    from .fold import fold, read_log

    records = read_log(case.servers, case.name)
    found = case.content("search")
    assert found == fold([raw for raw in records if raw.offset < end])  # the documents are there already
    assert found != fold([raw for raw in records if raw.offset < start])
    case.finish("search")
    case.is_the_fold("search")


def test_until_the_end_waits_for_the_session_of_a_worker_that_was_killed_and_takes_over(case: Case) -> None:
    case.session(6000)  # longer than it waits before it looks at what others have done
    case.append_mix(50)
    worker = case.start("cache")
    case.catches_up("cache")
    worker.kill()
    case.append_mix(50)
    case.finish("cache")
    case.is_the_fold("cache")
