"""Every block of docs/reading-own-connection.md runs, and does what the page says."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import types
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from logsync.settings import Settings
from tests.integration.outbox.apps import engine, url, with_django
from tests.unit.test_docs import DOCS, blocks

from .cache import Cache
from .followed import ENVIRONMENT, Followed, receipt

pytestmark = pytest.mark.servers("postgres", "redis")
NAME = "reading-own-connection.md"
PAGE = (DOCS / NAME).read_text()
PSYCOPG, PSYCOPG_ASYNC, SESSION, SESSION_ASYNC, DJANGO, REDIS = blocks(NAME)
FUNCTION, POSITION, GRANTS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(ACL,) = re.findall(r"^    ACL SETUSER web (.*)$", PAGE, re.MULTILINE)
LATE, THERE = {"up_to_date": False, "orders": []}, {"up_to_date": True, "orders": ["order-0"]}
RECEIPTS = (receipt(0),)


@pytest.fixture(autouse=True)
def shop(begun: Followed, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module ``shop.sinks`` of the page, and its package."""
    monkeypatch.setattr("logsync.reading.own.own_environment", lambda: ENVIRONMENT)
    monkeypatch.setattr("logsync.reading.commands.own_environment", lambda: ENVIRONMENT)
    sinks, receipts = types.ModuleType("shop.sinks"), types.ModuleType("shop.receipts")
    sinks.db = begun.sink  # type: ignore[attr-defined]
    receipts.remembered = lambda session: session  # type: ignore[attr-defined]
    for module in (types.ModuleType("shop"), sinks, receipts):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return sinks


def run(block: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(compile(block, f"docs/{NAME}", "exec", dont_inherit=True), namespace)
    return namespace


def test_psycopg(begun: Followed) -> None:
    orders = run(PSYCOPG)["orders"]
    with psycopg.connect(begun.dsn) as connection:
        assert orders(connection, RECEIPTS) == LATE
        begun.apply(1)
        assert orders(connection, RECEIPTS) == THERE


def test_psycopg_with_asyncio(begun: Followed) -> None:
    orders = run(PSYCOPG_ASYNC)["orders"]

    async def app() -> None:
        async with await psycopg.AsyncConnection.connect(begun.dsn) as connection:
            assert await orders(connection, RECEIPTS) == LATE
            begun.apply(1)
            assert await orders(connection, RECEIPTS) == THERE

    asyncio.run(app())


def test_sqlalchemy(begun: Followed) -> None:
    orders = run(SESSION)["orders"]
    with engine(begun.dsn) as found, orm.Session(found) as session:
        assert orders(session, RECEIPTS) == LATE
        begun.apply(1)
        assert orders(session, RECEIPTS) == THERE


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_sqlalchemy_with_asyncio(begun: Followed, driver: str) -> None:
    orders = run(SESSION_ASYNC)["orders"]

    async def app() -> None:
        found = aio.create_async_engine(url(begun.dsn, driver), poolclass=NullPool)
        async with aio.AsyncSession(found) as session:
            assert await orders(session, RECEIPTS) == LATE
            begun.apply(1)
            assert await orders(session, RECEIPTS) == THERE
        await found.dispose()

    asyncio.run(app())


def test_django(begun: Followed) -> None:
    request = types.SimpleNamespace(session=RECEIPTS)
    with with_django(begun.dsn):
        orders = run(DJANGO)["orders"]
        assert json.loads(orders(request).content) == LATE
        begun.apply(1)
        assert json.loads(orders(request).content) == THERE


def test_the_function_and_the_plain_select_for_a_role_with_the_rights_of_the_page(begun: Followed) -> None:
    role = f"{begun.dsn.rsplit('/', 1)[1]}_web"
    function = re.sub(r"\$1", "%s", FUNCTION)
    position = POSITION.replace("$2", "%(offset)s").replace("$1", "%(partition)s")
    place = {"partition": 1, "offset": 0}
    with psycopg.connect(begun.dsn, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role}; GRANT SELECT ON orders TO {role}".encode())
        db.execute(GRANTS.replace(" web;", f" {role};").encode())
        db.execute(f"SET ROLE {role}".encode())
        try:
            made_by_hand = json.dumps({"topic": "test.shop", "partition": 1, "offset": 0, "type": "order.placed"})
            for text in (RECEIPTS[0].dump(), made_by_hand):
                assert db.execute(function.encode(), [text]).fetchall() == [("behind", None)]
            assert db.execute(position.encode(), place).fetchall() == [(False,)]
            begun.apply(1)
            for text in (RECEIPTS[0].dump(), made_by_hand):
                assert db.execute(function.encode(), [text]).fetchall() == [("applied", [{"order_id": "order-0"}])]
            assert db.execute(position.encode(), place).fetchall() == [(True,)]
            assert run(PSYCOPG)["orders"](db, RECEIPTS) == THERE
        finally:
            db.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_redis_for_a_user_with_the_rights_of_the_page(cache: Cache, settings: Settings, shop: types.ModuleType) -> None:
    shop.cache = cache.sink  # type: ignore[attr-defined]
    block = REDIS.replace("shop:card:{household}", cache.prefix.replace("{", "{{").replace("}", "}}") + "{household}")
    card = run(block)["card"]
    address, name = settings.redis.get_secret_value(), cache.sink.name
    rights = ACL.replace("~shop:*", f"~{cache.prefix}*")
    rights = rights.replace("logsync:cache:*", f"logsync:{name}:*").replace(
        "logsync:prefixes", f"logsync:{cache.prefix}prefixes"
    )
    plain = redis.Redis.from_url(address)
    plain.execute_command("ACL", "SETUSER", name, *rights.split())
    web = redis.Redis.from_url(address, username=name, password="password")
    try:
        cache.begin()
        assert card(web, RECEIPTS, "n") is None
        cache.apply(1)
        assert card(web, RECEIPTS, "n") == b"1"
        stored = web.hget(f"logsync:{name}:{cache.prefix}positions", "1")
        assert json.loads(stored)["next_offset"] == 1  # type: ignore[arg-type]
    finally:
        plain.execute_command("ACL", "DELUSER", name)
