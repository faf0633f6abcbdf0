"""What Postgres is known to refuse without being asked: values without a form, and names that the DDL does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from logsync.core.plan import Plan
from logsync.core.write import Write
from logsync.errors import WriteRejected
from logsync.stores.postgres.coalesce import DoesNotFit, RowsRefused
from logsync.stores.postgres.ddl import Declared
from logsync.stores.postgres.encode import array
from logsync.stores.postgres.errors import does_not_fit
from logsync.stores.postgres.guard import check_statement
from logsync.writes.rows import Delete, Increment, InTransaction, Sql, Upsert

_NO_COUNTERS = frozenset({
    "real", "float", "float4", "float8", "double", "text", "varchar", "char", "money", "boolean", "bool",
})  # fmt: skip
_PARAMETER = re.compile(r"%\((\w+)\)[sbt]")


def check_writes(plan: Plan, declared: Declared, owned: Sequence[str]) -> None:
    """Raise for the first event with a write that Postgres would refuse, whatever its tables hold: WriteRejected, or
    ConfigError if the tables do not fit the write.
    """
    for offset, writes in plan.by_event():
        for write in writes:
            try:
                _check(write, declared, owned)
            except DoesNotFit as error:
                raise does_not_fit(str(error), offset) from None
            except RowsRefused as error:
                raise WriteRejected(f"Postgres would refuse a write of this event: {error}", offset=offset) from None


def _check(write: Write, declared: Declared, owned: Sequence[str]) -> None:
    if isinstance(write, Sql):
        check_statement(write.statement)
        if missing := set(_PARAMETER.findall(write.statement)) - write.params.keys():
            raise RowsRefused(f"a statement without its parameter {', '.join(sorted(missing))}")
    if isinstance(write, Sql | InTransaction):
        return
    if not isinstance(write, Upsert | Increment | Delete):
        raise RowsRefused(f"{type(write).__name__} is no write of rows")
    table = write.table
    if declared.tables and declared.whole and not declared.has(table) and table not in owned:
        raise DoesNotFit(f"there is no table {table} in the sink's schema, nor in tables=[...]")
    columns = declared.columns(table)
    if not write.key:
        raise RowsRefused(f"{type(write).__name__} on {table} has an empty key")
    values: Mapping[str, Any] = write.values if isinstance(write, Upsert) else {}
    sums: Mapping[str, Any] = write.by if isinstance(write, Increment) else {}
    if twice := write.key.keys() & (values.keys() | sums.keys()):
        raise RowsRefused(f"{table}: {', '.join(sorted(twice))} stands in the key and in the values")
    for name, value in {**write.key, **values, **sums}.items():
        if columns is not None and name not in columns:
            raise DoesNotFit(f"table {table} has no column {name}")
        if name in write.key and value is None:
            raise RowsRefused(f"{table}: key column {name} is None: NULL is not equal to anything, not even itself")
        kind = "" if columns is None else columns[name]
        if name in sums:
            _check_sum(name, value, kind)
        else:
            _check_value(name, value, kind)


def _check_sum(name: str, amount: object, kind: str) -> None:
    if kind.partition(" ")[0] in _NO_COUNTERS:
        raise DoesNotFit(f"column {name} is {kind}: a counter must be smallint, integer, bigint or numeric")
    if type(amount) is not int and not (type(amount) is Decimal and amount.is_finite()):
        raise RowsRefused(
            f"Increment of {name}: expected int or a finite Decimal, found {type(amount).__name__}: the sum of floats "
            "depends on how the log is cut into batches"
        )


def _check_value(name: str, value: object, kind: str) -> None:
    """Is there a form of this value for the column? For a column of an unknown type, any form will do."""
    base = kind.partition(" ")[0].partition("[")[0]
    is_array = "[]" in kind or "array" in kind
    forms = [("", base) if is_array else (base, "")] if kind else [("", ""), ("json", ""), ("", "text"), ("", "json")]
    refused: RowsRefused | None = None
    for base, element in forms:
        try:
            array([value], base, element)
        except RowsRefused as error:
            refused = refused or error
        else:
            return
    raise RowsRefused(f"column {name}: {refused}")
