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
_EXACT = Context(prec=150_000, traps=[Inexact, InvalidOperation, Overflow])
_DIGITS = 131_072


class Refused(Exception):
    """A write that cannot be carried out whatever the table holds; the text says why, without values."""


@dataclass(slots=True)
class Net:
    """What the writes to one key add up to: ``gone``, or else these columns set and these added to."""

    set: Mapping[str, Any]
    add: Mapping[str, int | Decimal]
    fresh: bool = False
    """A Delete came first: what the row held before it must not show through."""
    gone: bool = False


@dataclass(slots=True)
class Round:
    """Net effects that may be carried out together: every key once, all by the same key columns."""

    key: tuple[str, ...]
    nets: dict[Key, Net] = field(default_factory=dict)


def coalesce(writes: Iterable[RowWrite]) -> list[Round]:
    """The rounds that a table's writes, in log order, add up to. Raises Refused.

    A new round begins where folding would have to know what the server makes of a value: other key columns
    (the two may name one row), or an Increment on top of a value that is not an int.
    """
    rounds: list[Round] = []
    nets: dict[Key, Net] = {}
    columns: tuple[str, ...] = ()
    for write in writes:
        if tuple(write.key) != columns or not columns:
            columns = tuple(write.key)
            if not columns:
                raise Refused(f"{type(write).__name__} on {write.table} has an empty key")
            rounds.append(Round(columns))
            nets = rounds[-1].nets
        key = tuple(write.key.values())
        net = nets.get(key)
        if type(write) is Upsert:
            if net is None:
                nets[key] = Net(write.values, {})
            else:
                _upsert(net, write)
        elif type(write) is Increment:
            _check_counters(write)
            if net is None:
                nets[key] = Net({}, write.by)
            elif not _increment(net, write):
                rounds.append(Round(columns, {key: Net({}, write.by)}))
                nets = rounds[-1].nets
        else:
            nets[key] = Net({}, {}, gone=True)
    return rounds


def _upsert(net: Net, write: Upsert) -> None:
    if net.gone:
        net.gone, net.fresh, net.set, net.add = False, True, write.values, {}
        return
    net.set = {**net.set, **write.values}
    if net.add:
        net.add = {column: by for column, by in net.add.items() if column not in write.values}


def _increment(net: Net, write: Increment) -> bool:
    """Fold ``write`` into ``net``; False, and nothing done, if only the server can tell the sum."""
    if net.gone:
        net.gone, net.fresh, net.set, net.add = False, True, {}, write.by
        return True
    values, sums = dict(net.set), dict(net.add)
    for column, by in write.by.items():
        if column not in values:
            sums[column] = add(sums[column], by) if column in sums else by
        elif values[column] is None:
            values[column] = by  # NULL counts as 0
        elif type(values[column]) is int and type(by) is int:
            values[column] += by
        else:
            return False
    net.set, net.add = values, sums
    return True


def add(a: int | Decimal, b: int | Decimal) -> int | Decimal:
    """The exact sum. Raises Refused where even 150,000 digits are not enough for one."""
    if type(a) is int and type(b) is int:
        return a + b
    try:
        return _EXACT.add(Decimal(a), Decimal(b))
    except (Inexact, InvalidOperation, Overflow):
        raise Refused("the sum of these increments has more digits than numeric can hold") from None


def _check_counters(write: Increment) -> None:
    for column, by in write.by.items():
        if type(by) is int:
            continue
        if type(by) is not Decimal:
            raise Refused(
                f"Increment of {write.table}.{column}: expected int or Decimal, found {type(by).__name__}: "
                "the sum of floats depends on how the log is cut into batches"  # G4
            )
        if not by.is_finite() or abs(by.adjusted()) > _DIGITS:
            raise Refused(f"Increment of {write.table}.{column}: expected a finite number that numeric can hold")
