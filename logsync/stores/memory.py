"""A store in memory for unit tests of sinks: it carries out every family of writes, without any server.

It keeps the contract of ``logsync.core.store`` (the same suite runs over it), except that nothing outlives
the process. ``Sql`` and ``InTransaction`` are recorded in ``content.statements`` and not run: there is no
database behind it that could run them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from logsync.writes import docs, keys, rows

Row = dict[str, Any]


@dataclass
class Content:
    """What the writes made, open for a test to look at."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    """Redis values: str, int counters, dict (hash), set, and dict of scores (sorted set)."""
    expiries: dict[str, datetime] = field(default_factory=dict)
    docs: dict[str, dict[str, Row]] = field(default_factory=dict)
    statements: list[rows.Sql | rows.InTransaction] = field(default_factory=list)

    def row(self, table: str, **key: Any) -> Row | None:
        """The one row that holds all of ``key``, or None."""
        return next(_matching(self.tables.get(table, []), key), None)

    def __bool__(self) -> bool:
        return any((*self.tables.values(), self.keys, *self.docs.values()))


class Server:
    """What several Memory stores share, as several clients share one database."""

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self.books: dict[str, Book] = {}
        self.positions: dict[str, dict[int, Position]] = {}
        self.parked: dict[str, dict[tuple[int, int], Parked]] = {}  # by partition and offset


class Memory:
    """A Store that keeps everything in this process."""

    kind = "memory"
    accepts: frozenset[type[Write]] = frozenset({
        rows.Upsert, rows.Increment, rows.Delete, rows.Sql, rows.InTransaction,
        keys.Set, keys.Incr, keys.HSet, keys.HIncr, keys.HDel, keys.SAdd, keys.SRem, keys.ZAdd, keys.ZIncr, keys.ZRem,
        keys.Del, keys.ExpireAt, docs.IndexDoc, docs.UpdateDoc, docs.DeleteDoc,
    })  # fmt: skip
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
        stored = self.server.positions.get(self.sink, {}).get(plan.start.partition)
        if stored is None or stored.place != plan.start.place:
            raise PositionConflict(f"expected {plan.start}, found {stored}")
        draft = copy.deepcopy(self.content)  # atomic: a refused write leaves no trace of the plan
        for offset, write in zip(plan.offsets, plan.writes, strict=True):
            try:
                _carry_out(draft, write)
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

    def inspect(self, sink: str, settings: StoreSettings | None = None) -> Inspection:
        self.open(sink, settings)
        waiting = {number: self.sequences(number) for number in self.positions()}
        return Inspection([], self.read_book(), self.positions(), self.holds_data(), waiting)

    def __repr__(self) -> str:
        return "Memory()"


def _matching(table: list[Row], key: Mapping[str, Any]) -> Iterator[Row]:
    return (row for row in table if all(row.get(column) == value for column, value in key.items()))


def _row(content: Content, table: str, key: Mapping[str, Any]) -> Row:
    if not key:
        raise ValueError("the key is empty")
    rows_of = content.tables.setdefault(table, [])
    row = next(_matching(rows_of, key), None)
    if row is None:
        row = dict(key)
        rows_of.append(row)
    return row


def _number(value: Any, *also: type) -> Any:
    if type(value) is not int and type(value) not in also:
        raise TypeError(f"expected an integer, found {type(value).__name__} {value!r}")
    return value


def _typed(content: Content, key: str, kind: type) -> Any:
    value = content.keys.setdefault(key, kind())
    if type(value) is not kind:
        raise TypeError(f"key {key} holds {type(value).__name__}, expected {kind.__name__}")
    return value


class _Scores(dict[str, int]):
    """A sorted set; a type of its own, so that it is not taken for a hash."""


def _tidy(content: Content, key: str) -> None:
    if not content.keys.get(key, True):  # Redis has no empty hash or set
        del content.keys[key]


def _carry_out(content: Content, write: Write) -> None:
    """Raises TypeError, ValueError or AttributeError for a write that the real store would refuse."""
    match write:
        case rows.Upsert():
            _row(content, write.table, write.key).update(write.values)
        case rows.Increment():
            row = _row(content, write.table, write.key)
            for column, amount in write.by.items():
                row[column] = _number(row.get(column) or 0, Decimal) + _number(amount, Decimal)
        case rows.Delete():
            if not write.key:
                raise ValueError("the key is empty")
            table = content.tables.get(write.table, [])
            gone = list(_matching(table, write.key))
            content.tables[write.table] = [row for row in table if row not in gone]
        case rows.Sql() | rows.InTransaction():
            content.statements.append(write)
        case keys.Set():
            if type(write.value) not in (str, bytes, int):
                raise TypeError(f"expected str, bytes or int, found {type(write.value).__name__}")
            content.keys[write.key] = write.value if isinstance(write.value, bytes) else str(write.value)
            content.expiries.pop(write.key, None)
            if write.expire_at:
                content.expiries[write.key] = write.expire_at
        case keys.Incr():
            found = content.keys.get(write.key, "0")
            if type(found) is not str:
                raise TypeError(f"key {write.key} holds {type(found).__name__}, expected an integer")
            content.keys[write.key] = str(int(found) + _number(write.by))
        case keys.HSet():
            _typed(content, write.key, dict).update({name: str(value) for name, value in write.fields.items()})
        case keys.HIncr():
            fields = _typed(content, write.key, dict)
            for name, by in write.by.items():
                fields[name] = str(int(fields.get(name, "0")) + _number(by))
        case keys.HDel():
            for name in write.fields:
                _typed(content, write.key, dict).pop(name, None)
            _tidy(content, write.key)
        case keys.SAdd():
            _typed(content, write.key, set).update(str(member) for member in write.members)
        case keys.SRem():
            _typed(content, write.key, set).difference_update(str(member) for member in write.members)
            _tidy(content, write.key)
        case keys.ZAdd():
            scores = _typed(content, write.key, _Scores)
            scores.update({name: _number(score) for name, score in write.scores.items()})
        case keys.ZIncr():
            scores = _typed(content, write.key, _Scores)
            for name, by in write.by.items():
                scores[name] = scores.get(name, 0) + _number(by)
        case keys.ZRem():
            for name in write.members:
                _typed(content, write.key, _Scores).pop(name, None)
            _tidy(content, write.key)
        case keys.Del():
            content.keys.pop(write.key, None)
            content.expiries.pop(write.key, None)
        case keys.ExpireAt():
            if write.key in content.keys:
                content.expiries[write.key] = write.at
        case docs.IndexDoc():
            content.docs.setdefault(write.index, {})[write.id] = dict(write.doc)
        case docs.UpdateDoc():
            doc = content.docs.setdefault(write.index, {}).setdefault(write.id, {})
            doc.update(write.set)
            for name, by in write.add.items():
                doc[name] = _number(doc.get(name, 0)) + _number(by)
        case docs.DeleteDoc():
            content.docs.get(write.index, {}).pop(write.id, None)
        case _:
            raise TypeError(f"{type(write).__name__} is not a write of memory")
