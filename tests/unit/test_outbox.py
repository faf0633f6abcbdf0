"""What an outbox makes of an event and of a connection, without a server."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio

from logsync import AppendRejected, ConfigError, Log, Tombstone
from logsync.core.cloudevents import CloudEvents
from logsync.core.codec import Encoded, EventTypes, encode
from logsync.outbox import Outbox
from logsync.outbox.rows import row
from tests.unit import shop

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
ORDER = shop.OrderPlaced(order="o1", cents=5)
outbox = Outbox(shop.log)


def test_no_kafka_client_is_loaded_and_no_library_for_databases() -> None:
    code = """
import sys, logsync.outbox
from logsync import ConfigError
from tests.unit import shop
try:
    logsync.outbox.Outbox(shop.log).append(None, shop.OrderPlaced(order="o1", cents=5))
except ConfigError:
    print(sorted({"confluent_kafka", "psycopg", "sqlalchemy", "django", "asyncpg"} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


@pytest.mark.parametrize("event", [ORDER, Tombstone(key="o1"), Tombstone(key="o1", of="order.placed")])
@pytest.mark.parametrize("headers", [{}, {"tenant": "größe", "nul": "\0", "empty": ""}])
def test_a_row_is_what_a_producer_would_have_sent(event: BaseModel, headers: dict[str, str]) -> None:
    found = row(shop.log, event, headers, "id-1", NOW)
    sent = encode(shop.log, event, event_id="id-1", time=NOW, headers=headers.items())
    assert (found.id, found.key, found.value, found.time) == ("id-1", sent.key, sent.value, NOW)
    assert found.headers.isascii()
    assert [(name, text.encode()) for name, text in json.loads(found.headers)] == sent.headers
    assert found.type == dict(sent.headers)["ce_type"].decode() or isinstance(event, Tombstone)  # type: ignore[union-attr]


class Bytes(CloudEvents):
    """A format whose headers are not all text."""

    def encode(
        self, log: EventTypes, event: BaseModel, *, event_id: str, time: datetime,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Encoded:  # fmt: skip
        made = super().encode(log, event, event_id=event_id, time=time, headers=headers)
        return made._replace(headers=[*made.headers, ("schema", b"\x00\xff"), ("null", None)])


def test_headers_that_are_not_text_are_refused_by_name() -> None:
    log = Log("t", codec=Bytes())
    log.event("order.placed", key="order")(shop.OrderPlaced)
    with pytest.raises(AppendRejected, match=r"not text in UTF-8: \['schema', 'null'\]"):
        row(log, ORDER, None, None, None)


def test_what_is_no_event_of_the_log_is_refused_before_the_connection_is_looked_at() -> None:
    class Other(BaseModel):
        a: int

    with pytest.raises(AppendRejected, match="is not an event of"):
        outbox.append(None, Other(a=1))
    with pytest.raises(AppendRejected, match="is not an event of"):
        outbox.append_many(None, [ORDER, Other(a=1)])


def test_nothing_to_append_needs_no_connection() -> None:
    assert outbox.append_many(None, []) == []


@pytest.mark.parametrize("given", [None, "default", object(), shop.log])
def test_what_is_no_connection_is_refused_and_told_what_is_one(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"takes a Connection or Cursor of psycopg 3.*found an object of"):
        outbox.append(given, ORDER)
    with pytest.raises(ConfigError, match=r"takes an AsyncConnection.*found an object of"):
        outbox.append_async(given, ORDER).send(None)


def test_a_connection_of_the_other_kind_is_told_which_method_takes_it() -> None:
    with pytest.raises(ConfigError, match=r"await outbox\.append_async"):
        outbox.append(aio.AsyncSession(), ORDER)
    with pytest.raises(ConfigError, match=r"outbox\.append\("):
        outbox.append_async(orm.Session(), ORDER).send(None)


def test_a_database_that_is_not_postgres_is_refused() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(ConfigError, match="one to sqlite"):
        outbox.append(connection, ORDER)
    with orm.Session(engine) as session, pytest.raises(ConfigError, match="one to sqlite"):
        outbox.append(session, ORDER)
    engine.dispose()
    with closing(sqlite3.connect(":memory:")) as plain, pytest.raises(ConfigError, match=r"sqlite3\.Connection"):
        outbox.append(plain, ORDER)
