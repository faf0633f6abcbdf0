"""Claims on the book, on opening and closing, and on what can be asked about a store."""

from __future__ import annotations

import pytest

from logsync.core.book import AuditEntry, Request, Skip
from logsync.core.offsets import Offsets
from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict
from logsync.testing.store_contract.given import Given
from logsync.testing.store_contract.making import KNOWN, NOON, ODD, first_book, newer_version, parks, steps, waiting


class Books(Given):
    """Point 5 of ``logsync.core.store``, and its methods for the book, for wiping and for looking."""

    def test_a_store_that_never_saw_the_sink_has_no_book_no_position_and_no_data(self) -> None:
        store = self.client()
        assert store.read_book() is None
        assert store.positions() == {}
        assert not store.holds_data()
        assert store.parked(0) == []
        assert store.sequences(0) == {}

    def test_the_book_and_the_positions_come_back_as_they_were_written(self) -> None:
        store = self.begun()
        for each in (store, self.client()):
            assert each.read_book() == first_book(self.sink)
            assert each.positions() == {0: Position(0, 0)}

    def test_a_book_with_much_in_it_comes_back_whole(self) -> None:
        store = self.begun()
        skip = Skip(partition=0, offsets=Offsets([3, 4, 9]), reason=ODD, at=NOON)
        asked = Request(id="r", partitions=(0,), sequence=ODD, at=NOON, reason="no", offsets={0: Offsets([7])})
        changed = first_book(self.sink).next(
            audit=AuditEntry(at=NOON, action="skip", detail={"why": ODD}),
            skips=(skip,), requests=(asked,), skipped=frozenset({"b", ODD}),
        )  # fmt: skip
        store.write_book(changed)
        assert self.client().read_book() == changed

    def test_what_a_newer_version_wrote_is_refused(self) -> None:
        """Half-reading it would be worse: a program that writes it back drops what it did not know.

        A position may be columns of a table: it is never read without the book.
        """
        if not self.outlives_the_process:
            return
        with newer_version():
            self.begun().apply(parks(Position(0, 0), waiting(1), to=2))
        with pytest.raises(ConfigError):
            self.client().read_book()
        with pytest.raises(ConfigError):
            self.client().parked(0)

    def test_the_book_is_replaced_only_on_top_of_the_revision_it_was_made_from(self) -> None:
        store, rival = self.begun(), self.client()
        first = first_book(self.sink)
        second = first.next(skipped=frozenset({"b"}))
        store.write_book(second)
        assert rival.read_book() == second
        for late in (first.next(), second.next().next()):
            with pytest.raises(PositionConflict):
                rival.write_book(late)
        assert store.read_book() == second

    def test_a_book_cannot_be_claimed_twice(self) -> None:
        store = self.begun()
        store.apply(steps(Position(0, 0), []))
        with pytest.raises(PositionConflict):
            self.client().write_book(first_book(self.sink), positions=[Position(0, 0)])
        assert store.positions()[0].next_offset == 1

    def test_a_book_cannot_be_changed_before_it_is_there(self) -> None:
        store = self.client()
        with pytest.raises(PositionConflict):
            store.write_book(first_book(self.sink).next(), positions=[Position(0, 0)])
        assert store.read_book() is None
        assert store.positions() == {}

    def test_positions_move_with_the_book_all_of_them_or_none(self) -> None:
        count = min(2, self.partitions)
        store = self.begun(partitions=count)
        book = first_book(self.sink, partitions=count)
        store.write_book(book.next())
        assert len(store.positions()) == count, "a book without positions leaves them"
        with pytest.raises(PositionConflict):
            store.write_book(book.next(), positions=[Position(0, 50)])
        assert store.positions()[0] == Position(0, 0)
        moved = Position(0, 70, 1, 69, "x", 3, 2, KNOWN)
        store.write_book(book.next().next(), positions=[moved])
        assert self.client().positions() == {0: moved}, "positions that are given replace all that were there"

    def test_wipe_removes_all_content_and_can_be_repeated(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(1), to=2, events=[[self.put("a", 1), self.add("b", 1)]]))
        assert store.holds_data()
        wiping = first_book(self.sink).next(state="wiping", epoch=2)
        store.write_book(wiping, positions=[])
        store.wipe(wiping)
        store.wipe(wiping)
        assert not store.holds_data()
        self.holds()
        assert store.read_book() == wiping, "the book is the caller's"
        ready = wiping.next(state="ready")
        store.write_book(ready, positions=[Position(0, 0, 2)])
        assert store.parked(0) == []
        assert store.sequences(0) == {}
        store.apply(steps(Position(0, 0, 2), [self.add("b", 1)]))
        self.holds(self.add("b", 1))

    def test_a_wipe_under_another_book_deletes_nothing(self) -> None:
        """A rebuild that another one overtook must not delete what that one has replayed."""
        store, late = self.begun(), self.client()
        mine = first_book(self.sink).next(state="wiping", epoch=2)
        store.write_book(mine, positions=[])
        theirs = mine.next(state="wiping", epoch=3)
        store.write_book(theirs, positions=[])
        store.wipe(theirs)
        store.write_book(theirs.next(state="ready"), positions=[Position(0, 0, 3)])
        store.apply(parks(Position(0, 0, 3), waiting(1), to=2, events=[[self.add("a", 5)]]))
        with pytest.raises(PositionConflict):
            late.wipe(mine)
        self.holds(self.add("a", 5))
        assert store.parked(0) == [waiting(1)]

    # Opening and closing

    def test_building_a_store_asks_nobody(self) -> None:
        store = self.make_store(self.sink)
        assert store.kind
        assert " " not in store.kind
        assert self.partitions >= 1
        assert self.traits.parked_per_retry == 1 or self.traits.atomic, "only one transaction can release several"
        store.close()
        store.close()

    def test_a_store_can_be_opened_again_and_closed_twice(self) -> None:
        store = self.begun()
        store.apply(parks(Position(0, 0), waiting(1), to=2, events=[[self.add("a", 1)]]))
        before = store.positions()
        store.open(self.sink, self.settings())  # as a worker does after every error: without closing it first
        assert store.positions() == before
        store.close()
        store.close()
        store.open(self.sink, self.settings())
        assert store.positions() == before
        assert store.read_book() == first_book(self.sink)
        assert store.parked(0) == [waiting(1)]
        store.apply(steps(before[0], [self.add("a", 1)]))
        self.holds(self.add("a", 1), self.add("a", 1))

    def test_opening_creates_no_content_and_forgets_none(self) -> None:
        store = self.begun()
        store.apply(steps(Position(0, 0), [self.put("a", 1)]))
        for _ in range(3):
            assert self.client().holds_data()
        self.holds(self.put("a", 1))

    # Looking

    def test_schema_tells_what_open_creates(self) -> None:
        for store in (self.make_store(self.sink), self.client()):
            text = store.schema(self.sink, self.settings())
            for name in self.creates:
                assert name in text, f"schema() does not tell of {name}, which open() creates"
            assert bool(text) == bool(self.creates), "schema() is empty if and only if open() creates nothing"

    def test_inspect_tells_what_the_store_holds(self) -> None:
        store = self.begun()
        plan = parks(Position(0, 0), waiting(1), waiting(2, ODD), to=3, events=[[self.put("a", 1)]])
        store.apply(plan)
        seen = self.make_store(self.sink).inspect(self.sink, self.settings())
        assert seen.book == first_book(self.sink)
        assert seen.positions == {0: plan.end}
        assert seen.waiting == {0: store.sequences(0)}

    def test_inspect_of_a_sink_that_never_began_finds_nothing(self) -> None:
        self.client()
        seen = self.make_store(self.sink).inspect(self.sink, self.settings())
        assert seen.book is None
        assert not seen.positions
        assert not seen.holds_data
        assert not any(seen.waiting.values())
