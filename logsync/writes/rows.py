"""Writes for tables (Postgres). What several of them on one key add up to is a table in docs (G5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from logsync.core.event import Event
from logsync.core.write import Target, Write, inert

__all__ = ["STATEMENTS", "Delete", "InTransaction", "Increment", "Row", "Rows", "Sql", "Upsert", "matches"]

Row = Mapping[str, Any]
Rows = tuple[Row, ...]
STATEMENTS: Target = ("statements",)
"""Where those writes are noted of which only the server knows what they do."""


@inert
class Upsert(Write):
    """Insert the row, or set ``values`` on the row that has this ``key``.

    Columns that are not named keep what they hold. ``key`` must be covered by a unique index.
    """

    commutes: ClassVar[bool] = False
    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        return "tables", self.table

    def law(self, found: Rows | None) -> Rows:
        return _changed(found or (), _key(self.key, self.values), lambda row: {**row, **self.values})


@inert
class Increment(Write):
    """Add to counters of the row that has this ``key``; a missing row is created, counting from 0.

    ``by`` holds int or Decimal: sums of floats depend on how the log was cut into batches, so floats are
    refused (G4). Not idempotent, and exact all the same: the position moves in the same transaction.
    """

    commutes: ClassVar[bool] = True
    table: str
    key: Mapping[str, Any]
    by: Mapping[str, int | Decimal]

    @property
    def target(self) -> Target:
        return "tables", self.table

    def law(self, found: Rows | None) -> Rows:
        def add(row: Row) -> Row:
            return {**row, **{name: _number(row.get(name) or 0) + _number(by) for name, by in self.by.items()}}

        return _changed(found or (), _key(self.key, self.by), add)


@inert
class Delete(Write):
    """Delete the rows that have this ``key``. A row that is not there is no error."""

    commutes: ClassVar[bool] = False
    table: str
    key: Mapping[str, Any]

    @property
    def target(self) -> Target:
        return "tables", self.table

    def law(self, found: Rows | None) -> Rows:
        key = _key(self.key)
        return tuple(row for row in found or () if not matches(row, key))


@dataclass(frozen=True, slots=True)
class Sql(Write):
    """Any one statement with named parameters, ``%(name)s``.

    Everything before it is flushed first, because logsync cannot see what it reads or writes. ``touches``
    declares the tables it reads or writes and limits the flush to those (G2).
    """

    commutes: ClassVar[bool] = False
    statement: str
    params: Mapping[str, Any] = field(default_factory=dict)
    touches: tuple[str, ...] = ()

    @property
    def target(self) -> Target:
        return STATEMENTS

    def law(self, found: tuple[Write, ...] | None) -> tuple[Write, ...]:
        return (*(found or ()), self)


@dataclass(frozen=True, slots=True)
class InTransaction(Write):
    """For the rare handler that must read its store: ``run(cursor, event)`` inside the open transaction (G3).

    Earlier writes are flushed before it runs. The cursor cannot commit, roll back or begin.
    """

    commutes: ClassVar[bool] = False
    run: Callable[[Any, Event[Any]], None]
    event: Event[Any]

    @property
    def target(self) -> Target:
        return STATEMENTS

    def law(self, found: tuple[Write, ...] | None) -> tuple[Write, ...]:
        return (*(found or ()), self)


def matches(row: Row, key: Mapping[str, Any]) -> bool:
    """Has the row this key?"""
    return all(row.get(column) == value for column, value in key.items())


def _changed(rows: Rows, key: Mapping[str, Any], change: Callable[[Row], Row]) -> Rows:
    """The table with the row of this key as ``change`` makes it: from what it holds, or from its key alone."""
    column, value = next(iter(key.items()))  # looked at first: a table of a test may have thousands of rows
    found = (at for at, row in enumerate(rows) if row.get(column) == value and matches(row, key))
    at = next(found, len(rows))
    return (*rows[:at], change(rows[at] if at < len(rows) else dict(key)), *rows[at + 1 :])


def _key(key: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    if not key:
        raise ValueError("the key is empty")
    for column, value in key.items():
        if value is None or column in (others or ()):
            raise ValueError(f"key column {column!r} must have a value, and stand in the key alone")
    return key


def _number(value: object) -> int | Decimal:
    if type(value) is not int and type(value) is not Decimal:
        raise TypeError(f"expected an integer or a Decimal, found {type(value).__name__} {value!r}")
    return value
