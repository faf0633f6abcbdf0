"""Memory stores on a machine with one fault each, which only a server that dies or hangs can show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from logsync.core.book import Book
from logsync.core.inspection import Inspection
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings
from logsync.errors import StoreUnavailable
from logsync.stores.memory import Memory
from tests.contract.machine import OnMachine


class Fault(OnMachine):
    noticed_by: ClassVar[str] = ""


class AnswersBeforeItIsDurable(Fault):
    """apply returns before the disk has it"""

    noticed_by = "test_what_a_store_has_returned_for_outlives_the_server"

    def apply(self, plan: Plan) -> None:
        self.reach()
        Memory.apply(self, plan)


class ParksInMemory(Fault):
    """parked events do not outlive the server"""

    noticed_by = "test_what_a_store_has_returned_for_outlives_the_server"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        self.machine.disk.parked.clear()


class KeepsTheBookInMemory(Fault):
    """write_book returns before the disk has it"""

    noticed_by = "test_what_a_store_has_returned_for_outlives_the_server"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        self.reach()
        Memory.write_book(self, book, positions=positions)


class InTwoSteps(Fault):
    """content and position are two steps, with room for a death between them"""

    noticed_by = "test_a_server_that_is_killed_while_it_applies_holds_the_log_up_to_its_position 1"

    def apply(self, plan: Plan) -> None:
        self.reach()
        self.machine.server.contents[self.sink] = self.content.after(plan.writes)
        self.machine.sync()
        time.sleep(0.005)
        self.reach()
        Memory.apply(self, Plan(plan.start, plan.end))
        self.machine.sync()


class LeavesItsOwnError(Fault):
    """what the client library raises about a lost connection leaves the store"""

    noticed_by = "test_a_server_that_is_gone_is_an_outage_and_the_same_store_goes_on_when_it_is_back"

    def reach(self) -> None:
        try:
            super().reach()
        except StoreUnavailable:
            raise ConnectionResetError from None


class KeepsItsConnection(Fault):
    """open does not replace a connection that broke"""

    noticed_by = "test_a_server_that_is_gone_is_an_outage_and_the_same_store_goes_on_when_it_is_back"

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:
        before = self.boot
        if before < 0:
            super().open(sink, settings)
        self.reach()


class InspectRaises(Fault):
    """inspect raises where it should tell of an outage"""

    noticed_by = "test_a_server_that_is_gone_is_an_outage_and_the_same_store_goes_on_when_it_is_back"

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        self.open(sink, settings)
        return super().inspect(sink, settings)


class InspectSaysAllIsWell(Fault):
    """inspect finds nothing wrong with a server that is gone"""

    noticed_by = "test_a_server_that_is_gone_is_an_outage_and_the_same_store_goes_on_when_it_is_back"

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        return Inspection(positions={})


class WaitsWithoutBound(Fault):
    """a call to a server that hangs never ends"""

    noticed_by = "test_a_server_that_hangs_is_an_outage_within_the_bound"

    def reach(self) -> None:
        self.machine.answers.wait()
        super().reach()
