"""A server for the memory store that can hang, die and come back with what was on its disk."""

from __future__ import annotations

import copy
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from logsync.core.book import Book
from logsync.core.inspection import Inspection, noting
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings
from logsync.core.view import NO_RETRIES, Place, Retried, Sight, View
from logsync.errors import StoreUnavailable
from logsync.stores.memory import Memory, Server


class Machine:
    """``disk`` is what a kill leaves; the server is what its clients see."""

    def __init__(self) -> None:
        self.server = Server()
        self.disk = Server()
        self.boots = 0
        self.dead = False
        self.answers = threading.Event()
        self.answers.set()

    def sync(self) -> None:
        self.disk = copy.deepcopy(self.server)

    def kill(self) -> None:
        self.dead = True

    def pause(self) -> None:
        self.answers.clear()

    def restart(self) -> None:
        if self.dead:
            self.server = copy.deepcopy(self.disk)
            self.boots += 1
            self.dead = False
        self.answers.set()


class OnMachine(Memory):
    """The memory store as a client of a machine: one that keeps every promise."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.boot = -1
        self.timeout = 1.0
        super().__init__()

    @property
    def server(self) -> Server:  # type: ignore[override]
        return self.machine.server

    @server.setter
    def server(self, _: Server) -> None:
        pass

    def reach(self) -> None:
        """Raises StoreUnavailable unless the server that this client connected to answers in time."""
        if not self.machine.answers.wait(self.timeout) or self.machine.dead or self.boot != self.machine.boots:
            raise StoreUnavailable("the machine does not answer")

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:
        super().open(sink, settings)
        self.timeout = settings.store_timeout if settings else 1.0
        self.boot = self.machine.boots
        self.reach()

    def read_book(self) -> Book | None:
        self.reach()
        return super().read_book()

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        self.reach()
        super().write_book(book, positions=positions)
        self.machine.sync()

    def positions(self) -> dict[int, Position]:
        self.reach()
        return super().positions()

    def apply(self, plan: Plan) -> None:
        self.reach()
        super().apply(plan)
        self.machine.sync()

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        self.reach()
        return super().sequences(partition)

    def parked(self, partition: int, **options: Any) -> list[Parked]:
        self.reach()
        return super().parked(partition, **options)

    def holds_data(self) -> bool:
        self.reach()
        return super().holds_data()

    def wipe(self, book: Book) -> None:
        self.reach()
        super().wipe(book)
        self.machine.sync()

    def view(self, sink: str, settings: StoreSettings | None = None) -> View:
        return MachineView(self, sink, settings)

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        findings: list[Any] = []
        with noting(findings, "memory.connection"):
            return super().inspect(sink, settings)
        return Inspection(findings)


class MachineView:
    """A view that connects again after every trouble."""

    def __init__(self, client: OnMachine, sink: str, settings: StoreSettings | None) -> None:
        self._client, self._sink, self._settings = client, sink, settings

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        self._client.open(self._sink, self._settings)
        return Memory(self._client.server).view(self._sink).look(asked, retried)

    def close(self) -> None:
        pass
