"""Every block of docs/migrations.md runs, and does what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations

from logsync.errors import ConfigError
from logsync.stores.postgres import Postgres, Upsert

from .conftest import Bench

PAGE = (Path(__file__).parents[3] / "docs/migrations.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


INCLUDE_NAME, ALEMBIC, DJANGO = blocks("python")
(SCHEMA,) = blocks("sql")


@pytest.fixture
def base(bench: Bench) -> Iterator[str]:
    """The dsn of a database in which nobody has opened a store."""
    name = f"{bench.name}_base"
    bench.db.execute(f"CREATE DATABASE {name}")
    yield bench.dsn.rsplit("/", 1)[0] + f"/{name}"
    for store in bench.stores:
        store.close()
    bench.db.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `logsync schema print db > migrations/logsync.sql` leaves it, in the working directory."""
    assert blocks("bash") == ["logsync schema print db > migrations/logsync.sql\n"]
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/logsync.sql").write_text(Postgres().schema())
    monkeypatch.chdir(tmp_path)


def run(block: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(block, "docs/migrations.md", "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.usefixtures("printed")
def test_alembic_makes_logsync_s_tables_and_leaves_them_alone(bench: Bench, base: str) -> None:
    engine = sqlalchemy.create_engine(base.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        # The role of the test servers is called logsync as well, as the page warns.
        connection.exec_driver_sql("SET search_path = public")
        with Operations.context(MigrationContext.configure(connection)):
            page = run(ALEMBIC)
            page["upgrade"]()
            page["upgrade"]()  # what was printed may be run again
            with pytest.raises(NotImplementedError):
                page["downgrade"]()
        connection.commit()
        found = {}
        for name, more in (
            ("as it comes", {}),
            ("as the page says", {"include_name": run(INCLUDE_NAME)["include_name"]}),
        ):
            context = MigrationContext.configure(connection, opts={"include_schemas": True, **more})
            found[name] = {
                change[1].fullname
                for change in compare_metadata(context, sqlalchemy.MetaData())
                if change[0] == "remove_table"
            }
    engine.dispose()
    assert found["as it comes"] == {f"logsync.{name}" for name in ("applied_schema", "book", "parked", "position")}
    assert found["as the page says"] == set()
    bench.store(dsn=base, tables=[])  # finds everything in place


@pytest.mark.usefixtures("printed")
def test_the_migration_for_django_runs_what_was_printed(bench: Bench, base: str) -> None:
    (operation,) = run(DJANGO)["Migration"].operations
    with psycopg.connect(base) as connection:
        connection.execute(operation.sql)
    bench.store(dsn=base, tables=[])


def test_a_schema_that_says_what_should_be_there_may_grow(bench: Bench, base: str) -> None:
    """Each of its statements was added to the text one day, and the whole ran again."""
    lines = SCHEMA.splitlines(keepends=True)
    for day in range(1, len(lines) + 1):
        bench.store(dsn=base, schema="".join(lines[:day]), tables=["orders"]).close()
    store = bench.store(dsn=base, schema=SCHEMA, tables=["orders"])
    bench.apply(store, [Upsert("orders", {"order_id": "1"}, {"currency": "EUR"})])


def test_a_schema_that_cannot_run_again_is_refused_with_the_words_that_help(bench: Bench, base: str) -> None:
    once = "CREATE TABLE orders (order_id text PRIMARY KEY);"
    bench.store(dsn=base, schema=once, tables=["orders"]).close()
    for grown in (once + "ALTER TABLE orders ADD COLUMN n int;", "ALTER TABLE orders ADD COLUMN order_id text;"):
        with pytest.raises(ConfigError, match=r"(?s)already exists.*IF NOT EXISTS.*docs/migrations\.md"):
            bench.store(dsn=base, schema=grown, tables=["orders"])
