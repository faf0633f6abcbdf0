"""What Postgres keeps for a sink: its book, its positions, its content. Every function works on an open connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logsync.core.book import Book, book_conflict
from logsync.core.formats import number
from logsync.core.position import Position
from logsync.stores.postgres.encode import escaped, unescaped
from logsync.stores.postgres.shapes import quote

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

_COLUMNS = "partition, next_offset, epoch, last_offset, last_id, leader_epoch, releases, sources"  # as in Position
_POSITIONS = f"SELECT {_COLUMNS}, format FROM logsync.position WHERE sink = %s"
_ADD_POSITION = (
    f"INSERT INTO logsync.position (sink, {_COLUMNS}, format) "
    f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, {number('position')})"
)
_BOOK = "SELECT body::text FROM logsync.book WHERE sink = %s"
_FIRST_BOOK = "INSERT INTO logsync.book (sink, revision, body) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_NEXT_BOOK = "UPDATE logsync.book SET revision = %s, body = %s WHERE sink = %s AND revision = %s"
# Waits for a transaction that is writing another book, or makes it wait.
_STILL_BOOK = "SELECT FROM logsync.book WHERE sink = %s AND revision = %s FOR UPDATE"
_EXISTING = "SELECT name FROM unnest(%s::text[]) AS w (name) WHERE to_regclass(name) IS NOT NULL"


def read_book(link: Link, sink: str) -> Book | None:
    row = link.ask(_BOOK, sink).fetchone()
    return Book.read(row[0], f"sink {sink}: logsync.book") if row else None


def write_book(link: Link, book: Book, positions: Sequence[Position] | None) -> None:
    """Raises PositionConflict if another revision is stored than the one before ``book``."""
    body = book.dump()
    if book.revision == 1:
        changed = link.ask(_FIRST_BOOK, book.sink, 1, body)
    else:
        changed = link.ask(_NEXT_BOOK, book.revision, body, book.sink, book.revision - 1)
    if changed.rowcount == 0:
        raise book_conflict(book.sink, book.revision - 1)
    if positions is not None:
        stored = [at._replace(last_id=at.last_id and escaped(at.last_id)) for at in positions]
        rows = [(_ADD_POSITION, (book.sink, *position)) for position in stored]
        link.send([("DELETE FROM logsync.position WHERE sink = %s", (book.sink,)), *rows])


def hold_book(link: Link, sink: str, revision: int) -> None:
    """Nobody writes another book until the transaction ends. Raises PositionConflict if somebody has."""
    if link.ask(_STILL_BOOK, sink, revision).rowcount == 0:
        raise book_conflict(sink, revision)


def read_positions(link: Link, sink: str) -> dict[int, Position]:
    names = (*_COLUMNS.split(", "), "format")
    rows = link.ask(_POSITIONS, sink).fetchall()
    found = [Position.from_dict(dict(zip(names, row, strict=True))) for row in rows]
    return {at.partition: at._replace(last_id=at.last_id and unescaped(at.last_id)) for at in found}


def any_row(link: Link, sink: str, tables: Sequence[str]) -> bool:
    """True if a table of the sink holds a row, or an event is parked. Needs no tables that only ``open`` makes."""
    questions: list[tuple[str, Any]] = [(f"SELECT EXISTS (SELECT FROM {name})", ()) for name in existing(link, tables)]
    if link.ask("SELECT to_regclass('logsync.parked')").fetchone() != (None,):
        questions.append(("SELECT EXISTS (SELECT FROM logsync.parked WHERE sink = %s)", (sink,)))
    return any(cursor.fetchone() == (True,) for cursor in link.send(questions))


def existing(link: Link, tables: Sequence[str]) -> list[str]:
    """Those of the tables that exist, quoted for a statement with parameters."""
    rows = link.ask(_EXISTING, [quote(name) for name in tables]).fetchall()
    return [name.replace("%", "%%") for (name,) in rows]
