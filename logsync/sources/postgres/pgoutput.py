"""What Postgres' own output plugin says of a transaction, from bytes to values. Pure.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html, version 1 of the protocol: whole
transactions in the order of their commits, values as texts. ``decode`` is total: bytes that are none of these messages
raise ConfigError and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from struct import Struct, error
from typing import NamedTuple

from logsync.errors import ConfigError

_SINCE = datetime(2000, 1, 1, tzinfo=UTC)
"""Postgres counts microseconds from here."""


class Unchanged(Enum):
    """In place of a value that was left as it is, and is too large to be written again (TOAST)."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
Row = list[bytes | Unchanged | None]
"""The texts of a row, in the order of its relation's columns; None is NULL."""


class Begin(NamedTuple):
    """A transaction begins: all that follows up to Commit is of it."""

    final: int
    """The place (LSN) of its commit."""
    time: datetime
    """When it was committed."""
    xid: int


class Commit(NamedTuple):
    final: int
    end: int
    """The place behind the commit: what may be confirmed once the whole transaction is safe."""


class Column(NamedTuple):
    name: str
    type: int
    """The oid of its type."""
    key: bool
    """Is it part of the replica identity?"""


class Relation(NamedTuple):
    """A table as it is from here on. Comes before the first change of it, and again after it was altered."""

    id: int
    schema: str
    name: str
    identity: str
    """``d`` default, ``n`` nothing, ``f`` full, ``i`` index."""
    columns: tuple[Column, ...]


class Insert(NamedTuple):
    relation: int
    new: Row


class Update(NamedTuple):
    relation: int
    old: Row | None
    """None: the replica identity keeps nothing beyond what ``new`` has as well."""
    whole: bool
    """Does ``old`` have every column, or those of the key only?"""
    new: Row


class Delete(NamedTuple):
    relation: int
    old: Row
    whole: bool


class Truncate(NamedTuple):
    relations: tuple[int, ...]


class Message(NamedTuple):
    """What somebody wrote into the log itself, by ``pg_logical_emit_message``."""

    transactional: bool
    """True: it counts only as part of a transaction that was committed."""
    prefix: str
    content: bytes


Decoded = Begin | Commit | Relation | Insert | Update | Delete | Truncate | Message | None

_BEGIN = Struct("!qqI").unpack_from
_COMMIT = Struct("!Bqqq").unpack_from
_INT16 = Struct("!H").unpack_from
_INT32 = Struct("!I").unpack_from
_MESSAGE = Struct("!Bq").unpack_from
_KEY, _NEW, _OLD = b"KNO"
_NULL, _TEXT, _SAME = b"ntu"
_INSERT = ord("I")


def decode(data: bytes, start: int = 0) -> Decoded:
    """The message that begins at ``start`` and ends where ``data`` does; None for one that changes nothing for us
    (types, origins). Raises ConfigError."""
    try:
        kind = data[start]
        if kind == _INSERT:
            (relation,) = _INT32(data, start + 1)
            if data[start + 5] != _NEW:
                raise ValueError("an Insert without its row")
            new, end = _row(data, start + 6)
            found: Decoded = tuple.__new__(Insert, (relation, new))  # one call less for every row
        else:
            found, end = _OTHERS[kind](data, start + 1)
        if end != len(data):
            raise ValueError(f"{len(data) - start} bytes instead of {end - start}")
    except (error, LookupError, ValueError, OverflowError) as wrong:
        raise ConfigError(
            f"expected a message of pgoutput, protocol version 1, found {data[start : start + 40]!r}: {wrong}",
            fix="use Postgres 15 or later; if it is one, please report this as a bug of logsync",
        ) from None
    return found


def _row(data: bytes, at: int) -> tuple[Row, int]:
    (count,) = _INT16(data, at)
    at += 2
    row: Row = []
    for _ in range(count):
        kind = data[at]
        if kind == _TEXT:
            begin = at + 5
            at = begin + int.from_bytes(data[at + 1 : begin], "big")
            row.append(data[begin:at])
        elif kind == _NULL:
            row.append(None)
            at += 1
        elif kind == _SAME:
            row.append(UNCHANGED)
            at += 1
        else:
            raise ValueError(f"a value of kind {kind}")
    return row, at


def _begin(data: bytes, at: int) -> tuple[Begin, int]:
    final, time, xid = _BEGIN(data, at)
    return Begin(final, _time(time), xid), at + 20


def _commit(data: bytes, at: int) -> tuple[Commit, int]:
    _, final, end, _ = _COMMIT(data, at)
    return Commit(final, end), at + 25


def _relation(data: bytes, at: int) -> tuple[Relation, int]:
    (relation,) = _INT32(data, at)
    schema, at = _name(data, at + 4)
    name, at = _name(data, at)
    identity = chr(data[at])
    (count,) = _INT16(data, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        key = bool(data[at] & 1)
        column, at = _name(data, at + 1)
        (type_,) = _INT32(data, at)
        columns.append(Column(column, type_, key))
        at += 8  # and the type's modifier
    return Relation(relation, schema, name, identity, tuple(columns)), at


def _update(data: bytes, at: int) -> tuple[Update, int]:
    (relation,) = _INT32(data, at)
    at += 4
    old, whole = None, data[at] == _OLD
    if whole or data[at] == _KEY:
        old, at = _row(data, at + 1)
    if data[at] != _NEW:
        raise ValueError("an Update without its new row")
    new, at = _row(data, at + 1)
    return Update(relation, old, whole, new), at


def _delete(data: bytes, at: int) -> tuple[Delete, int]:
    (relation,) = _INT32(data, at)
    kind = data[at + 4]
    if kind not in (_OLD, _KEY):
        raise ValueError("a Delete without its row")
    old, at = _row(data, at + 5)
    return Delete(relation, old, kind == _OLD), at


def _truncate(data: bytes, at: int) -> tuple[Truncate, int]:
    (count,) = _INT32(data, at)
    at += 5  # and how it was asked for
    if at + 4 * count != len(data):
        raise ValueError(f"{count} tables")
    return Truncate(tuple(_INT32(data, place)[0] for place in range(at, len(data), 4))), len(data)


def _message(data: bytes, at: int) -> tuple[Message, int]:
    flags, _ = _MESSAGE(data, at)
    prefix, at = _name(data, at + 9)
    (length,) = _INT32(data, at)
    at += 4
    return Message(bool(flags & 1), prefix, data[at : at + length]), at + length


def _type(data: bytes, at: int) -> tuple[None, int]:
    _, at = _name(data, at + 4)
    return None, _name(data, at)[1]


def _origin(data: bytes, at: int) -> tuple[None, int]:
    return None, _name(data, at + 8)[1]


_OTHERS: dict[int, Callable[[bytes, int], tuple[Decoded, int]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("M"): _message,
    ord("Y"): _type,
    ord("O"): _origin,
}


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return str(data[at:end], "utf-8"), end + 1


def _time(microseconds: int) -> datetime:
    return _SINCE + timedelta(microseconds=microseconds)
