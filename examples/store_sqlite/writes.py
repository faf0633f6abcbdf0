"""From inert writes to statements of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from logsync.stores import Write
from logsync.writes.rows import Delete, Increment, Upsert

ACCEPTS: frozenset[type[Write]] = frozenset({Upsert, Increment, Delete})


def carry_out(connection: sqlite3.Connection, write: Write) -> None:
    """Run one write. Raises ValueError, TypeError or an error of SQLite for what is to be refused."""
    match write:
        case Upsert(table, key, values):
            sets = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in values)
            _insert(connection, table, key, values, sets)
        case Increment(table, key, by):
            for amount in by.values():
                if type(amount) is not int:
                    raise TypeError(f"expected an integer to add, found {type(amount).__name__}")
            mine = quoted(table)
            sums = (f"{quoted(name)} = coalesce({mine}.{quoted(name)}, 0) + excluded.{quoted(name)}" for name in by)
            _insert(connection, table, key, by, ", ".join(sums))
        case Delete(table, key):
            where = " AND ".join(f"{quoted(name)} = ?" for name in _named(key))
            connection.execute(f"DELETE FROM {quoted(table)} WHERE {where}", _values(key))
        case _:
            raise TypeError(f"{type(write).__name__} is not a write of SQLite")


def _insert(
    connection: sqlite3.Connection, table: str, key: Mapping[str, Any], values: Mapping[str, Any], sets: str
) -> None:
    row = {**_named(key), **values}
    if len(row) < len(key) + len(values):
        raise ValueError("a column stands in the key and among the values")
    columns = ", ".join(map(quoted, row))
    marks = ", ".join("?" for _ in row)
    target = ", ".join(map(quoted, key))
    then = f"UPDATE SET {sets}" if sets else "NOTHING"
    connection.execute(
        f"INSERT INTO {quoted(table)} ({columns}) VALUES ({marks}) ON CONFLICT ({target}) DO {then}", _values(row)
    )


def _named(key: Mapping[str, Any]) -> Mapping[str, Any]:
    if not key or None in key.values():
        raise ValueError("the key is empty, or a column of it is None")
    return key


def _values(row: Mapping[str, Any]) -> list[str | int | float | bytes | None]:
    for name, value in row.items():
        if type(value) not in (str, int, float, bytes, type(None)):
            raise TypeError(f"column {name}: expected str, int, float, bytes or None, found {type(value).__name__}")
        if value != value:  # NaN, which SQLite would store as NULL
            raise ValueError(f"column {name}: not a number")
    return list(row.values())


def quoted(name: str) -> str:
    """A name as SQL spells it."""
    return '"' + name.replace('"', '""') + '"'
