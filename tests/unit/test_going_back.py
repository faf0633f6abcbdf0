"""A store that goes back is followed back, however often it happens; a second program is found out. # P3"""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.policy import SET_BACK_BEFORE_HALT
from logsync.core.position import LogIdentity, Position
from logsync.core.resume import went_back
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog
from tests.unit.shop import OrderPlaced
from tests.unit.test_worker import finish, rebuilt, three, worker

LATER = {0: Position(0, 90), 1: Position(1, 90)}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BOOK = Book(sink="db", environment="test", log=LogIdentity("c", "t", "i", 1), began=NOON, revision=5)
AT = {0: Position(0, 50), 1: Position(1, 70)}


@pytest.mark.parametrize(
    ("book", "stored", "expected"),
    [
        (None, {}, True),
        (BOOK, {}, True),
        (BOOK, AT, False),  # something raced, and nobody can tell what
        (BOOK, {0: Position(0, 60), 1: Position(1, 70)}, False),
        (BOOK, {0: Position(0, 60), 1: Position(1, 80)}, False),
        (BOOK.next(), {0: Position(0, 60), 1: Position(1, 70)}, False),  # a program writes the book as well
        (BOOK, {0: Position(0, 40), 1: Position(1, 70)}, True),
        (BOOK, {0: Position(0, 60), 1: Position(1, 60)}, True),
        (BOOK, {0: Position(0, 60)}, True),
        (BOOK.model_copy(update={"revision": 4}), {0: Position(0, 60), 1: Position(1, 70)}, True),
        (BOOK.model_copy(update={"began": NOON + timedelta(seconds=1)}), LATER, True),
        (BOOK.next(epoch=2), {0: Position(0, 60, 2), 1: Position(1, 70, 2)}, True),  # a rebuild, or a move by hand
    ],
)  # fmt: skip
def test_what_stands_in_the_store_tells_a_restore_from_a_rival(
    book: Book | None, stored: dict[int, Position], expected: bool
) -> None:
    assert went_back(BOOK, AT, book, stored) is expected


class Restorable(Memory):
    """A store whose server is put back to an earlier state just before some applies."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[Server] = []
        self.back_to: list[Server] = []

    def apply(self, plan: Plan) -> None:
        if self.back_to:
            self.server.__dict__.update(deepcopy(self.back_to.pop(0).__dict__))
        super().apply(plan)
        self.states.append(deepcopy(self.server))


def one_by_one(source: MemoryLog, store: Memory) -> object:
    made = worker(source, store)
    made.reader.at_most = 1  # type: ignore[attr-defined]
    return made


def more(source: MemoryLog, count: int) -> None:
    for n in range(count):
        source.append(OrderPlaced(order=f"x{n}", cents=1))


@pytest.mark.parametrize("times", [3, 4, SET_BACK_BEFORE_HALT - 1])
def test_a_store_that_is_emptied_again_and_again_is_filled_again_each_time(times: int) -> None:
    source, store = three(), Restorable()
    made = finish(one_by_one(source, store), source)  # type: ignore[arg-type]
    more(source, 5)
    store.back_to = [Server() for _ in range(times)]
    finish(made, source)
    assert not store.back_to
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 23}
    assert made.status.conflicts == times


def test_a_store_that_is_restored_to_what_it_was_before_or_since_is_followed() -> None:
    source, store = three(), Restorable()
    more(source, 7)
    made = finish(one_by_one(source, store), source)  # type: ignore[arg-type]
    early, late = store.states[2], store.states[8]
    more(source, 5)
    # Emptied, and while it is filled again restored to what is further than it is by then: four times.
    store.back_to = [Server(), late, Server(), late, early, Server(), late, early]
    finish(made, source)
    assert not store.back_to
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 30}


def test_rebuilds_under_a_running_worker_are_no_conflict_of_two_programs() -> None:
    source, store = three(), Memory()
    made = finish(worker(source, store), source)
    for epoch in range(2, 7):
        rebuilt(store, epoch)
        more(source, 1)
        finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 23}


def test_a_store_that_is_set_back_all_the_time_halts_in_the_end() -> None:
    source, store = three(), Restorable()
    made = finish(one_by_one(source, store), source)  # type: ignore[arg-type]
    more(source, 5)
    store.back_to = [Server() for _ in range(SET_BACK_BEFORE_HALT)]
    with pytest.raises(ConfigError, match="set back 20 times") as caught:
        finish(made, source)
    assert "two programs use this sink name, or something restores its store" in str(caught.value)


def test_a_store_that_is_emptied_while_a_worker_resumes_is_begun_anew() -> None:
    class Emptied(Memory):
        times = 3

        def positions(self) -> dict[int, Position]:
            if self.times:
                self.times -= 1
                self.server.__dict__.update(Server().__dict__)
            return super().positions()

    source, store = three(), Emptied()
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}


def test_positions_that_are_lost_beside_their_book_still_halt() -> None:  # P1
    source, store = three(), Memory()
    finish(worker(source, store), source)
    store.server.positions.clear()
    with pytest.raises(ConfigError, match="no position for partition 0"):
        finish(worker(source, store), source)


def test_a_store_that_cannot_tell_is_waited_for() -> None:
    class Down(Memory):
        down = False

        def apply(self, plan: Plan) -> None:
            if plan.start.next_offset == 3 and not self.down:
                self.down = True
                raise PositionConflict("moved")
            super().apply(plan)

        def read_book(self) -> Book | None:
            if self.down and not hasattr(self, "once"):
                self.once = True
                raise StoreUnavailable("down")
            return super().read_book()

    source, store = three(), Down()
    made = finish(worker(source, store), source)
    more(source, 1)
    finish(made, source)
    assert (made.status.conflicts, made.status.retries) == (1, 1)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 19}
