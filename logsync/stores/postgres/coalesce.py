"""Many writes to one table become one net effect per key. Pure; the law it keeps is tested by Hypothesis:

carrying out the net effects, round after round, leaves the table as the writes one by one in log order do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

from logsync.writes.rows import Delete, Increment, Upsert

RowWrite = Upsert | Increment | Delete
Key = tuple[Any, ...]
# Postgres' numeric holds 131072 digits before the point and 16383 after it. Decimal's own default would round
# sums to 28 digits without a word, and the rounding would depend on how the log was cut into batches.  # G4
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


@dataclass(slots=True)
class Round:
    """Net effects that may be carried out together: every key once, all by the same key columns."""

    key: tuple[str, ...]
    nets: dict[Key, Effect] = field(default_factory=dict)


def coalesce(writes: Iterable[RowWrite]) -> list[Round]:
    """The rounds that a table's writes, in log order, add up to. Raises Refused.

    Increments hold int and finite Decimal, and no finer than their columns keep (``Column.check_counter``).
    A new round begins where folding would have to know what the server makes of a value: other key columns
    (the two may name one row), or an Increment on top of a value that is not an int.
    """
    rounds: list[Round] = []
    nets: dict[Key, Effect] = {}
    columns: tuple[str, ...] = ()
    for write in writes:
        names = (*write.key,)
        if names != columns or not names:
            if not names:
                raise Refused(f"{type(write).__name__} on {write.table} has an empty key")
            columns = names
            rounds.append(Round(columns))
            nets = rounds[-1].nets
        key = (*write.key.values(),)
        held = nets.get(key)
        if held is None or type(write) is Delete:
            nets[key] = write
        elif (folded := _fold(held, write)) is not None:
            nets[key] = folded
        else:
            rounds.append(Round(columns, {key: write}))
            nets = rounds[-1].nets
    return rounds


def net(effect: Effect) -> Net:
    """``effect`` with its four parts spelled out."""
    if type(effect) is Net:
        return effect
    if type(effect) is Upsert:
        return Net(effect.values, {})
    if type(effect) is Increment:
        return Net({}, effect.by)
    return Net({}, {}, gone=True)


def _fold(held: Effect, write: RowWrite) -> Net | None:
    """What ``write`` after ``held`` adds up to; None if only the server can tell."""
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
