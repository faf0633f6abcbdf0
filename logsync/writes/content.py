"""What writes come to: the content of a store as a plain value, one entry per target.

Every write class says what it means by its ``law``. Carried out one after the other, the laws give the content that
any store must hold; the memory store is made of nothing else, and the contract kit compares a real store with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from logsync.core.parked import Parked
from logsync.core.write import Target, Write
from logsync.writes.keys import Kept
from logsync.writes.rows import STATEMENTS, Row, matches


class Content:
    """What the writes made, open for a test to look at.

    ``by_target`` is all of it. ``tables``, ``keys``, ``expiries``, ``docs`` and ``statements`` show it by family of
    writes; they are made when they are asked for, and changing them changes nothing.
    """

    def __init__(self, by_target: Mapping[Target, Any] | None = None) -> None:
        self.by_target: dict[Target, Any] = dict(by_target or {})
        self.parked: list[Parked] = []
        """What ``feed`` set aside, and what waits behind it. A store keeps its own: ``Store.parked``."""

    @classmethod
    def of(
        cls,
        *,
        tables: Mapping[str, Iterable[Row]] | None = None,
        keys: Mapping[str, Any] | None = None,
        expiries: Mapping[str, datetime] | None = None,
        docs: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    ) -> Content:
        """Content as it was read from a store. Rows may leave out columns that are NULL."""
        content = cls()
        for table, rows in (tables or {}).items():
            content.by_target["tables", table] = tuple(rows)
        for key, value in (keys or {}).items():
            content.by_target["keys", key] = Kept(value, (expiries or {}).get(key))
        for index, found in (docs or {}).items():
            for name, doc in found.items():
                content.by_target["docs", index, name] = doc
        return content

    def carry_out(self, write: Write) -> None:
        """Change the one target that ``write`` is about, by its law.

        Raises TypeError or ValueError for a write that a store has to refuse; nothing is changed then.
        """
        target = write.target
        after = write.law(self.by_target.get(target))
        if after is None:
            self.by_target.pop(target, None)
        else:
            self.by_target[target] = after

    def after(self, writes: Iterable[Write]) -> Content:
        """The content once these are carried out too, in this order."""
        content = Content(self.by_target)
        for write in writes:
            content.carry_out(write)
        return content

    def plain(self) -> dict[str, Any]:
        """For comparing, and for a readable difference: in plain types, with rows in one order and without NULL.

        Without ``statements``: what those did, only the server can tell.
        """
        tables = {table: sorted(map(_plain_row, rows), key=repr) for table, rows in self.tables.items() if rows}
        found = {"tables": tables, "keys": self.keys, "expiries": self.expiries, "docs": self.docs, **self.others}
        return {family: value for family, value in found.items() if value}

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        return {table: [dict(row) for row in rows] for (table,), rows in self._of("tables")}

    @property
    def keys(self) -> dict[str, Any]:
        """Redis values: str (or bytes that are no text), dict of fields, set, and dict of scores."""
        return {key: _plain_value(kept.value) for (key,), kept in self._of("keys")}

    @property
    def expiries(self) -> dict[str, datetime]:
        return {key: kept.expire_at for (key,), kept in self._of("keys") if kept.expire_at}

    @property
    def docs(self) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for (index, name), doc in self._of("docs"):
            found.setdefault(index, {})[name] = dict(doc)
        return found

    @property
    def statements(self) -> list[Write]:
        """The ``Sql`` and ``InTransaction`` of all plans, in order. They are noted and not run."""
        return list(self.by_target.get(STATEMENTS, ()))

    @property
    def others(self) -> dict[str, Any]:
        """What write classes from elsewhere made, by target."""
        known = ("tables", "keys", "docs", *STATEMENTS)
        return {"/".join(map(str, target)): value for target, value in self.by_target.items() if target[0] not in known}

    def row(self, table: str, **key: Any) -> dict[str, Any] | None:
        """The one row that holds all of ``key``, or None."""
        return next((dict(row) for row in self.by_target.get(("tables", table), ()) if matches(row, key)), None)

    def _of(self, family: str) -> Iterator[tuple[tuple[Any, ...], Any]]:
        return ((target[1:], value) for target, value in self.by_target.items() if target[0] == family)

    def __bool__(self) -> bool:
        """Is there anything that a reader of the store could see?"""
        return any(value != () for target, value in self.by_target.items() if target != STATEMENTS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.plain() == other.plain()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Content({self.plain()})"


def _plain_row(row: Row) -> dict[str, Any]:
    return {column: value for column, value in sorted(row.items()) if value is not None}


def _plain_value(value: Any) -> Any:
    if isinstance(value, frozenset):
        return set(value)
    return dict(value) if isinstance(value, dict) else value
