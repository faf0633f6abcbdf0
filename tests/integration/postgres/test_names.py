"""Names are taken as they are written, whatever stands in them."""

from __future__ import annotations

from typing import Any

import pytest

from logsync.errors import ConfigError, WriteRejected
from logsync.stores.postgres import Delete, Increment, Upsert

from .conftest import Bench


@pytest.mark.parametrize("column", ["price.usd", "a.b.c", ".", "Name", 'q"x', "50%", "%s", "with space", "select", "é"])
def test_a_column_is_called_what_it_is_called(bench: Bench, column: str) -> None:
    quoted = '"' + column.replace('"', '""') + '"'
    table = bench.table(f"id int PRIMARY KEY, {quoted} int DEFAULT 0, UNIQUE (id, {quoted})")
    store = bench.store()
    for first, last in ((0, 1), (1, 4), (4, 140)):
        bench.apply(store, *[[Upsert(table, {"id": n}, {column: 1})] for n in range(first, last)])
        bench.apply(store, *[[Increment(table, {"id": n}, {column: 2})] for n in range(first, last)])
        bench.apply(store, [Delete(table, {"id": 0, column: 3})], [Upsert(table, {"id": 0, column: 3})])
    assert bench.rows(f"SELECT count(*), min({quoted}), max({quoted}) FROM {table}") == [(140, 3, 3)]


@pytest.mark.parametrize("name", ["Shop %s", 'a"b', "100%", "select", "tbl é", "logsync_rows", "v", "t"])
def test_a_table_is_called_what_it_is_called(bench: Bench, name: str) -> None:
    name = f"{name}{bench.name}" if len(name) > 2 and name != "logsync_rows" else name
    bench.db.execute(
        f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" (id int PRIMARY KEY, n int DEFAULT 0)'.encode()
    )
    try:
        store = bench.store(tables=[name])
        assert not store.holds_data()
        bench.apply(store, [Upsert(name, {"id": 1})])
        bench.apply(store, [Increment(f"public.{name}", {"id": n}, {"n": 1}) for n in range(1, 200)])
        assert store.holds_data()
        store.wipe(bench.book())
        assert not store.holds_data()
    finally:
        bench.db.execute(f'DROP TABLE "{name.replace(chr(34), chr(34) * 2)}"'.encode())


@pytest.mark.parametrize("name", ["", ".", "a..b", "a.b.c", "a.b.c.d", "nul\0", "x" * 200, None, 7, ["t"], {"t"}])
def test_a_name_of_no_table_is_said_to_be_one(bench: Bench, name: Any) -> None:
    store = bench.store(tables=[])
    with pytest.raises((ConfigError, WriteRejected)) as caught:
        bench.apply(store, [], [Upsert(name, {"id": 1})])
    assert "1" in str(caught.value)
