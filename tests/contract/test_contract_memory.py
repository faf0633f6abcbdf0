"""The memory store keeps the contract, but for what needs a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from logsync.core.event import Event
from logsync.core.write import Write
from logsync.stores.memory import Memory, Server
from logsync.testing.store_contract import Content, Meant, Sample, StoreContract, durability
from logsync.writes.rows import Delete, Increment, InTransaction, Sql, Upsert
from tests.contract import samples
from tests.contract.machine import Machine, OnMachine


def nothing(cursor: Any, event: Event[Any]) -> None:
    pass


class MemoryGiven(StoreContract):
    """What the kit is given of the memory store, also where something is wrong with it."""

    puts, adds, deletes = Upsert, Increment, Delete
    creates = ()
    outlives_the_process = False

    def setup_method(self) -> None:
        super().setup_method()
        self.server = Server()

    def make_store(self, sink: str) -> Memory:
        return Memory(self.server)

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        """Statements are noted and not run: as if nothing was written."""
        return {
            **samples.of_rows("items"), **samples.of_keys(), **samples.of_docs("things"),
            Sql: lambda key, n: Meant(Sql("SELECT %(n)s", {"n": n}), as_if=[]),
            InTransaction: lambda key, n: Meant(InTransaction(nothing, None), as_if=[]),  # type: ignore[arg-type]
        }  # fmt: skip

    def content(self, sink: str) -> Content:
        return self.server.contents.get(sink, Content())

    def refused(self, sink: str) -> Write:
        return Increment("items", {"k": "x"}, {"n": 0.5})  # type: ignore[dict-item]


class TestMemory(MemoryGiven):
    """Durability and bounds are shown as not proven: nothing here outlives the process."""


class TestMemoryOnAMachine(MemoryGiven):
    """The same store as the client of a server that can die and hang: the kit's own claims about that are sound."""

    must_prove = True

    def setup_method(self) -> None:
        super().setup_method()
        self.machine = Machine()

    def make_store(self, sink: str) -> OnMachine:
        return OnMachine(self.machine)

    def content(self, sink: str) -> Content:
        return self.machine.server.contents.get(sink, Content())

    def pause(self) -> None:
        self.machine.pause()

    def kill(self) -> None:
        self.machine.kill()

    def restart(self) -> None:
        self.machine.restart()

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(durability, "BOUND", 0.05)
        monkeypatch.setattr(durability, "PATIENCE", 5.0)
