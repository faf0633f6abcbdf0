"""From the writes of a plan to the statements that carry them out, in an order that has the same effect. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from logsync.core.write import Write
from logsync.stores.postgres.coalesce import DoesNotFit, Key, Names, Round, Row, RowsRefused, RowWrite, coalesce
from logsync.stores.postgres.encode import array
from logsync.stores.postgres.guard import check_statement
from logsync.stores.postgres.order import Order
from logsync.stores.postgres.shapes import Column, Relation, by_column, quote_column, same_keys
from logsync.writes.rows import Delete, Increment, InTransaction, Sql, Upsert

_ROWS = frozenset({Upsert, Increment, Delete})
# Rows per statement, so that its parameters stay small however large the plan.
_CHUNK = 10_000


_MANY = 100
"""Rows from which on the planner is told to look each of them up by its key."""


class Statement(NamedTuple):
    sql: str
    params: Sequence[Any] | Mapping[str, Any]


class ByKey(Statement):
    """For many rows, each found by its unique key: one index lookup per row, whatever the planner thinks of that."""

    __slots__ = ()


# With thousands of keys the planner prefers to read the whole table and to hash it: measured twice as slow at 130,000
# rows, and worse the larger the table. A DELETE is left alone: its key needs no index, and nested loops would be
# ruinous. DEFAULT is the session's own setting.
_BY_KEY = (Statement("SET LOCAL enable_hashjoin = off", ()), Statement("SET LOCAL enable_mergejoin = off", ()))
_BY_PLANNER = (
    Statement("SET LOCAL enable_hashjoin TO DEFAULT", ()),
    Statement("SET LOCAL enable_mergejoin TO DEFAULT", ()),
)


class Tables:
    """How a sink's tables are written: in which order, and by which statements."""

    def __init__(
        self, tables: Sequence[str] = (), ordered: Collection[str] = (), unordered: Collection[str] = ()
    ) -> None:
        self._rank = {name: rank for rank, name in enumerate(tables)}
        self._ordered, self._unordered = frozenset(ordered), frozenset(unordered)
        self.learn({})

    def learn(self, relations: Mapping[str, Relation]) -> None:
        """What the tables are, by the names that the writes use."""
        self._relations = relations
        self._order = Order(relations, self._ordered, self._unordered)

    def steps(self, writes: Iterable[Write]) -> Iterator[Statement | InTransaction]:
        """The statements for ``writes``, which are in log order. Raises RowsRefused.

        Row writes wait, table by table, until something could tell in which order they ran: one that may not wait
        (Order), a Sql that may look at them (G2), an InTransaction (G3), or the end of the plan.
        """
        by_key = False
        for step in self._steps(writes):
            wanted = type(step) is ByKey
            if wanted is not by_key:
                yield from _BY_KEY if wanted else _BY_PLANNER
                by_key = wanted
            yield step
        if by_key:
            yield from _BY_PLANNER

    def _steps(self, writes: Iterable[Write]) -> Iterator[Statement | InTransaction]:
        waiting: dict[str, list[RowWrite]] = {}
        special = self._order.special
        for write in writes:
            if type(write) in _ROWS:
                table = write.table  # type: ignore[attr-defined]
                if table in special:
                    first, at_once = self._order.place(write, waiting)  # type: ignore[arg-type]
                    yield from self._flush({name: waiting.pop(name) for name in first})
                    if at_once:
                        yield from self._flush({table: [write]})  # type: ignore[list-item]
                        continue
                if table in waiting:
                    waiting[table].append(write)  # type: ignore[arg-type]
                else:
                    waiting[table] = [write]  # type: ignore[list-item]
            elif isinstance(write, Sql):
                first = self._order.before(write.touches, waiting)
                yield from self._flush({name: waiting.pop(name) for name in first})
                check_statement(write.statement)
                yield Statement(write.statement, write.params)
            elif isinstance(write, InTransaction):
                yield from self._flush(waiting)
                waiting = {}
                yield write
            else:  # passed over, its effect would be missing while the position moves  # I7
                raise RowsRefused(f"{type(write).__name__} is no write that this store carries out")
        yield from self._flush(waiting)

    def _flush(self, waiting: Mapping[str, list[RowWrite]]) -> Iterator[Statement]:
        """Tables in one order everywhere, so that two workers cannot wait for each other in a circle.

        That order is the one in which the sink declares them, parents before children; what goes, goes the
        other way round.
        """
        names = sorted(waiting, key=lambda name: (self._rank.get(name, len(self._rank)), name))
        rounds: list[list[Round]] = []
        for name in names:
            self._check_counters(name, waiting[name])
            rounds.append(coalesce(waiting[name], partial(same_keys, self._relation(name).columns)))
        for level in zip_longest(*rounds):
            for name, part in zip(names, level, strict=True):
                if part is not None:
                    yield from self._put(name, part)
            for name, part in zip(reversed(names), reversed(level), strict=True):
                if part is not None:
                    yield from self._delete(name, part.key, part.gone)

    def _check_counters(self, table: str, writes: Sequence[RowWrite]) -> None:
        given = [write.by for write in writes if type(write) is Increment]
        for name in dict.fromkeys(chain.from_iterable(given)):
            self._column(table, name).check_counter(name, [by[name] for by in given if name in by])

    def _put(self, table: str, part: Round) -> Iterator[Statement]:
        """Everything but what is gone. Rows that begin anew are deleted first: other columns get their defaults."""
        yield from self._delete(table, part.key, part.fresh)
        for (sets, adds), (keys, values) in part.rows.items():
            overlap = (set(sets) | set(adds)) & set(part.key)
            if overlap:
                raise RowsRefused(f"{table}: {', '.join(sorted(overlap))} stands in the key and in the values")
            for first in range(0, len(keys), _CHUNK):
                some = slice(first, first + _CHUNK)
                yield from self._upsert(table, part.key, sets, adds, keys[some], values[some])

    def _upsert(
        self, table: str, names: Names, sets: Names, adds: Names, keys: list[Key], rows: list[Row]
    ) -> Iterator[Statement]:
        params = self._keys(table, names, keys)
        for name, values in zip((*sets, *adds), zip(*rows, strict=True), strict=True):
            params.append(self._array(table, name, values))
        if len(keys) >= _MANY or (adds and len(keys) > 1):
            yield ByKey(self._unique_sql(table, names), ())
            yield ByKey(self._merge_sql(table, names, sets, adds), params)
        else:
            yield Statement(self._upsert_sql(table, names, sets, adds), params)

    def _delete(self, table: str, names: Names, keys: list[Key]) -> Iterator[Statement]:
        for first in range(0, len(keys), _CHUNK):
            yield Statement(
                f"DELETE FROM {self._table(table)} AS t USING {self._source(table, names)} WHERE {_match(names)}",
                self._keys(table, names, keys[first : first + _CHUNK]),
            )

    def _merge_sql(self, table: str, names: Names, sets: Names, adds: Names) -> str:
        """Update what is there, insert what is not, row by row in the order of the arrays.

        Looked up by key (ByKey), the given rows are the outer side of the join. So counters, which several partitions
        may feed (S2), are locked in one order everywhere, and two workers do not wait for each other in a circle.

        It has no answer for a row that another partition's worker inserts at the same moment. The unique index refuses
        that; carried out again, in parts (G1), the plan finds the row.
        """
        given = {name: f"v.c{i}" for i, name in enumerate((*names, *sets, *adds))}
        update = f"WHEN MATCHED THEN UPDATE SET {_assign(sets, adds, given)} " if sets or adds else ""
        return (
            f"MERGE INTO {self._table(table)} AS t USING {self._source(table, [*given])} ON {_match(names)} {update}"
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(map(_sql, given))}) VALUES ({', '.join(given.values())})"
        )

    def _unique_sql(self, table: str, names: Names) -> str:
        """Does nothing, and is refused where no unique index has exactly these columns: MERGE does not ask for one."""
        target, key = self._table(table), ", ".join(map(_sql, names))
        return f"INSERT INTO {target} ({key}) SELECT {key} FROM {target} WHERE false ON CONFLICT ({key}) DO NOTHING"

    def _upsert_sql(self, table: str, names: Names, sets: Names, adds: Names) -> str:
        """Update what is there, then insert what was not. Not a plain INSERT .. ON CONFLICT, because that one
        first holds the new row against NOT NULL and CHECK, as if the columns that are not named, or the sum
        that the increment makes, did not exist. Its ON CONFLICT is for a row that another partition's worker
        inserted since this statement began.
        """
        target = self._table(table)
        values = [*names, *sets, *adds]
        columns = ", ".join(_sql(name) for name in values)
        row, key = ", ".join(f"v.c{i}" for i in range(len(values))), ", ".join(_sql(name) for name in names)
        head = f"WITH logsync_rows AS (SELECT * FROM {self._source(table, values)}), "
        insert = f"INSERT INTO {target} AS t ({columns}) SELECT {row} FROM logsync_rows AS v "
        tested = f"({', '.join(f'v.c{i}' for i in range(len(names)))})"
        found = ", ".join(f"t.{_sql(name)}" for name in names)
        unseen = f"WHERE {tested} NOT IN (SELECT * FROM logsync_hit) ON CONFLICT ({key}) DO "
        if len(values) == len(names):
            hit = f"SELECT {found} FROM {target} AS t, logsync_rows AS v WHERE {_match(names)}"
            return f"{head}logsync_hit AS ({hit}) {insert}{unseen}NOTHING"

        given = _assign(sets, adds, {name: f"v.c{i}" for i, name in enumerate(values)})
        excluded = _assign(sets, adds, {name: f"EXCLUDED.{_sql(name)}" for name in values})
        hit = f"UPDATE {target} AS t SET {given} FROM logsync_rows AS v WHERE {_match(names)} RETURNING {found}"
        return f"{head}logsync_hit AS ({hit}) {insert}{unseen}UPDATE SET {excluded}"

    def _source(self, table: str, names: Sequence[str]) -> str:
        """The parameters as rows: v.c0, v.c1, ... in the columns' own types, in the order of the arrays."""
        columns = [self._column(table, name) for name in names]
        arrays = ", ".join(f"%s::{_percent(c.travels)}[]" for c in columns)
        names_ = ", ".join(f"c{i}" for i in range(len(columns)))
        plain = f"unnest({arrays}) AS v ({names_})"
        if all(c.travels == c.type for c in columns):
            return plain
        casts = ", ".join(_percent(c.cast(f"c{i}")) for i, c in enumerate(columns))
        return f"(SELECT {casts} FROM {plain}) AS v ({names_})"

    def _keys(self, table: str, names: Names, keys: list[Key]) -> list[str]:
        params = []
        for name, values in zip(names, by_column(names, keys), strict=True):
            if type(None) in set(map(type, values)):
                raise RowsRefused(f"{table}: key column {name} is None: NULL is not equal to anything, not even itself")
            params.append(self._array(table, name, values))
        return params

    def _array(self, table: str, name: str, values: Sequence[Any]) -> str:
        column = self._column(table, name)
        return array(values, column.base, column.element)

    def _column(self, table: str, name: str) -> Column:
        try:
            return self._relation(table).columns[name]
        except KeyError:
            raise DoesNotFit(f"table {table} has no column {name}") from None

    def _relation(self, table: str) -> Relation:
        try:
            return self._relations[table]
        except KeyError:
            raise DoesNotFit(f"there is no table {table}, or this role cannot see it") from None

    def _table(self, table: str) -> str:
        return _percent(self._relation(table).name)


def tables_of(writes: Iterable[Write]) -> tuple[set[str], set[str]]:
    """The tables that row writes name, and those that a Sql says it touches."""
    try:
        return {write.table for write in writes if type(write) in _ROWS}, {  # type: ignore[attr-defined]
            name for write in writes if type(write) is Sql for name in write.touches
        }
    except TypeError:  # a name that is none: said when its write is made
        return set(), set()


def _match(names: Sequence[str]) -> str:
    return " AND ".join(f"t.{_sql(name)} = v.c{i}" for i, name in enumerate(names))


def _assign(sets: Names, adds: Names, new: Mapping[str, str]) -> str:
    plain = [f"{_sql(name)} = {new[name]}" for name in sets]
    return ", ".join(plain + [f"{_sql(name)} = COALESCE(t.{_sql(name)}, 0) + {new[name]}" for name in adds])


def _sql(column: str) -> str:
    return _percent(quote_column(column))


def _percent(text: str) -> str:
    return text.replace("%", "%%")  # the statement still goes through the client's own %s
