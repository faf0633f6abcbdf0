"""The law of coalescing: net effects, in any order within a round, leave what the writes leave one by one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logsync.stores.postgres.coalesce import coalesce
from logsync.writes.rows import Delete, Increment, Upsert

# A table with key (k), counters n and m (numeric, DEFAULT 0) and a text t (no default), as a server keeps it:
# counters are numbers whatever they were given as, and a text in a counter is read.
Row = dict[str, Any]
Table = dict[tuple[Any, ...], Row]
DEFAULTS: Row = {"n": Decimal(0), "m": Decimal(0), "t": None}
RowWrite = Upsert | Increment | Delete


def stored(column: str, value: Any) -> Any:
    return value if column == "t" or value is None else Decimal(value)


def put(table: Table, key: tuple[Any, ...], sets: Any, adds: Any) -> None:
    """What the statement of one row does: the row that is there is changed, a new one starts at its defaults."""
    if key in table:
        row = table[key]
        row |= {column: stored(column, value) for column, value in sets.items()}
        row |= {column: (row[column] or 0) + by for column, by in adds.items()}
    else:
        values = {column: stored(column, value) for column, value in sets.items()}
        table[key] = {**DEFAULTS, **values, **{column: Decimal(by) for column, by in adds.items()}}


def one_by_one(writes: Iterable[RowWrite], table: Table) -> Table:
    for write in writes:
        key = tuple(write.key.values())
        if isinstance(write, Upsert):
            put(table, key, write.values, {})
        elif isinstance(write, Increment):
            put(table, key, {}, write.by)
        else:
            table.pop(key, None)
    return table


def agreed(names: Any, keys: Any) -> bool:
    return True


def in_bulk(writes: Sequence[RowWrite], table: Table, rng: random.Random) -> Table:
    for round_ in coalesce(writes, agreed):
        for key in round_.fresh:
            table.pop((key,), None)
        effects = [(shape, *pair) for shape, rows in round_.rows.items() for pair in zip(*rows, strict=True)]
        rng.shuffle(effects)
        for (sets, adds), key, row in effects:
            put(
                table,
                (key,),
                dict(zip(sets, row[: len(sets)], strict=True)),
                dict(zip(adds, row[len(sets) :], strict=True)),
            )
        for key in round_.gone:
            table.pop((key,), None)
    return table


keys = st.sampled_from([1, 2, 3]).map(lambda k: {"k": k})
amounts = st.integers(-5, 5) | st.decimals(-5, 5, places=2)
numbers = st.none() | amounts | st.integers(-5, 5).map(str)
values = st.fixed_dictionaries({}, optional={"n": numbers, "m": numbers, "t": st.none() | st.sampled_from(["", "x"])})
by = st.fixed_dictionaries({}, optional={"n": amounts, "m": amounts})
writes = st.lists(
    st.builds(Upsert, st.just("t"), keys, values)
    | st.builds(Increment, st.just("t"), keys, by)
    | st.builds(Delete, st.just("t"), keys),
    min_size=1,
    max_size=14,
)
alike = st.lists(st.builds(Upsert, st.just("t"), keys, st.fixed_dictionaries({"n": numbers, "m": numbers})), min_size=1)
alike |= st.lists(
    st.builds(Increment, st.just("t"), keys, st.fixed_dictionaries({"n": amounts, "m": amounts})), min_size=1
)
tables = st.dictionaries(
    keys.map(lambda k: tuple(k.values())),
    st.fixed_dictionaries({"n": st.none() | amounts.map(Decimal), "m": amounts.map(Decimal), "t": st.none()}),
)


@given(writes | alike, tables, st.randoms(use_true_random=False))
def test_net_effects_leave_what_the_writes_leave_one_by_one(
    given: list[RowWrite], before: Table, rng: random.Random
) -> None:
    expected = one_by_one(given, {key: dict(row) for key, row in before.items()})
    assert in_bulk(given, {key: dict(row) for key, row in before.items()}, rng) == expected


@given(writes | alike)
def test_a_key_stands_in_a_round_once_and_nothing_is_changed_in_place(given: list[RowWrite]) -> None:
    copy = [repr(write) for write in given]
    rounds = coalesce(given, agreed)
    assert [repr(write) for write in given] == copy
    for round_ in rounds:
        put = [key for keys, _ in round_.rows.values() for key in keys]
        assert len({*put, *round_.gone}) == len(put) + len(round_.gone)
        assert set(round_.fresh) <= set(put)
        for sets, adds in round_.rows:
            assert not set(sets) & set(adds)
