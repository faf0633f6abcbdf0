"""Which row writes may wait to be put together with others, and which must find everything before them in place. Pure.

Waiting is invisible where a write changes its own row and nothing looks on. These do not wait: a write that fires a
trigger, or whose default draws from a sequence, may look at any table; one that a foreign key carries on (ON DELETE
CASCADE, SET NULL, ...) changes rows of other tables; and two names may mean the same rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import assert_never

from logsync.stores.postgres.coalesce import RowWrite
from logsync.stores.postgres.shapes import Relation
from logsync.writes.rows import Delete, Increment, Upsert


class Order:
    """The rules for one state of the catalog. ``ordered`` and ``unordered`` are the sink author's words."""

    def __init__(self, relations: Mapping[str, Relation], ordered: Collection[str], unordered: Collection[str]) -> None:
        self._relations = relations
        self._ordered, self._unordered = ordered, unordered
        self.special = frozenset([*ordered, *filter(self._is_special, relations)])
        """The tables whose writes are to be asked about. All others simply wait."""

    def place(self, write: RowWrite, waiting: Iterable[str]) -> tuple[list[str], bool]:
        """The tables of ``waiting`` that go first, and whether this write follows at once."""
        relation = self._relations.get(write.table)
        if relation is None:  # there is no such table, which is said when the write is made
            return [], True
        carried = relation.on_delete if type(write) is Delete else not relation.on_update.isdisjoint(_given(write))
        if self._watched(write, relation) or (carried and relation.far_triggers):
            return [*waiting], True
        if carried:
            return self._sharing(relation.touched, waiting), True
        at_once = write.table in self._ordered
        return self._sharing(relation.kin, (name for name in waiting if name != write.table)), at_once

    def before(self, touches: Collection[str], waiting: Iterable[str]) -> list[str]:
        """The tables of ``waiting`` that a Sql may look at or change, by what it says it touches."""
        found: set[int] = set()
        for name in touches:
            relation = self._relations.get(name)
            if relation is None or relation.put_triggers or relation.delete_triggers or relation.far_triggers:
                return [*waiting]
            found |= relation.touched
        return self._sharing(found, waiting) if touches else [*waiting]

    def _is_special(self, name: str) -> bool:
        one = self._relations[name]
        shared = any(other != name and not it.kin.isdisjoint(one.kin) for other, it in self._relations.items())
        watched = name not in self._unordered and bool(one.put_triggers or one.delete_triggers or one.drawn)
        return shared or watched or one.on_delete or bool(one.on_update)

    def _watched(self, write: RowWrite, relation: Relation) -> bool:
        if write.table in self._unordered:
            return False
        if type(write) is Delete:
            return bool(relation.delete_triggers)
        return bool(relation.put_triggers) or not relation.drawn <= {*write.key, *_given(write)}

    def _sharing(self, numbers: Collection[int], waiting: Iterable[str]) -> list[str]:
        relations = self._relations
        return [name for name in waiting if name not in relations or not relations[name].kin.isdisjoint(numbers)]


def _given(write: RowWrite) -> Mapping[str, object]:
    if isinstance(write, Delete):
        return {}
    if isinstance(write, Upsert):
        return write.values
    if isinstance(write, Increment):
        return write.by
    assert_never(write)
