"""Every block of docs/outbox.md runs, and does what the page says."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as aio
from sqlalchemy.pool import NullPool

from tests.integration.outbox.apps import engine, url, with_django
from tests.integration.outbox.conftest import Shop
from tests.unit.test_docs import DOCS, blocks

PAGE = (DOCS / "outbox.md").read_text()
ALEMBIC, DJANGO_MIGRATION, EVENTS, PSYCOPG, PSYCOPG_ASYNC, CORE, SESSION, SESSION_ASYNC, DJANGO, OWN_ID = blocks(
    "outbox.md"
)
GRANTS, WAITING = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(PRINT,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(block: str, name: str = "page") -> dict[str, Any]:
    module = types.ModuleType(name)
    sys.modules[name] = module  # SQLAlchemy looks there for the names in annotations
    exec(compile(block, "docs/outbox.md", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module ``order_events`` of the page."""
    monkeypatch.setitem(sys.modules, "order_events", types.ModuleType("order_events"))
    monkeypatch.setitem(sys.modules, "page", types.ModuleType("page"))
    run(EVENTS, "order_events")
    return sys.modules["order_events"]


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's command has been run in the working directory."""
    (tmp_path / "migrations").mkdir()
    monkeypatch.chdir(tmp_path)
    command = PRINT.replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True)


@pytest.fixture
def orders(shop: Shop) -> Shop:
    shop.db.execute("DROP TABLE public.orders")
    shop.db.execute("CREATE TABLE public.orders (order_id text PRIMARY KEY, customer text, cents int)")
    shop.db.execute(f"ALTER DATABASE {shop.db.info.dbname} SET search_path = public".encode())
    return shop


def check(shop: Shop, events: Any, order: Any) -> None:
    """The row and the event are there."""
    assert shop.db.execute("SELECT order_id FROM public.orders").fetchall() == [(order.order_id,)]
    assert [event.data for event in shop.events(events.log)] == [order]


def test_psycopg(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    run(PSYCOPG)["place"](orders.dsn, order)
    check(orders, events, order)


def test_psycopg_with_asyncio(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    asyncio.run(run(PSYCOPG_ASYNC)["place"](orders.dsn, order))
    check(orders, events, order)


def test_sqlalchemy(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    with engine(orders.dsn) as found:
        run(CORE)["place"](found, order)
    check(orders, events, order)


def test_the_orm_of_sqlalchemy(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    page = run(SESSION)
    with engine(orders.dsn) as found:
        with orm.Session(found) as session:
            page["place"](session, order)
        check(orders, events, order)
        with orm.Session(binds={page["Base"]: found}) as session:
            connection = session.connection(bind_arguments={"mapper": page["Order"]})
            events.outbox.append(connection, order)
            session.commit()
    assert len(orders.records()) == 2


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_sqlalchemy_with_asyncio(orders: Shop, events: Any, driver: str) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)

    async def app() -> None:
        found = aio.create_async_engine(url(orders.dsn, driver), poolclass=NullPool)
        async with aio.AsyncSession(found) as session:
            await run(SESSION_ASYNC)["place"](session, order)
        await found.dispose()

    asyncio.run(app())
    check(orders, events, order)


def test_django(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    with with_django(orders.dsn):
        run(DJANGO)["place"](order)
    check(orders, events, order)


def test_an_id_of_the_app_s_own(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with psycopg.connect(orders.dsn) as connection:
        assert run(OWN_ID)["paid"](connection, {"id": "evt_1", "traceparent": trace}, order) == "evt_1"
    (event,) = orders.events(events.log)
    assert dict(event.headers)["traceparent"] == trace.encode()


def test_what_waits_can_be_counted(orders: Shop, events: Any) -> None:
    order = events.OrderPlaced(order_id="1", customer="ada", cents=5)
    run(PSYCOPG)["place"](orders.dsn, order)
    (found,) = orders.db.execute(WAITING.encode()).fetchall()
    assert found == (1, orders.events(events.log)[0].time)


def test_the_rights_of_the_page_are_enough(orders: Shop, events: Any) -> None:
    grants = GRANTS.replace(" shop;", f" {orders.role};")
    orders.db.execute(f"CREATE ROLE {orders.role}".encode())
    orders.db.execute(grants.encode())
    with psycopg.connect(orders.dsn) as connection:
        connection.execute(f"SET ROLE {orders.role}".encode())
        events.outbox.append(connection, events.OrderPlaced(order_id="1", customer="ada", cents=5))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM logsync.outbox")
        connection.rollback()
    orders.db.execute(f"DROP OWNED BY {orders.role}; DROP ROLE {orders.role}".encode())


@pytest.mark.usefixtures("printed")
def test_the_revision_of_alembic_makes_the_table_and_drops_it(orders: Shop) -> None:
    orders.db.execute("DROP SCHEMA logsync CASCADE")
    with engine(orders.dsn) as found, found.begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            page = run(ALEMBIC)
            page["upgrade"]()
            page["upgrade"]()  # what was printed may be run again
            opts = {"include_schemas": True, "include_name": run(blocks("migrations.md")[0])["include_name"]}
            context = MigrationContext.configure(connection, opts=opts)
            changes = [change[1].fullname for change in compare_metadata(context, sa.MetaData())]
            assert sorted(changes) == ["orders", "totals"], "and nothing of logsync's"
            page["downgrade"]()
        assert not sa.inspect(connection).has_table("outbox", schema="logsync")


@pytest.mark.usefixtures("printed")
def test_the_migration_of_django_makes_the_table(orders: Shop) -> None:
    orders.db.execute("DROP SCHEMA logsync CASCADE")
    (operation,) = run(DJANGO_MIGRATION)["Migration"].operations
    with with_django(orders.dsn):
        from django.db import connection

        with connection.schema_editor() as editor:
            operation.database_forwards("shop", editor, None, None)
    assert orders.records() == []
