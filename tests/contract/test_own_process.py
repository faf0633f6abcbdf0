"""A store in a process of its own, forked from one that holds all kinds of things."""

from __future__ import annotations

import gc
import os
from typing import Any, cast

import pytest

from logsync.core.position import Position
from logsync.core.store import Store
from logsync.stores.memory import Memory
from logsync.testing.store_contract.embedded import OwnProcess

pytestmark = pytest.mark.processes


class Collecting(Memory):
    """Collects garbage in whatever process it is called."""

    def positions(self) -> dict[int, Position]:
        gc.collect()
        return super().positions()


class Client:
    """Ends every process but its own when it is collected there, as a client with threads may."""

    def __init__(self) -> None:
        self.itself, self.home = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.home:
            os._exit(9)


def test_the_garbage_of_the_process_that_forks_is_not_collected_in_the_child() -> None:
    gc.disable()
    try:
        Client()
        store: Any = OwnProcess(cast(Store, Collecting()))
        assert store.positions() == {}
        store.close()
    finally:
        gc.enable()
        gc.collect()
