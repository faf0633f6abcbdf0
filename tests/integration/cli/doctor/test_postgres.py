"""What doctor finds in Postgres: each finding is provoked, and nothing else is found with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import psycopg
import pytest

from devstack import Stack
from devstack import postgres as devstack_postgres

from .clinic import Clinic, doctor, eventually, execute


@pytest.fixture
def system(env: dict[str, str]) -> Iterator[Callable[[str], None]]:
    """Sets one thing for the whole server, and puts everything back."""

    def run(statement: str) -> None:
        with psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True) as connection:
            connection.execute(statement.encode())
            connection.execute("SELECT pg_reload_conf()")

    yield run
    run("ALTER SYSTEM RESET ALL")


def test_commits_that_are_not_waited_for(db: Clinic, unique: str) -> None:
    execute(db.shell, f"ALTER DATABASE {unique} SET synchronous_commit = off")
    db.finds("postgres.synchronous_commit", "warning", "ALTER DATABASE")


def test_pages_that_may_be_torn(db: Clinic, system: Callable[[str], None]) -> None:
    system("ALTER SYSTEM SET full_page_writes = off")
    eventually(lambda: "postgres.full_page_writes" in doctor(db.shell, "db"))
    db.finds("postgres.full_page_writes", "error", "ALTER SYSTEM SET full_page_writes = on")


def test_a_postgres_that_does_not_wait_for_its_disk(db: Clinic, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patch:
            patch.setitem(devstack_postgres.SETTINGS, "fsync", "off")
            stack.restart("postgres")
        db.finds("postgres.fsync", "error", "ALTER SYSTEM SET fsync = on")
    finally:
        stack.restart("postgres")
    db.is_well()


def test_a_standby(db: Clinic, stack: Stack) -> None:
    data = stack.servers["postgres"].data
    stack.stop("postgres")
    try:
        (data / "standby.signal").touch()
        os.chmod(data / "standby.signal", 0o666)
        stack.start("postgres")
        db.finds("postgres.server", "error", "standby")
    finally:
        stack.stop("postgres")
        (data / "standby.signal").unlink(missing_ok=True)
        stack.start("postgres")
    db.is_well()
