"""Many writes to one table become one net effect per key. Pure; the law it keeps is tested by Hypothesis:

carrying out the net effects, round after round, leaves the table as the writes one by one in log order do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from itertools import groupby
from typing import Any, assert_never

from logsync.writes.rows import Delete, Increment, Upsert

RowWrite = Upsert | Increment | Delete
Key = Any
"""Of one column its value, of several the tuple of their values."""
# Postgres' numeric holds 131072 digits before the point and 16383 after it. Decimal's own default would round
# sums to 28 digits silently, and the rounding would depend on how the log was cut into batches.  # G4
NUMERIC_DIGITS = 131_072
EXACT = Context(prec=150_000, traps=[Inexact, InvalidOperation, Overflow])


class RowsRefused(Exception):
    """A write that logsync itself will not carry out, whatever the table holds. It says why, without values."""


class DoesNotFit(RowsRefused):
    """The tables are not what the write needs, whatever its values: the set-up is wrong, and no event is at fault."""


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
    """Net effects that may be carried out together: every key once, all by the same key columns.

    Several keys of a round are in ascending order, so that rows are locked in one order everywhere.  # S2
    """

    key: Names
    rows: dict[tuple[Names, Names], tuple[list[Key], list[Row]]] = field(default_factory=dict)
    """By the columns that are set and those that are added to: keys, and for each the values of these columns."""
    fresh: list[Key] = field(default_factory=list)
    """Keys in ``rows`` whose row is deleted first: what it held must not show through."""
    gone: list[Key] = field(default_factory=list)


def coalesce(writes: Sequence[RowWrite], same_keys: Callable[[Names, list[Key]], bool]) -> list[Round]:
    """The rounds that a table's writes, one or more in log order, add up to. Raises RowsRefused.

    ``same_keys(names, keys)``: Python and the server agree which of these keys are equal; then Python can also hash and
    order them. Where they may not agree, each write is a round of its own.

    Increments hold int and finite Decimal, and no finer than their columns keep (``Column.check_counter``).
    A new round begins where folding would have to know what the server makes of a value: other key columns
    (the two may name one row), or an Increment on top of a value that is not an int.
    """
    if len(writes) == 1:
        return [alone(writes[0])]
    rounds: list[Round] = []
    for names, run in groupby(writes, key=_names):
        some = [*run]
        keys = [*map(_key, some)]
        if same_keys(names, keys):
            alike = _alike(names, keys, some)
            rounds += [alike] if alike is not None else _folded(names, keys, some)
        else:
            rounds += map(alone, some)
    return rounds


def alone(write: RowWrite) -> Round:
    """One write as it stands. Its key is neither compared nor hashed."""
    keys = [_key(write)]
    if type(write) is Delete:
        return Round((*write.key,), gone=keys)
    total = net(write)
    row = (*total.set.values(), *total.add.values())
    return Round((*write.key,), {((*total.set,), (*total.add,)): (keys, [row])})


def _names(write: RowWrite) -> Names:
    return (*write.key,)


def _folded(names: Names, keys: Sequence[Key], writes: Sequence[RowWrite]) -> list[Round]:
    rounds: list[Round] = []
    nets: dict[Key, Effect] = {}
    for key, write in zip(keys, writes, strict=True):
        held = nets.get(key)
        folded = write if held is None or type(write) is Delete else _fold(held, write)
        if folded is None:
            rounds.append(_round(names, nets))
            nets, folded = {}, write
        if type(held) is Delete:
            nets.pop(key, None)  # a new row is called what its first write calls it: 1.0 and 1.00 are equal keys
        nets[key] = folded
    return [*rounds, _round(names, nets)]


def _alike(names: Names, keys: Sequence[Key], writes: Sequence[RowWrite]) -> Round | None:
    """The usual case and the fast one: all Upserts, or all Increments, and all of the same columns. Else None."""
    kinds = set(map(type, writes))
    if kinds == {Upsert}:
        given = [write.values for write in writes]  # type: ignore[union-attr]
    elif kinds == {Increment}:
        given = [write.by for write in writes]  # type: ignore[union-attr]
    else:
        return None
    if len({(*some,) for some in given}) > 1:
        return None
    columns = (*given[0],)
    values = [(*some.values(),) for some in given]
    if kinds == {Upsert}:
        return Round(names, {(columns, ()): _in_order(dict(zip(keys, values, strict=True)))})
    sums: dict[Key, Row] = {}
    for key, by in zip(keys, values, strict=True):
        sums[key] = (*map(add, sums[key], by),) if key in sums else by
    return Round(names, {((), columns): _in_order(sums)})


def _in_order(rows: Mapping[Key, Row]) -> tuple[list[Key], list[Row]]:
    keys = sorted(rows) if len(rows) > 1 else [*rows]  # S2
    return keys, [*map(rows.__getitem__, keys)]


def _key(write: RowWrite) -> Key:
    if len(write.key) == 1:
        return next(iter(write.key.values()))
    if not write.key:
        raise RowsRefused(f"{type(write).__name__} on {write.table} has an empty key")
    return (*write.key.values(),)


def _round(names: Names, nets: Mapping[Key, Effect]) -> Round:
    made = Round(names)
    rows: dict[tuple[Names, Names], dict[Key, Row]] = {}
    for key, effect in nets.items():
        if type(effect) is Upsert:  # most are alone on their key: no object more for each of them
            rows.setdefault(((*effect.values,), ()), {})[key] = (*effect.values.values(),)
            continue
        total = net(effect)
        if total.gone:
            made.gone.append(key)
            continue
        if total.fresh:
            made.fresh.append(key)
        shape = (*total.set,), (*total.add,)
        rows.setdefault(shape, {})[key] = (*total.set.values(), *total.add.values())
    made.rows = {shape: _in_order(some) for shape, some in rows.items()}
    made.fresh.sort()
    made.gone.sort()
    return made


def net(effect: Effect) -> Net:
    """``effect`` with its four parts spelled out."""
    if isinstance(effect, Net):
        return effect
    if isinstance(effect, Upsert):
        return Net(effect.values, {})
    if isinstance(effect, Increment):
        return Net({}, effect.by)
    if isinstance(effect, Delete):
        return Net({}, {}, gone=True)
    assert_never(effect)


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
    """The exact sum. Raises RowsRefused where even 150,000 digits are not enough for one."""
    if type(a) is int and type(b) is int:
        return a + b
    try:
        return EXACT.add(Decimal(a), Decimal(b))
    except (Inexact, InvalidOperation, Overflow):
        raise RowsRefused("the sum of these increments has more digits than numeric can hold") from None
