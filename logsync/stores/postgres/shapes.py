"""Tables and columns, as far as writing to them in bulk depends on what they are. Pure.

Bulk needs one thing that single statements do not: Python and the server must agree which keys are equal.
Where they may not (a case-insensitive collation, a date given as text), the table is written in log order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from logsync.stores.postgres.coalesce import EXACT, NUMERIC_DIGITS, DoesNotFit, Key, RowsRefused

_ZERO = re.compile(r"\(?'?0(\.0*)?'?\)?(::[a-z0-9 ]+(\(\d+,\d+\))?)?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INTEGERS = frozenset({"int2", "int4", "int8"})


@dataclass(frozen=True, slots=True)
class Column:
    """``type`` is the name to cast to, without length; ``base`` the type's short name below any domain."""

    type: str
    base: str
    is_array: bool
    typmod: int
    deterministic: bool
    default: str | None
    element: str = ""
    """Of an array, the short name of its elements' type, below any domain."""
    apart: bool = False
    """An array of such values is taken apart where it should not be (composites), or has another separator (boxes)."""

    @property
    def travels(self) -> str:
        """The type whose arrays carry values of this column. unnest takes an array of arrays or of composites apart:
        those go as text. And money goes as a number: which point a text of it has is for lc_monetary to say.
        """
        if self.is_array or self.apart:
            return "text"
        return "numeric" if self.base == "money" else self.type

    def cast(self, value: str) -> str:
        """``value`` as it travelled, in the column's own type."""
        if self.travels == self.type:
            return value
        return f"{value}::{'numeric[]::' if self.element == 'money' else ''}{self.type}"

    def same_keys(self, values: Sequence[Any]) -> bool:
        """True if among ``values`` two are equal for the server exactly when they are for Python, which can also hash
        and order them."""
        kinds = set(map(type, values))
        if len(kinds) != 1:
            return False
        (kind,) = kinds
        if kind is int:
            return self.base in _INTEGERS
        if kind is str and self.base in ("text", "varchar"):
            # Beyond varchar's length, spaces are cut off without an error: two keys could become one.
            return self.deterministic and (self.typmod < 0 or max(map(len, values)) <= self.typmod - 4)
        if kind is str:
            return self.base == "uuid" and all(map(_UUID.fullmatch, values))
        if kind is datetime:
            # Only instants at fixed offsets compare as instants; those around a change of the clocks do not.
            fixed = all(value.tzinfo is not None and value.tzinfo.utcoffset(None) is not None for value in values)
            return self.base == "timestamptz" and self.typmod < 0 and fixed
        if kind is Decimal:
            # NaN is equal to itself for the server, and has no place in Python's order.
            return self.base == "numeric" and self.typmod < 0 and all(map(Decimal.is_finite, values))
        return (kind, self.base) in ((UUID, "uuid"), (date, "date"), (bool, "bool"), (bytes, "bytea"))

    def check_counter(self, name: str, amounts: Sequence[object]) -> None:
        """Raise RowsRefused unless adding ``amounts`` here, in any grouping, gives one and the same sum. # G4

        Each amount as the log has it, before any is added to another: two halves of a cent make a cent, but
        one by one each would be rounded. Where no amount would do, it is DoesNotFit.
        """
        if self.base not in _INTEGERS and self.base != "numeric":
            raise DoesNotFit(f"column {name} is {self.type}: a counter must be smallint, integer, bigint or numeric")
        if self.default is not None and not _ZERO.fullmatch(self.default):
            # "Upsert, then Increment" of a new row would count from the default, "Increment" alone from 0.
            raise DoesNotFit(f"column {name} has DEFAULT {self.default[:40]}: a counter's default must be 0 or absent")
        scale = 0 if self.base in _INTEGERS else _scale(self.typmod)
        if scale is not None and scale < 0:
            raise DoesNotFit(f"column {name} rounds to tens or more: a counter must hold every integer")
        if set(map(type, amounts)) == {int}:
            return
        for amount in amounts:
            if type(amount) is Decimal:
                if not amount.is_finite() or abs(amount.adjusted()) > NUMERIC_DIGITS:
                    raise RowsRefused(f"Increment of {name}: expected a finite number that numeric can hold")
                if scale is not None and _digits(amount) > scale:
                    raise RowsRefused(f"column {name} keeps {scale} digits after the point: an increment has more")
            elif type(amount) is not int:
                raise RowsRefused(
                    f"Increment of {name}: expected int or Decimal, found {type(amount).__name__}: the sum of floats "
                    "depends on how the log is cut into batches"
                )


@dataclass(frozen=True, slots=True)
class Relation:
    """One table. ``name`` is quoted, with its schema; ``columns`` by name.

    ``kin``: the table itself and those that share rows with it. ``touched``: those and every table whose rows a foreign
    key changes along with its own. Both as the catalog's numbers.
    """

    name: str
    columns: Mapping[str, Column]
    oid: int = 0
    has_triggers: bool = False
    """Also those that make a foreign key."""
    kin: frozenset[int] = frozenset()
    touched: frozenset[int] = frozenset()
    put_triggers: tuple[str, ...] = ()
    delete_triggers: tuple[str, ...] = ()
    far_triggers: bool = False
    """A table in ``touched`` has a trigger."""
    on_delete: bool = False
    """Deleting a row changes rows of other tables."""
    on_update: frozenset[str] = frozenset()
    """Changing these columns does."""
    drawn: frozenset[str] = frozenset()
    """Columns whose default depends on what was inserted before: a sequence, a function of the user's."""


def same_keys(columns: Mapping[str, Column], names: Sequence[str], keys: Sequence[Key]) -> bool:
    """True if two of ``keys``, which may repeat, name one row exactly when Python says that they are equal."""
    values = by_column(names, keys)
    return all(name in columns and columns[name].same_keys(some) for name, some in zip(names, values, strict=True))


def by_column(names: Sequence[str], keys: Sequence[Key]) -> list[Sequence[Any]]:
    """The values of each key column."""
    return [keys] if len(names) == 1 else [*zip(*keys, strict=True)]


def quote(table: str) -> str:
    """``shop.orders`` as ``"shop"."orders"``: names are taken as they are written, case included."""
    return ".".join(map(quote_column, table.split(".")))


def quote_column(name: str) -> str:
    """A dot in the name of a column is a dot."""
    return '"' + name.replace('"', '""') + '"'


def _digits(amount: Decimal) -> int:
    """How many digits after the point ``amount`` needs: 2 for 0.25 and for 0.250."""
    exponent = amount.normalize(EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _scale(typmod: int) -> int | None:
    """The digits after the point of numeric(p, s); None if any number fits. Bits 0 to 10, signed (since 15)."""
    return None if typmod < 0 else (((typmod - 4) & 0x7FF) ^ 1024) - 1024
