"""Postgres keeps the contract. Its rows are read back with plain psycopg."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from logsync.core.write import Write
from logsync.stores.postgres import Delete, Increment, InTransaction, Postgres, Sql, Upsert
from logsync.testing.store_contract import Content, Meant, Sample
from tests.contract import samples
from tests.contract.on_stack import OnStack


@pytest.mark.servers("postgres")
class TestPostgres(OnStack):
    server = "postgres"
    puts, adds, deletes = Upsert, Increment, Delete
    creates = ("logsync.position", "logsync.book", "logsync.parked", "_items")

    def make_store(self, sink: str) -> Postgres:
        table = f"{sink}_items"
        schema = f"CREATE TABLE IF NOT EXISTS {table} (k text PRIMARY KEY, n bigint CHECK (n >= 0))"
        return Postgres(schema=schema, tables=[table])

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        table = f"{sink}_items"
        put = f"INSERT INTO {table} VALUES (%(k)s, %(n)s) ON CONFLICT (k) DO UPDATE SET n = excluded.n"

        def add(cursor: Any, given: Any) -> None:
            cursor.execute(f"SELECT n FROM {table} WHERE k = %(k)s", given)
            found = cursor.fetchone()
            cursor.execute(put, {"k": given["k"], "n": given["n"] + ((found and found[0]) or 0)})

        return {
            **samples.of_rows(table),
            Sql: lambda key, n: Meant(
                Sql(put, {"k": key, "n": n}, touches=(table,) if n % 2 else ()), [Upsert(table, {"k": key}, {"n": n})]
            ),
            InTransaction: lambda key, n: Meant(
                InTransaction(add, {"k": key, "n": n}),  # type: ignore[arg-type] - an event, to whoever needs one
                [Increment(table, {"k": key}, {"n": n})],
            ),
        }

    def content(self, sink: str) -> Content:
        table = f"{sink}_items"
        with psycopg.connect(self.address) as connection:
            rows = connection.execute(f"SELECT k, n FROM {table}").fetchall()
        return Content.of(tables={table: [{"k": k, "n": n} for k, n in rows]})

    def refused(self, sink: str) -> Write:
        return Increment(f"{sink}_items", {"k": "refused"}, {"n": -1})
