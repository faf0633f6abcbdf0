"""More memory stores with one fault each: in what they keep of the book and of parked events, and in what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from logsync.core.book import Book
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings
from tests.contract.faults import Fault

# The book


class TakesAnyRevision(Fault):
    """a book replaces another one whatever its revision is"""

    noticed_by = "test_the_book_is_replaced_only_on_top_of_the_revision_it_was_made_from"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        if self.sink in self.server.books:
            self.server.books[self.sink] = book.model_copy(update={"revision": book.revision - 1})
        super().write_book(book, positions=positions)


class IsClaimedTwice(Fault):
    """a first book replaces one that is there"""

    noticed_by = "test_a_book_cannot_be_claimed_twice"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        if book.revision == 1:
            self.server.books.pop(self.sink, None)
        super().write_book(book, positions=positions)


class ChangesNoBook(Fault):
    """a book is changed that is not there"""

    noticed_by = "test_a_book_cannot_be_changed_before_it_is_there"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        if self.sink not in self.server.books and book.revision > 1:
            self.server.books[self.sink] = book.model_copy(update={"revision": book.revision - 1})
        super().write_book(book, positions=positions)


class LosesTheSkips(Fault):
    """of a book only the log and the types are kept"""

    noticed_by = "test_a_book_with_much_in_it_comes_back_whole"

    def read_book(self) -> Book | None:
        book = super().read_book()
        return book and book.model_copy(update={"skips": ()})


class PositionsBeforeTheBook(Fault):
    """positions are replaced although the book is refused"""

    noticed_by = "test_positions_move_with_the_book_all_of_them_or_none"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        if positions is not None:
            self.server.positions[self.sink] = {at.partition: at for at in positions}
        super().write_book(book, positions=positions)


class PositionsAreAdded(Fault):
    """positions that come with a book are added to those that are there"""

    noticed_by = "test_positions_move_with_the_book_all_of_them_or_none"

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        before = self.positions()
        super().write_book(book, positions=positions)
        self.server.positions[self.sink] = {**before, **self.positions()}


class WipesUnderAnyBook(Fault):
    """a wipe does not look at the book"""

    noticed_by = "test_a_wipe_under_another_book_deletes_nothing"

    def wipe(self, book: Book) -> None:
        super().wipe(self.server.books[self.sink])


class WipesTheBook(Fault):
    """a wipe takes the book too"""

    noticed_by = "test_wipe_removes_all_content_and_can_be_repeated"

    def wipe(self, book: Book) -> None:
        super().wipe(book)
        del self.server.books[self.sink]


class WipeLeavesParked(Fault):
    """a wipe leaves what is parked"""

    noticed_by = "test_wipe_removes_all_content_and_can_be_repeated"

    def wipe(self, book: Book) -> None:
        parked = self.server.parked.get(self.sink, {})
        super().wipe(book)
        self.server.parked[self.sink] = parked


class WipeLeavesContent(Fault):
    """a wipe leaves the content"""

    noticed_by = "test_wipe_removes_all_content_and_can_be_repeated"

    def wipe(self, book: Book) -> None:
        content = self.content
        super().wipe(book)
        self.server.contents[self.sink] = content


# Opening, closing, looking


class CloseRaises(Fault):
    """a second close raises"""

    noticed_by = "test_a_store_can_be_opened_again_and_closed_twice"
    _closed = False

    def close(self) -> None:
        if self._closed:
            raise RuntimeError("closed already")
        self._closed = True

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:
        super().open(sink, settings)
        self._closed = False


class OpenEmpties(Fault):
    """open begins with empty tables"""

    noticed_by = "test_opening_creates_no_content_and_forgets_none"

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:
        super().open(sink, settings)
        self.server.contents.pop(sink, None)


class TellsNoData(Fault):
    """what is parked is no data"""

    noticed_by = "test_parked_events_come_back_whole_and_in_log_order"

    def holds_data(self) -> bool:
        return bool(self.content)


class InspectTellsNothing(Fault):
    """inspect tells nothing"""

    noticed_by = "test_inspect_tells_what_the_store_holds"

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        return Inspection()


class InspectTellsNothingParked(Fault):
    """inspect does not tell what is parked"""

    noticed_by = "test_inspect_tells_what_the_store_holds"

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        seen = super().inspect(sink, settings)
        seen.waiting = {}
        return seen


class InspectBegins(Fault):
    """inspect creates what it does not find"""

    noticed_by = "test_inspect_of_a_sink_that_never_began_finds_nothing"

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        self.server.positions.setdefault(sink, {0: Position(0, 0)})
        return super().inspect(sink, settings)


class SchemaOfNothing(Fault):
    """schema tells of what open does not create"""

    noticed_by = "test_schema_tells_what_open_creates"

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:
        return "CREATE TABLE items"


# Parked events


class ParksAgain(Fault):
    """a replay overwrites an event that is parked already"""

    noticed_by = "test_an_event_that_is_parked_already_stays_as_it_is"

    def apply(self, plan: Plan) -> None:
        super().apply(plan)
        self.server.parked[self.sink].update({(entry.partition, entry.offset): entry for entry in plan.parked})


class ParksInText(Fault):
    """parked events stand in the order of their offsets as text"""

    noticed_by = "test_log_order_is_that_of_numbers"

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        found = super().parked(partition, sequence=sequence, after=after, limit=10**9)
        return sorted(found, key=lambda entry: str(entry.offset))[:limit]


class TellsAll(Fault):
    """subclasses do not look at one option of ``parked``"""

    noticed_by = "test_parked_events_come_back_whole_and_in_log_order"
    option: ClassVar[str]

    def parked(self, partition: int, **options: Any) -> list[Parked]:
        options.pop(self.option, None)
        return super().parked(partition, **options)


class TellsAllSequences(TellsAll):
    """parked does not look at the sequence"""

    option = "sequence"


class TellsFromTheStart(TellsAll):
    """parked does not look at where to begin"""

    option = "after"


class TellsWithoutLimit(TellsAll):
    """parked does not look at the limit"""

    option = "limit"


class TellsFirstTheLast(Fault):
    """parked gives the last events first"""

    noticed_by = "test_parked_events_come_back_whole_and_in_log_order"

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        return super().parked(partition, sequence=sequence, after=after, limit=10**9)[::-1][:limit]


class LosesTheRecord(Fault):
    """a parked event comes back without the headers of its record"""

    noticed_by = "test_parked_events_come_back_whole_and_in_log_order"

    def parked(self, partition: int, **options: Any) -> list[Parked]:
        found = super().parked(partition, **options)
        return [entry._replace(record=entry.record._replace(headers=[])) for entry in found]


class CountsOne(Fault):
    """a sequence has one event, however many wait"""

    noticed_by = "test_sequences_tell_their_first_event_their_length_and_since_when_they_wait"

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        return {name: found._replace(events=1) for name, found in super().sequences(partition).items()}


class CutsSequences(Fault):
    """no more than a thousand sequences are told"""

    noticed_by = "test_many_sequences_come_back"

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        return dict(list(super().sequences(partition).items())[:1000])


class ForgetsToPark(Fault):
    """the position moves and nothing is parked"""

    noticed_by = "test_parked_events_come_back_whole_and_in_log_order"

    def apply(self, plan: Plan) -> None:
        super().apply(replace(plan, parked=[]))


class ReleasesNothing(Fault):
    """what is released stays parked, and will be applied again"""

    noticed_by = "test_a_retry_that_succeeds_applies_releases_and_leaves_the_next_offset"

    def apply(self, plan: Plan) -> None:
        super().apply(replace(plan, released=[]))


class ReleasesOne(Fault):
    """of several released events one leaves"""

    noticed_by = "test_as_many_events_as_the_store_says_are_released_at_once"

    def apply(self, plan: Plan) -> None:
        super().apply(replace(plan, released=plan.released[:1]))


class ForgetsTheAttempt(Fault):
    """what failed again is not noted"""

    noticed_by = "test_a_retry_that_fails_is_noted_and_the_event_stays"

    def apply(self, plan: Plan) -> None:
        super().apply(replace(plan, still_parked=[]))


class GivesUpForNothing(Fault):
    """the mark of an event that is given up is lost"""

    noticed_by = "test_a_retry_from_before_a_mark_is_refused"

    def parked(self, partition: int, **options: Any) -> list[Parked]:
        return [entry._replace(discarded=None) for entry in super().parked(partition, **options)]
