"""Stores that go away and come back: the worker waits in its group, and goes on by itself."""

from __future__ import annotations

from devstack import Stack

from .content import SERVER
from .harness import KINDS, Case


def test_stores_killed_under_load_are_waited_for_and_the_workers_go_on_by_themselves(stack: Stack, case: Case) -> None:
    case.session(10_000)  # membership is part of the claim: a busy machine must not look like a dead member
    case.append_mix(300)
    workers = {kind: case.start(kind) for kind in KINDS}
    for kind in KINDS:
        case.reaches(kind, 20)
    before = {kind: case.members(kind) for kind in KINDS}
    try:
        for kind in KINDS:
            stack.kill(SERVER[kind])
        case.append_mix(300)
        for worker in workers.values():
            worker.sees("waiting, nothing is lost")
        assert {kind: case.members(kind) for kind in KINDS} == before
    finally:
        stack.up()
    case.catches_up()
    assert {kind: case.members(kind) for kind in KINDS} == before
    assert [list(parts.values()) for parts in before.values()] == [[{0}]] * 3
    for worker in workers.values():
        assert "applying again" in worker.terminate()
    case.is_the_fold()


def test_workers_started_while_their_stores_are_down_wait_for_them(stack: Stack, case: Case) -> None:
    case.append_mix(100)
    try:
        for kind in KINDS:
            stack.stop(SERVER[kind])
        workers = [case.start(kind) for kind in KINDS]
        for worker in workers:
            worker.sees("waiting, nothing is lost")
    finally:
        stack.up()
    case.catches_up()
    for worker in workers:
        worker.terminate()
    case.is_the_fold()


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
