"""Postgres in the contract suite: two tables of the test's own, read back with plain psycopg."""

from __future__ import annotations

import psycopg

from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.postgres import Delete, Increment, Postgres, Upsert
from tests.contract.adapters import Content


class PostgresAdapter:
    atomic = True

    def __init__(self, settings: Settings, unique: str) -> None:
        self.settings, self.sink = settings, unique
        self.puts, self.adds = f"{unique}_puts", f"{unique}_adds"
        self.schema = f"""
            CREATE TABLE IF NOT EXISTS {self.puts} (k text PRIMARY KEY, n bigint NOT NULL);
            CREATE TABLE IF NOT EXISTS {self.adds} (k text PRIMARY KEY, n bigint NOT NULL CHECK (n >= 0));
        """

    def client(self) -> Postgres:
        store = Postgres(schema=self.schema, tables=[self.puts, self.adds])
        store.open(self.sink, self.settings)
        return store

    def put(self, key: str, n: int) -> Write:
        return Upsert(self.puts, {"k": key}, {"n": n})

    def add(self, key: str, n: int) -> Write:
        return Increment(self.adds, {"k": key}, {"n": n})

    def delete(self, key: str) -> Write:
        return Delete(self.puts, {"k": key})

    def refused(self) -> Write:
        return Increment(self.adds, {"k": "refused"}, {"n": -1})

    def content(self) -> Content:
        with psycopg.connect(self.settings.postgres.get_secret_value()) as connection:
            return {
                "put": dict(connection.execute(f"SELECT k, n FROM {self.puts}").fetchall()),
                "add": dict(connection.execute(f"SELECT k, n FROM {self.adds}").fetchall()),
            }


def make(settings: Settings, unique: str) -> PostgresAdapter:
    return PostgresAdapter(settings, unique)
