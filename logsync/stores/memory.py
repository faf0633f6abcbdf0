"""A store in memory for unit tests of sinks: it carries out every family of writes, by their laws and without a server.

It keeps the contract of ``logsync.core.store`` (the same suite runs over it), except that nothing outlives
the process. ``Sql`` and ``InTransaction`` are recorded in ``content.statements`` and not run: there is no
database behind it that could run them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.view import NO_RETRIES, Place, Retried, Sight, View
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from logsync.writes import docs, keys, rows
from logsync.writes.content import Content

_ONE_AT_A_TIME = threading.Lock()
"""Two workers of one test may be two threads, and an apply is one step."""


class Server:
    """What several Memory stores share, as several clients share one database."""

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self.books: dict[str, Book] = {}
        self.positions: dict[str, dict[int, Position]] = {}
        self.parked: dict[str, dict[tuple[int, int], Parked]] = {}  # by partition and offset


def _family(module: ModuleType) -> frozenset[type[Write]]:
    """The writes that a module of ``logsync.writes`` declares."""
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Write)]
    return frozenset(each for each in found if hasattr(each, "__dataclass_fields__"))


class _MemoryView:
    """See ``logsync.core.view.View``."""

    def __init__(self, server: Server, sink: str) -> None:
        self._server, self._sink = server, sink

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        with _ONE_AT_A_TIME:
            parked = self._server.parked.get(self._sink, {})
            waits = {place: parked[place].reason for place in asked if place in parked}
            for (number, offset), (event_id, since) in retried.items():
                for each in parked.values():
                    if (each.partition, each.event_id) == (number, event_id) and since <= each.offset < offset:
                        waits[number, offset] = each.reason
            positions = dict(self._server.positions.get(self._sink, {}))
            return Sight(self._server.books.get(self._sink), positions, waits)

    def close(self) -> None:
        pass


class Memory:
    """A Store that keeps everything in this process."""

    kind = "memory"
    accepts: frozenset[type[Write]] = _family(rows) | _family(keys) | _family(docs)
    traits = Traits(atomic=True)
    meanwhile: Callable[[], bool] | None = None  # it never waits

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server()
        self.sink = ""

    @property
    def content(self) -> Content:
        return self.server.contents.setdefault(self.sink, Content())

    def open(self, sink: str, settings: StoreSettings | None = None) -> None:  # noqa: ARG002 - the contract's signature
        self.sink = sink

    def close(self) -> None:
        pass

    def read_book(self) -> Book | None:
        return self.server.books.get(self.sink)

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        stored = self.server.books.get(self.sink)
        found = stored.revision if stored else 0
        if found != book.revision - 1:
            raise book_conflict(self.sink, book.revision - 1, found)
        self.server.books[self.sink] = book
        if positions is not None:
            self.server.positions[self.sink] = {position.partition: position for position in positions}

    def positions(self) -> dict[int, Position]:
        return dict(self.server.positions.get(self.sink, {}))

    def apply(self, plan: Plan) -> None:
        with _ONE_AT_A_TIME:
            self._apply(plan)

    def _apply(self, plan: Plan) -> None:
        stored = self.server.positions.get(self.sink, {}).get(plan.start.partition)
        if stored is None or stored.place != plan.start.place:
            raise PositionConflict(f"expected {plan.start}, found {stored}")
        draft = Content(self.content.by_target)  # atomic: a refused write leaves no trace of the plan
        for offset, write in zip(plan.offsets, plan.writes, strict=True):
            try:
                draft.carry_out(write)
            except (TypeError, ValueError, AttributeError) as error:
                raise WriteRejected(f"{write!r}: {error}", offset=offset) from error
        self.server.contents[self.sink] = draft
        self.server.positions[self.sink][plan.start.partition] = plan.end
        parked = self.server.parked.setdefault(self.sink, {})
        for entry in plan.parked:
            parked.setdefault((entry.partition, entry.offset), entry)
        parked.update({(entry.partition, entry.offset): entry for entry in plan.still_parked})
        for offset in plan.released:
            parked.pop((plan.start.partition, offset), None)

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        found: dict[str, SequenceSummary] = {}
        for entry in self.parked(partition, limit=1_000_000_000):
            first = found.get(entry.sequence, SequenceSummary(entry.offset, 0, entry.first_at, entry.error))
            found[entry.sequence] = first._replace(events=first.events + 1)
        return found

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        mine = sorted(self.server.parked.get(self.sink, {}).items())
        return [
            entry
            for (number, offset), entry in mine
            if number == partition and offset > after and sequence in (None, entry.sequence)
        ][:limit]

    def holds_data(self) -> bool:
        return bool(self.content) or bool(self.server.parked.get(self.sink))

    def wipe(self, book: Book) -> None:
        if self.server.books.get(self.sink) != book:
            raise book_conflict(self.sink, book.revision)
        self.server.contents[self.sink] = Content()
        self.server.parked.pop(self.sink, None)

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:  # noqa: ARG002 - the contract's
        return ""

    def view(self, sink: str, settings: StoreSettings | None = None) -> View:  # noqa: ARG002 - the contract's
        return _MemoryView(self.server, sink)

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        self.open(sink, settings)
        waiting = {number: self.sequences(number) for number in self.positions()}
        return Inspection([], self.read_book(), self.positions(), self.holds_data(), waiting)

    def __repr__(self) -> str:
        return "Memory()"
