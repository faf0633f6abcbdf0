"""The log is not what the position says any more: deleted and made again, or shortened at its head."""

from __future__ import annotations

import time

import pytest

from logsync.worker import LOOK_EVERY

from .harness import KINDS, Case, named, until

EXIT_LOG = 5


@pytest.mark.parametrize("member", ["still a member", "a member no more"])
def test_a_topic_that_is_deleted_made_again_and_refilled_under_a_paused_worker_is_refused(
    case: Case, member: str
) -> None:  # L1
    if member == "still a member":
        case.session(60_000)  # no rebalance, so no resume: only the loop's own look at the log can tell
    case.append_mix(50)
    workers = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()
    before = {kind: case.content(kind) for kind in KINDS}
    for worker in workers.values():
        worker.pause()
    paused = time.monotonic()
    case.delete_topic()
    case.create_topic()
    case.append_mix(120)  # longer than the old one: by offsets alone it looks like the same log, grown
    if member == "still a member":
        until(lambda: time.monotonic() > paused + LOOK_EVERY, "the last look is older than the stated window")
    else:
        for kind in KINDS:
            until(lambda kind=kind: not case.members(kind), "the end of its session")  # type: ignore[misc]
    for worker in workers.values():
        worker.go_on()
    for kind, worker in workers.items():
        output = worker.ends(EXIT_LOG)
        assert "topic_id was" in output
        assert f"logsync rebuild {named(kind)} --yes" in output
        assert case.positions(kind) == {0: 50}
        assert case.content(kind) == before[kind]
    rebuilds = [case.rebuild(kind) for kind in KINDS]
    for rebuild in rebuilds:
        rebuild.ends(0)
    case.is_the_fold()


def test_retention_past_the_position_halts_instead_of_skipping(case: Case) -> None:  # L4
    case.append_mix(50)
    case.finish()
    before = {kind: case.content(kind) for kind in KINDS}
    case.append_mix(100)
    case.delete_records(100)
    workers = {kind: case.start(kind) for kind in KINDS}
    for kind, worker in workers.items():
        output = worker.ends(EXIT_LOG)
        assert "50 offsets were deleted by retention" in output
        assert f"logsync rebuild {named(kind)} --from-log-start --yes" in output
        assert case.positions(kind) == {0: 50}
        assert case.content(kind) == before[kind]
    rebuilds = [case.rebuild(kind, "--from-log-start") for kind in KINDS]
    for rebuild in rebuilds:
        rebuild.ends(0)
    case.is_the_fold()


def test_retention_past_a_worker_that_stands_still_halts_it_when_it_goes_on(case: Case) -> None:  # L4
    case.session(60_000)  # it stays a member, so it fetches where it stood and does not resume
    case.append_mix(50)
    workers = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()
    for worker in workers.values():
        worker.pause()
    paused = time.monotonic()
    until(lambda: time.monotonic() > paused + 1, "the end of a fetch that was under way: the broker holds it 0.1 s")
    case.append_mix(100)
    case.delete_records(100)
    for worker in workers.values():
        worker.go_on()
    for kind, worker in workers.items():
        assert "is outside the log" in worker.ends(EXIT_LOG)
        assert case.positions(kind) == {0: 50}
