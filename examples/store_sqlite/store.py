"""A store in one file of SQLite: content, position, book and parked events move in one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from examples.store_sqlite.writes import ACCEPTS, carry_out, quoted
from logsync import LogsyncError
from logsync.stores import (
    Book,
    ConfigError,
    Inspection,
    Parked,
    Place,
    Plan,
    Position,
    PositionConflict,
    Retried,
    SequenceSummary,
    Sight,
    StoreOutcomeUnknown,
    StoreSettings,
    StoreUnavailable,
    Traits,
    View,
    Write,
    WriteRejected,
    book_conflict,
    noting,
)

BOOKKEEPING = Path(__file__).with_name("bookkeeping.sql").read_text()
PASSES = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY")
"""Errors that say nothing about the event: somebody holds the lock, the disk is full or away."""


class Sqlite:
    """Rows in a file of SQLite, exact: writes and position are one transaction.

    ``schema`` is the sink's DDL, every table STRICT: without it SQLite stores a text in a column of integers.
    ``tables`` are those that the sink owns: ``wipe`` empties them, and ``holds_data`` looks into them.
    """

    kind = "sqlite"
    accepts: frozenset[type[Write]] = ACCEPTS
    traits = Traits(atomic=True)
    meanwhile: Callable[[], bool] | None = None  # it never waits for a server

    def __init__(self, path: str | Path, *, schema: str = "", tables: Sequence[str] = ()) -> None:
        self._path, self._schema, self._tables = Path(path), schema, tuple(tables)
        self._sink = ""
        self._connection: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"Sqlite({str(self._path)!r}, tables={list(self._tables)})"

    def open(self, sink: str, settings: StoreSettings) -> None:
        self._connect(sink, settings, mode="rwc")
        try:
            with self._errors("open"):
                self._opened.execute("PRAGMA journal_mode = WAL")
                self._opened.execute("PRAGMA synchronous = FULL")  # NORMAL may lose what was acknowledged
                self._opened.executescript(f"BEGIN IMMEDIATE; {self.schema()} COMMIT;")
        except LogsyncError:
            self.close()
            raise

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:  # noqa: ARG002 - the contract's
        return f"{BOOKKEEPING}{self._schema}\n"

    # The book and the positions

    def read_book(self) -> Book | None:
        row = self._ask("SELECT body FROM logsync_book WHERE sink = ?", self._sink).fetchone()
        return Book.read(row[0], f"{self._path}: logsync_book") if row else None

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        with self._transaction("write the book") as connection:
            found = self._revision(connection)
            if found != book.revision - 1:
                raise book_conflict(self._sink, book.revision - 1, found)
            row = (self._sink, book.revision, book.dump())
            connection.execute("REPLACE INTO logsync_book VALUES (?, ?, ?)", row)
            if positions is not None:
                connection.execute("DELETE FROM logsync_position WHERE sink = ?", [self._sink])
                rows = [(self._sink, at.partition, str(at.place), _text(at)) for at in positions]
                connection.executemany("INSERT INTO logsync_position VALUES (?, ?, ?, ?)", rows)

    def _revision(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT revision FROM logsync_book WHERE sink = ?", [self._sink]).fetchone()
        return row[0] if row else 0

    def positions(self) -> dict[int, Position]:
        rows = self._ask("SELECT partition, body FROM logsync_position WHERE sink = ?", self._sink)
        return {partition: Position.from_dict(json.loads(body)) for partition, body in rows}

    # Applying

    def apply(self, plan: Plan) -> None:
        with self._transaction("apply") as connection:
            self._move(connection, plan.start, plan.end)
            for offset, write in zip(plan.offsets, plan.writes, strict=True):
                try:
                    carry_out(connection, write)
                except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
                    if _passes(error) or "no such table" in str(error):
                        raise  # the event is not at fault
                    raise WriteRejected(f"{write}: {error}", offset=offset) from None
            self._park(connection, plan)

    def _move(self, connection: sqlite3.Connection, start: Position, end: Position) -> None:
        """Compare, then set: whoever comes second finds another place there."""
        moved = connection.execute(
            "UPDATE logsync_position SET place = ?, body = ? WHERE sink = ? AND partition = ? AND place = ?",
            [str(end.place), _text(end), self._sink, start.partition, str(start.place)],
        )
        if moved.rowcount == 0:
            raise PositionConflict(f"sink {self._sink}: expected {start}, and the store has another position")

    def _park(self, connection: sqlite3.Connection, plan: Plan) -> None:
        for clause, entries in (("IGNORE", plan.parked), ("REPLACE", plan.still_parked)):
            rows = [(self._sink, e.partition, e.offset, json.dumps(e.sequence), e.to_json()) for e in entries]
            connection.executemany(f"INSERT OR {clause} INTO logsync_parked VALUES (?, ?, ?, ?, ?)", rows)
        gone = [(self._sink, plan.start.partition, offset) for offset in plan.released]
        connection.executemany('DELETE FROM logsync_parked WHERE sink = ? AND partition = ? AND "offset" = ?', gone)

    # Parked events

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        # Of a group with min() SQLite gives the other columns from the row that has it.
        rows = self._ask(
            'SELECT min("offset"), count(*), body FROM logsync_parked WHERE sink = ? AND partition = ? '
            "GROUP BY sequence",
            self._sink, partition,
        )  # fmt: skip
        firsts = [(Parked.from_json(body), count) for _, count, body in rows]
        return {e.sequence: SequenceSummary(e.offset, count, e.first_at, e.error) for e, count in firsts}

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        name = None if sequence is None else json.dumps(sequence)
        rows = self._ask(
            'SELECT body FROM logsync_parked WHERE sink = ? AND partition = ? AND "offset" > ? '
            'AND (? IS NULL OR sequence = ?) ORDER BY "offset" LIMIT ?',
            self._sink, partition, after, name, name, limit,
        )  # fmt: skip
        return [Parked.from_json(body) for (body,) in rows]

    # Content as a whole

    def holds_data(self) -> bool:
        return any(self._ask(f"SELECT 1 FROM {where} LIMIT 1", *values).fetchone() for where, values in self._all())

    def wipe(self, book: Book) -> None:
        with self._transaction("wipe") as connection:
            found = self._revision(connection)
            if found != book.revision:
                raise book_conflict(self._sink, book.revision, found)
            for where, values in self._all():
                connection.execute(f"DELETE FROM {where}", values)

    def _all(self) -> list[tuple[str, list[str]]]:
        """Everything that is the sink's content: a table and which of its rows, with the values for that."""
        return [*((quoted(table), []) for table in self._tables), ("logsync_parked WHERE sink = ?", [self._sink])]

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        """Opens the file to read only: a command that looks must not create it."""
        seen, twin = Inspection(), Sqlite(self._path, tables=self._tables)
        if self._path.parent.exists() and not self._path.exists():
            return Inspection(positions={})
        with noting(seen.findings, "sqlite.file"), closing(twin):
            twin._connect(sink, settings, mode="ro")
            seen.book, positions = twin.read_book(), twin.positions()
            seen.holds_data = seen.book is None and twin.holds_data()
            seen.waiting = {partition: twin.sequences(partition) for partition in positions}
            seen.positions = positions
        return seen

    def view(self, sink: str, settings: StoreSettings) -> View:
        return SqliteView(self._path, sink, settings)

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = MappingProxyType({})) -> Sight:
        """All of one snapshot: in WAL mode a transaction that reads keeps the one of its first SELECT."""
        with self._errors("look"):
            self._opened.execute("BEGIN")
        try:
            found = [entry for place in asked for entry in self.parked(place[0], after=place[1] - 1, limit=1)]
            waiting = {(entry.partition, entry.offset): entry.reason for entry in found}
            parked = {place: waiting[place] for place in asked if place in waiting}
            for place, (event_id, since) in retried.items():
                for entry in self.parked(place[0], after=since - 1, limit=place[1] - since):
                    if entry.event_id == event_id and entry.offset < place[1]:
                        parked[place] = entry.reason
            return Sight(self.read_book(), self.positions(), parked)
        finally:
            self._opened.execute("COMMIT")

    # The one connection, and its errors

    def _connect(self, sink: str, settings: StoreSettings, mode: str) -> None:
        self.close()
        self._sink = sink
        name = f"file:{quote(str(self._path.absolute()))}?mode={mode}"
        with self._errors("open"):
            # isolation_level None: no statement begins a transaction behind our back. A lock is waited for, in bounds.
            self._connection = sqlite3.connect(name, uri=True, timeout=settings.store_timeout, isolation_level=None)

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable(f"{self._path} is not open")
        return self._connection

    def _ask(self, question: str, *values: object) -> sqlite3.Cursor:
        with self._errors("read"):
            return self._opened.execute(question, values)

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._errors(what):
            connection = self._opened
            connection.execute("BEGIN IMMEDIATE")  # the lock at once: a reader that becomes a writer may never get it
            try:
                yield connection
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self.close()  # rolls back, if there is still something to roll back
                raise StoreOutcomeUnknown(f"{self._path}: {what}: the commit failed: {error}") from None

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Nothing leaves but errors of logsync."""
        try:
            yield
        except sqlite3.Error as error:
            text = f"{self._path}: {what}: {error}"
            if _passes(error):
                raise StoreUnavailable(text) from None
            raise ConfigError(text, fix="put the file and the sink's schema in order") from None


class SqliteView:
    """What web apps and other sinks ask: over a connection of its own, which only reads."""

    def __init__(self, path: Path, sink: str, settings: StoreSettings) -> None:
        self._store, self._path, self._sink, self._settings = Sqlite(path), path, sink, settings

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = MappingProxyType({})) -> Sight:
        if self._path.parent.exists() and not self._path.exists():  # without its folder, the disk may be away
            return Sight(None, {}, {})
        try:
            self._store._connect(self._sink, self._settings, mode="ro")
            return self._store.look(asked, retried)
        finally:
            self._store.close()

    def close(self) -> None:
        self._store.close()


def _passes(error: Exception) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(PASSES)


def _text(position: Position) -> str:
    return json.dumps(position.to_dict())
