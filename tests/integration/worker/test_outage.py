"""Stores that go away and come back: the worker waits in its group, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable

from devstack import Stack

from .content import SERVER
from .harness import KINDS, Case


def test_killed_stores_are_waited_for_by_workers_under_load_and_by_those_that_start_meanwhile(
    stack: Stack, make_case: Callable[..., Case]
) -> None:
    case, late = make_case(), make_case()
    case.session(10_000)  # membership is part of the claim: a busy machine must not look like a dead member
    case.append_mix(300)
    late.append_mix(100)
    workers = [case.start(kind) for kind in KINDS]
    for kind in KINDS:
        case.reaches(kind, 20)
    before = {kind: case.members(kind) for kind in KINDS}
    try:
        for kind in KINDS:
            stack.kill(SERVER[kind])
        case.append_mix(300)
        starters = [late.start(kind) for kind in KINDS]
        for worker in [*workers, *starters]:
            worker.sees("waiting, nothing is lost")
        assert {kind: case.members(kind) for kind in KINDS} == before
    finally:
        stack.up()
    case.catches_up()
    late.catches_up()
    assert {kind: case.members(kind) for kind in KINDS} == before  # the same members all the time
    assert [list(parts.values()) for parts in before.values()] == [[{0}]] * 3
    for worker in [*workers, *starters]:
        assert "applying again" in worker.terminate()
    case.is_the_fold()
    late.is_the_fold()


def test_workers_wait_for_a_broker_that_was_killed_under_load(stack: Stack, case: Case) -> None:
    case.append_mix(600)
    workers = [case.start(kind) for kind in KINDS]
    for kind in KINDS:
        case.reaches(kind, 20)
    try:
        stack.kill("kafka")
    finally:
        stack.up()
    case.append_mix(50)
    case.catches_up()
    for worker in workers:
        worker.terminate()
    case.is_the_fold()
