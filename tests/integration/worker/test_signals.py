"""SIGTERM, a second SIGTERM, and stores that never answer."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from devstack import Stack
from logsync.signals import EXIT_DRAIN_TIMEOUT

from .content import SERVER
from .harness import KINDS, Case, Process, until


@contextmanager
def stuck(stack: Stack, case: Case, **env: str) -> Iterator[list[Process]]:
    """Workers that are applying their first plan to stores that do not answer; afterwards the stores go on."""
    case.append_mix(60)
    env = {f"LOGSYNC_{name.upper()}": value for name, value in env.items()}
    workers = [case.start_deadly("before-apply", 1, kind, "stop", env) for kind in KINDS]
    for worker in workers:
        until(worker.is_stopped, f"{worker.name} stopped: {worker.output}")
    try:
        for kind in KINDS:
            stack.pause(SERVER[kind])
        for worker in workers:
            worker.go_on()  # the next thing each of them does is its apply
        yield workers
    finally:
        for kind in KINDS:
            stack.resume(SERVER[kind])


def test_sigterm_under_load_drains_and_leaves_bookmark_and_position_equal(case: Case) -> None:
    case.append_mix(2000)
    workers = [case.start(kind) for kind in KINDS]
    for kind, worker in zip(KINDS, workers, strict=True):
        case.reaches(kind, 100)
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert "stopped" in worker.ends(0)
    for kind in KINDS:
        positions, committed = case.pair(kind)
        assert positions == committed
    assert any(case.positions(kind) != {0: 2000} for kind in KINDS), "nobody was under load"
    case.finish()
    case.is_the_fold()


def test_a_second_sigterm_ends_a_worker_at_once_although_its_store_does_not_answer(stack: Stack, case: Case) -> None:
    with stuck(stack, case, drain_timeout="600", store_timeout="120") as workers:
        for worker in workers:
            worker.signal(signal.SIGTERM)

            def ended(worker: Process = worker) -> bool:
                if worker.running:
                    worker.signal(signal.SIGTERM)
                return not worker.running

            until(ended, f"{worker.name} ended by its second signal")
            worker.ends(128 + signal.SIGTERM)
    case.finish()
    case.is_the_fold()


def test_one_sigterm_ends_a_worker_within_its_drain_timeout_although_its_store_does_not_answer(
    stack: Stack, case: Case
) -> None:
    with stuck(stack, case, drain_timeout="1", store_timeout="120") as workers:
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            assert "nothing is lost" in worker.ends(EXIT_DRAIN_TIMEOUT)
    case.finish()
    case.is_the_fold()
