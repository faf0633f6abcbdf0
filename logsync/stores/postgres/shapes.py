"""What the catalog says about a table, as far as writing to it in bulk depends on it. Pure, given the rows.

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

from logsync.stores.postgres.coalesce import EXACT, NUMERIC_DIGITS, Key, Refused

# %s is the array of the tables' names, quoted. A table that does not exist, or has no columns, has no rows here.
CATALOG = """
SELECT wanted.name, a.attname, pg_catalog.format_type(a.atttypid, -1), b.typname, b.typcategory = 'A',
       CASE WHEN a.atttypmod < 0 THEN t.typtypmod ELSE a.atttypmod END,
       coalesce(c.collisdeterministic, true),
       coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typdefault)
FROM unnest(%s::text[]) AS wanted (name)
JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(wanted.name)
    AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
"""

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

    @property
    def is_json(self) -> bool:
        return self.base in ("json", "jsonb")

    def same_keys(self, values: Sequence[Any]) -> bool:
        """True if among ``values`` two are equal for the server exactly when they are for Python."""
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
            return self.base == "numeric" and self.typmod < 0
        return (kind, self.base) in ((UUID, "uuid"), (date, "date"), (bool, "bool"), (bytes, "bytea"))

    def check_counter(self, name: str, amounts: Sequence[object]) -> None:
        """Raise Refused unless adding ``amounts`` here, in any grouping, gives one and the same sum. # G4

        Each amount as the log has it, before any is added to another: two halves of a cent make a cent, but
        one by one each would be rounded.
        """
        if self.base not in _INTEGERS and self.base != "numeric":
            raise Refused(f"column {name} is {self.type}: a counter must be smallint, integer, bigint or numeric")
        if self.default is not None and not _ZERO.fullmatch(self.default):
            # "Upsert, then Increment" of a new row would count from the default, "Increment" alone from 0.
            raise Refused(f"column {name} has DEFAULT {self.default[:40]}: a counter's default must be 0 or absent")
        scale = 0 if self.base in _INTEGERS else _scale(self.typmod)
        if scale is not None and scale < 0:
            raise Refused(f"column {name} rounds to tens or more: a counter must hold every integer")
        if set(map(type, amounts)) == {int}:
            return
        for amount in amounts:
            if type(amount) is Decimal:
                if not amount.is_finite() or abs(amount.adjusted()) > NUMERIC_DIGITS:
                    raise Refused(f"Increment of {name}: expected a finite number that numeric can hold")
                if scale is not None and _digits(amount) > scale:
                    raise Refused(f"column {name} keeps {scale} digits after the point: an increment has more")
            elif type(amount) is not int:
                raise Refused(
                    f"Increment of {name}: expected int or Decimal, found {type(amount).__name__}: the sum of floats "
                    "depends on how the log is cut into batches"
                )


Shape = Mapping[str, Column]


def read_shapes(rows: Sequence[tuple[Any, ...]]) -> dict[str, dict[str, Column]]:
    """The answer of CATALOG by quoted table name."""
    shapes: dict[str, dict[str, Column]] = {}
    for table, column, *rest in rows:
        shapes.setdefault(table, {})[column] = Column(*rest)
    return shapes


def same_keys(shape: Shape, names: Sequence[str], keys: Sequence[Key]) -> bool:
    """True if every key of ``keys`` names another row (see :meth:`Column.same_keys`)."""
    columns = by_column(names, keys)
    return all(name in shape and shape[name].same_keys(values) for name, values in zip(names, columns, strict=True))


def by_column(names: Sequence[str], keys: Sequence[Key]) -> list[Sequence[Any]]:
    """The values of each key column."""
    return [keys] if len(names) == 1 else [*zip(*keys, strict=True)]


def quote(name: str) -> str:
    """``shop.orders`` as ``"shop"."orders"``: names are taken as they are written, case included."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _digits(amount: Decimal) -> int:
    """How many digits after the point ``amount`` needs: 2 for 0.25 and for 0.250."""
    exponent = amount.normalize(EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _scale(typmod: int) -> int | None:
    """The digits after the point of numeric(p, s); None if any number fits. Bits 0 to 10, signed (since 15)."""
    return None if typmod < 0 else (((typmod - 4) & 0x7FF) ^ 1024) - 1024
