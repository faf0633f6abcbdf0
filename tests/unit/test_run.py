"""A worker as a process: what it changes in Python itself, and puts back."""

from __future__ import annotations

import gc

import pytest

from logsync import run
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.worker import Worker


def test_a_plan_comes_and_goes_without_a_look_for_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """One threshold less, and most of a worker's time goes into looking through what nobody has dropped."""
    looks: list[int] = []

    def turn(*_args: object) -> None:
        before = gc.get_stats()[0]["collections"]
        held = [[n] for n in range(100_000)]
        looks.append(gc.get_stats()[0]["collections"] - before)
        del held

    monkeypatch.setattr(Worker, "run", turn)
    monkeypatch.setattr(Worker, "__enter__", lambda self: self)
    before = gc.get_threshold()
    run.run_worker(Sink("s", Log("t"), Memory()), Settings(_env_file=None))  # type: ignore[call-arg]
    assert looks == [0]
    assert gc.get_threshold() == before
