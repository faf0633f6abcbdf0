"""Writes for tables (Postgres). What several of them on one key add up to is a table in docs (G5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from logsync.core.event import Event
from logsync.core.write import Write, inert


@inert
class Upsert(Write):
    """Insert the row, or set ``values`` on the row that has this ``key``.

    Columns that are not named keep what they hold. ``key`` must be covered by a unique index.
    """

    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any] = field(default_factory=dict)


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


@inert
class Delete(Write):
    """Delete the rows that have this ``key``. A row that is not there is no error."""

    table: str
    key: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sql(Write):
    """Any one statement with named parameters, ``%(name)s``.

    Everything before it is flushed first, because logsync cannot see what it reads or writes. ``touches``
    declares the tables it reads or writes and limits the flush to those (G2).
    """

    statement: str
    params: Mapping[str, Any] = field(default_factory=dict)
    touches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InTransaction(Write):
    """For the rare handler that must read its store: ``run(cursor, event)`` inside the open transaction (G3).

    Earlier writes are flushed before it runs. The cursor cannot commit, roll back or begin.
    """

    run: Callable[[Any, Event[Any]], None]
    event: Event[Any]
