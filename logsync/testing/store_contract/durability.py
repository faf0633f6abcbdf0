"""Claims that need a server which dies and hangs: proven with the author's hooks, and "not proven" without them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from logsync.core.inspection import Severity
from logsync.core.position import Position
from logsync.core.store import Store
from logsync.core.write import Write
from logsync.errors import PositionConflict, StoreError
from logsync.testing.store_contract.given import Given
from logsync.testing.store_contract.making import first_book, parks, retries, steps, waiting

BOUND = 2.0
"""``store_timeout`` in these claims, in seconds."""
PATIENCE = 120.0
"""Seconds after which a call counts as one that never ends. A bound, not an expectation."""


class Durability(Given):
    """Points 1, 3, 4 and 5 of ``logsync.core.store``, as far as only a fault can show them."""

    def test_what_a_store_has_returned_for_outlives_the_server(self) -> None:
        self.needs("kill", "restart")
        store = self.begun()
        writes = [self.add("a", 5), self.put("b", 1)]
        store.apply(parks(Position(0, 0), waiting(1), waiting(2, "x"), to=3, events=[writes]))
        retry = retries(store.positions()[0], 1, writes=[self.add("a", 1)])
        store.apply(retry)
        self.kill()
        self.restart()
        again = self.client()
        assert again.positions() == {0: retry.end}
        assert again.read_book() == first_book(self.sink)
        assert again.parked(0) == [waiting(2, "x")]
        self.holds(*writes, self.add("a", 1))
        book = first_book(self.sink).next(skipped=frozenset({"b"}))
        again.write_book(book, positions=[Position(0, 5)])
        self.kill()
        self.restart()
        last = self.client()
        assert (last.read_book(), last.positions()) == (book, {0: Position(0, 5)})

    def test_a_server_that_is_gone_is_an_outage_and_the_same_store_goes_on_when_it_is_back(self) -> None:
        self.needs("kill", "restart")
        store = self._begun_in_haste()
        store.apply(steps(Position(0, 0), [self.add("a", 1)]))
        at, book = store.positions()[0], first_book(self.sink)
        self.kill()
        try:
            answered = self._call_all(store, at)
            assert not answered, f"{answered} answered, although nobody was there who could"
            with pytest.raises(StoreError):
                store.open(self.sink, self.brief(BOUND))
            seen = self.make_store(self.sink).inspect(self.sink, self.brief(BOUND))
            assert any(finding.severity is Severity.ERROR and finding.outage for finding in seen.findings)
            assert seen.positions is None, "a server that does not answer told no positions"
        finally:
            self.restart()
        store.open(self.sink, self.settings())  # replaces the broken connection
        assert (store.positions(), store.read_book()) == ({0: at}, book)
        store.apply(steps(at, [self.add("a", 1)]))
        self.holds(self.add("a", 1), self.add("a", 1))

    def test_a_server_that_hangs_is_an_outage_within_the_bound(self) -> None:
        self.needs("pause", "restart")
        store = self._begun_in_haste()
        plan = steps(Position(0, 0), [self.add("a", 1)])
        with self._hanging(), pytest.raises(StoreError):
            store.apply(plan)
        with self._hanging():
            self._call_all(store, Position(0, 0))
        with self._hanging(), pytest.raises(StoreError):
            self.make_store(self.sink).open(self.sink, self.brief(BOUND))
        store.open(self.sink, self.settings())
        try:
            store.apply(plan)
        except PositionConflict:  # its outcome was unknown, and it was carried out after all
            assert store.positions() == {0: plan.end}
        self.holds(self.add("a", 1))

    @pytest.mark.parametrize("seed", range(2))
    def test_a_server_that_is_killed_while_it_applies_holds_the_log_up_to_its_position(self, seed: int) -> None:
        self.needs("kill", "restart")
        rng = random.Random(seed)
        store = self._begun_in_haste()
        made = [self._event(rng) for _ in range(4_000)]
        at, told = Position(0, 0), 0
        killer = threading.Timer(rng.uniform(0.02, 0.4), self.kill)
        killer.start()
        try:
            for begin in range(0, len(made), 40):
                plan = steps(at, *made[begin : begin + 40])
                store.apply(plan)
                at, told = plan.end, plan.end.next_offset
        except StoreError:
            pass
        finally:
            killer.join()
            self.restart()
        store.open(self.sink, self.settings())
        found = store.positions()[0]
        assert found.next_offset in (told, told + 40), "a position that no plan has set, or one that was lost"
        if self.traits.atomic:
            self.holds(*(write for event in made[: found.next_offset] for write in event))
        for begin in range(found.next_offset, found.next_offset + 80, 40):
            plan = steps(store.positions()[0], *made[begin : begin + 40])
            store.apply(plan)  # a replayable store finds documents that are there already
        self.holds(*(write for event in made[: found.next_offset + 80] for write in event))

    def _begun_in_haste(self) -> Store:
        """A store with the short bound; what a sink's first start creates may take longer."""
        store = self.begun()
        store.open(self.sink, self.brief(BOUND))
        return store

    def _event(self, rng: random.Random) -> list[Write]:
        key = rng.choice("abcdef")
        return [rng.choice([self.put, self.add])(key, rng.randrange(100)), self.add(key, 1)]

    def _call_all(self, store: Store, at: Position) -> list[str]:
        """Call every method. Returns those that answered; all others have to say that it is an outage."""
        calls: dict[str, Callable[[], object]] = {
            "apply": lambda: store.apply(steps(at, [self.add("a", 1)])),
            "positions": store.positions,
            "read_book": store.read_book,
            "write_book": lambda: store.write_book(first_book(self.sink).next()),
            "sequences": lambda: store.sequences(0),
            "parked": lambda: store.parked(0),
            "holds_data": store.holds_data,
            "wipe": lambda: store.wipe(first_book(self.sink)),
        }
        answered = []
        for name, call in calls.items():
            try:
                call()
                answered.append(name)
            except StoreError:
                continue
        return answered

    @contextmanager
    def _hanging(self) -> Iterator[None]:
        """The server hangs in this block, and comes back after it. A call that outlives ``PATIENCE`` fails."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self.restart()

        self.pause()
        timer = threading.Timer(PATIENCE, give_up)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if not late.is_set():
                self.restart()
        assert not late.is_set(), f"a call did not end within {PATIENCE:.0f} s of a server that hangs: it has no bound"
