"""Messages of pgoutput as a server writes them: the reverse of what is tested, from the page of its formats."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import pack

from logsync.sources.postgres.pgoutput import UNCHANGED, Column, Row

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def micros(time: datetime) -> int:
    return (time - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def name(text: str) -> bytes:
    return text.encode() + b"\0"


def begin(final: int, time: datetime = NOON, xid: int = 7) -> bytes:
    return b"B" + pack("!qqI", final, micros(time), xid)


def commit(final: int, end: int, time: datetime = NOON) -> bytes:
    return b"C" + pack("!Bqqq", 0, final, end, micros(time))


def relation(oid: int, schema: str, table: str, columns: Sequence[Column], identity: str = "d") -> bytes:
    told = b"".join(pack("!B", each.key) + name(each.name) + pack("!Ii", each.type, -1) for each in columns)
    return b"R" + pack("!I", oid) + name(schema) + name(table) + identity.encode() + pack("!H", len(columns)) + told


def row(values: Row) -> bytes:
    told = b"".join(
        b"n" if value is None else b"u" if value is UNCHANGED else b"t" + pack("!I", len(value)) + value
        for value in values
    )
    return pack("!H", len(values)) + told


def insert(oid: int, new: Row) -> bytes:
    return b"I" + pack("!I", oid) + b"N" + row(new)


def update(oid: int, new: Row, old: Row | None = None, whole: bool = False) -> bytes:
    before = b"" if old is None else (b"O" if whole else b"K") + row(old)
    return b"U" + pack("!I", oid) + before + b"N" + row(new)


def delete(oid: int, old: Row, whole: bool = False) -> bytes:
    return b"D" + pack("!I", oid) + (b"O" if whole else b"K") + row(old)


def truncate(*oids: int) -> bytes:
    return b"T" + pack("!IB", len(oids), 0) + b"".join(pack("!I", oid) for oid in oids)


def message(prefix: str, content: bytes, transactional: bool = True) -> bytes:
    return b"M" + pack("!Bq", transactional, 5) + name(prefix) + pack("!I", len(content)) + content


def type_(oid: int, schema: str, text: str) -> bytes:
    return b"Y" + pack("!I", oid) + name(schema) + name(text)


def origin(text: str) -> bytes:
    return b"O" + pack("!q", 5) + name(text)


def arriving(lsn: int, body: bytes) -> bytes:
    """With the header of the stream."""
    return b"w" + pack("!qqq", lsn, lsn, 0) + body
