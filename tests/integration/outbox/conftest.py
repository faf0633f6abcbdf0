"""A database of its own for every test, with the outbox and an app's two tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from logsync.core.codec import Decoder
from logsync.core.event import Event, Record
from logsync.core.log import Log
from logsync.outbox import DDL
from logsync.settings import Settings

SHOP = """
CREATE TABLE public.orders (id text PRIMARY KEY, cents int);
CREATE TABLE public.totals AS SELECT 0 AS cents;
"""


class Shop:
    """The database of a shop, as somebody sees it who looks from outside."""

    def __init__(self, dsn: str, db: psycopg.Connection[Any]) -> None:
        self.dsn, self.db = dsn, db
        self.role = f"{db.info.dbname}_app"

    def orders(self) -> list[str]:
        return [order for (order,) in self.db.execute("SELECT id FROM public.orders ORDER BY 1")]

    def records(self) -> list[Record]:
        """What a relay would send, in the order of the ids."""
        rows = self.db.execute("SELECT key, value, headers::text FROM logsync.outbox ORDER BY id").fetchall()
        return [
            Record(0, at, key, value, [(name, text.encode()) for name, text in json.loads(headers)])
            for at, (key, value, headers) in enumerate(rows)
        ]

    def events(self, log: Log) -> list[Event[Any]]:
        decode = Decoder(log, log.names)
        found = [decode(record) for record in self.records()]
        assert all(isinstance(one, Event) for one in found), found
        return found  # type: ignore[return-value]


@pytest.fixture
def shop(settings: Settings, unique: str) -> Iterator[Shop]:
    given = settings.postgres.get_secret_value()
    dsn = given.rsplit("/", 1)[0] + f"/{unique}"
    with psycopg.connect(given, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {unique}".encode())
        with psycopg.connect(dsn, autocommit=True, options="-c search_path=public") as db:
            db.execute(DDL.encode())
            db.execute(SHOP.encode())
            yield Shop(dsn, db)
        server.execute(f"DROP DATABASE {unique} WITH (FORCE)".encode())
