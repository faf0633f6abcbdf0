"""Many writes to one table become one net effect per key. Pure; the law it keeps is tested by Hypothesis:

carrying out the net effects, round after round, leaves the table as the writes one by one in log order do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

from logsync.writes.rows import Delete, Increment, Upsert

RowWrite = Upsert | Increment | Delete
Key = Any
"""Of one column its value, of several the tuple of their values."""
# Postgres' numeric holds 131072 digits before the point and 16383 after it. Decimal's own default would round
# sums to 28 digits silently, and the rounding would depend on how the log was cut into batches.  # G4
NUMERIC_DIGITS = 131_072
EXACT = Context(prec=150_000, traps=[Inexact, InvalidOperation, Overflow])


class Refused(Exception):
    """A write that cannot be carried out whatever the table holds; the text says why, without values."""


@dataclass(slots=True)
class Net:
    """What several writes to one key add up to: ``gone``, or else these columns set and these added to."""

    set: Mapping[str, Any]
    add: Mapping[str, int | Decimal]
    fresh: bool = False
    """A Delete came first: what the row held before it must not show through."""
    gone: bool = False


Effect = Net | RowWrite
"""The net effect on one key; a write that is alone on its key stands for itself, which saves an object each."""
Names = tuple[str, ...]
Row = tuple[Any, ...]


@dataclass(slots=True)
class Round:
    """Net effects that may be carried out together: every key once, all by the same key columns."""

    key: Names
    rows: dict[tuple[Names, Names], dict[Key, Row]] = field(default_factory=dict)
    """By the columns that are set and those that are added to: the values per key, in the order of these columns."""
    fresh: list[Key] = field(default_factory=list)
    """Keys in ``rows`` whose row is deleted first: what it held must not show through."""
    gone: list[Key] = field(default_factory=list)

    def keys(self) -> list[Key]:
        return [*(key for rows in self.rows.values() for key in rows), *self.gone]


def coalesce(writes: Sequence[RowWrite]) -> list[Round]:
    """The rounds that a table's writes, one or more in log order, add up to. Raises Refused.

    Increments hold int and finite Decimal, and no finer than their columns keep (``Column.check_counter``).
    A new round begins where folding would have to know what the server makes of a value: other key columns
    (the two may name one row), or an Increment on top of a value that is not an int.
    """
    alike = _alike(writes)
    if alike is not None:
        return [alike]
    rounds: list[Round] = []
    nets: dict[Key, Effect] = {}
    columns: Names = ()
    for write in writes:
        names = (*write.key,)
        key = _key(write)
        held = nets.get(key) if names == columns else None
        folded = write if held is None or type(write) is Delete else _fold(held, write)
        if names != columns or folded is None:
            if columns:
                rounds.append(_round(columns, nets))
            nets, columns, folded = {}, names, write
        nets[key] = folded
    return [*rounds, _round(columns, nets)]


def _alike(writes: Sequence[RowWrite]) -> Round | None:
    """The usual case and the fast one: all Upserts, or all Increments, and all of the same columns. Else None."""
    kinds = set(map(type, writes))
    if kinds == {Upsert}:
        given = [write.values for write in writes]  # type: ignore[union-attr]
    elif kinds == {Increment}:
        given = [write.by for write in writes]  # type: ignore[union-attr]
    else:
        return None
    if len({(*write.key, None, *some) for write, some in zip(writes, given, strict=True)}) > 1:
        return None
    names, columns = (*writes[0].key,), (*given[0],)
    values = [(*some.values(),) for some in given]
    keys = map(_key, writes)
    if kinds == {Upsert}:
        return Round(names, {(columns, ()): dict(zip(keys, values, strict=True))})
    sums: dict[Key, Row] = {}
    for key, by in zip(keys, values, strict=True):
        sums[key] = (*map(add, sums[key], by),) if key in sums else by
    return Round(names, {((), columns): sums})


def _key(write: RowWrite) -> Key:
    if len(write.key) == 1:
        return next(iter(write.key.values()))
    if not write.key:
        raise Refused(f"{type(write).__name__} on {write.table} has an empty key")
    return (*write.key.values(),)


def _round(columns: Names, nets: Mapping[Key, Effect]) -> Round:
    made = Round(columns)
    for key, effect in nets.items():
        if type(effect) is Upsert:  # most are alone on their key: no object more for each of them
            made.rows.setdefault(((*effect.values,), ()), {})[key] = (*effect.values.values(),)
            continue
        total = net(effect)
        if total.gone:
            made.gone.append(key)
            continue
        if total.fresh:
            made.fresh.append(key)
        shape = (*total.set,), (*total.add,)
        made.rows.setdefault(shape, {})[key] = (*total.set.values(), *total.add.values())
    return made


def net(effect: Effect) -> Net:
    """``effect`` with its four parts spelled out."""
    if type(effect) is Net:
        return effect
    if type(effect) is Upsert:
        return Net(effect.values, {})
    if type(effect) is Increment:
        return Net({}, effect.by)
    return Net({}, {}, gone=True)


def _fold(held: Effect, write: RowWrite) -> Effect | None:
    """What ``write`` after ``held`` adds up to; None if only the server can tell."""
    if type(write) is Upsert and type(held) is Upsert and held.values.keys() == write.values.keys():
        return write
    before = net(held)
    fresh = before.fresh or before.gone
    values, sums = dict(before.set), dict(before.add)
    if type(write) is Upsert:
        values.update(write.values)
        return Net(values, {name: by for name, by in sums.items() if name not in write.values}, fresh)
    assert type(write) is Increment
    for name, by in write.by.items():
        if name in sums:
            sums[name] = add(sums[name], by)
        elif name not in values:
            sums[name] = by
        elif values[name] is None:
            values[name] = by  # NULL counts as 0
        elif type(values[name]) is int and type(by) is int:
            values[name] += by
        else:
            return None
    return Net(values, sums, fresh)


def add(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    """The exact sum. Raises Refused where even 150,000 digits are not enough for one."""
    if type(a) is int and type(b) is int:
        return a + b
    try:
        return EXACT.add(Decimal(a), Decimal(b))
    except (Inexact, InvalidOperation, Overflow):
        raise Refused("the sum of these increments has more digits than numeric can hold") from None
