"""What can be done to a Postgres so that it answers with one error, and a table of such troubles."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack import Stack
from logsync.core.plan import Plan
from logsync.core.write import Write
from logsync.errors import (
    LogsyncError,
    StoreUnavailable,
)
from logsync.stores.postgres import Increment
from tests.waiting import PATIENCE

from .conftest import Bench, plan_of
from .test_outages import Apply


class Case:
    """A sink at position 0 over a table whose row 1 counts 0, and a plan that adds 5 to it."""

    def __init__(self, bench: Bench, stack: Stack, timeout: float) -> None:
        self.bench, self.stack, self.timeout = bench, stack, timeout
        self.table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0 CHECK (n < 100), t text")
        self.sql(f"INSERT INTO {self.table} VALUES (1, 0)")
        self.store = bench.store(timeout=timeout)
        self.good: list[Write] = [Increment(self.table, {"id": 1}, {"n": 5})]

    def plan(self, *bad: Write) -> Plan:
        return plan_of(self.store.positions()[0], self.good, *([list(bad)] if bad else []))

    def apply(self, *bad: Write) -> LogsyncError:
        plan = self.plan(*bad)
        return self.failing(lambda: self.store.apply(plan))

    def applying(self, *bad: Write) -> Apply:
        return Apply(self.bench, self.store, plan=self.plan(*bad))

    def connecting(self, role: str = "logsync") -> LogsyncError:
        """What another worker of the sink hears."""
        dsn = self.bench.dsn.replace("logsync@", f"{role}@")
        return self.failing(lambda: self.bench.store(timeout=self.timeout, dsn=dsn))

    def failing(self, call: Callable[[], object]) -> LogsyncError:
        with pytest.raises(LogsyncError) as caught:
            call()
        return caught.value

    def reopen(self) -> None:
        """As the worker does after an outage, until the server takes us."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.store.open(self.bench.name, self.bench.settings)
                return
            except StoreUnavailable:
                assert time.monotonic() < deadline

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """What somebody else runs, on a connection of its own."""
        options = "-c search_path=public -c default_transaction_read_only=off"
        with psycopg.connect(self.bench.dsn, autocommit=True, options=options) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def found(self) -> tuple[int, int]:
        """The count and the position."""
        n = self.sql(f"SELECT n FROM {self.table} WHERE id = 1")[0][0]
        return n, self.sql(f"SELECT next_offset FROM logsync.position WHERE sink = '{self.bench.name}'")[0][0]

    def read_only(self, value: str) -> None:
        """For every session that begins when this returns."""
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()")
        deadline = time.monotonic() + PATIENCE
        found = None
        while found != value:
            assert time.monotonic() < deadline
            with psycopg.connect(self.bench.dsn) as connection:  # a copy of the server's first process: it has read it
                found = connection.execute("SHOW default_transaction_read_only").fetchall()[0][0]
        if value == "off":
            self.sql("ALTER SYSTEM RESET default_transaction_read_only")

    @contextmanager
    def standby(self) -> Iterator[None]:
        """The server follows a primary that is nowhere, and is promoted in the end."""
        sign: Path = self.stack.servers["postgres"].data / "standby.signal"
        self.stack.stop("postgres")
        sign.touch()
        try:
            self.stack.start("postgres")
            yield
            self.sql("SELECT pg_promote()")  # returns when it is the primary, which has removed the sign
        finally:
            sign.unlink(missing_ok=True)
            self.stack.restart("postgres")

    @property
    def session(self) -> int:
        assert self.store._link
        return self.store._link.info.backend_pid

    @contextmanager
    def limited(self, resource: str, limit: int) -> Iterator[None]:
        """The store's session gets no more of this from its system. Set by the server, who alone has the right."""
        # No row: the program reads none, and would break the pipe.
        command = f"COPY (SELECT WHERE false) TO PROGRAM 'prlimit --pid {self.session} --{resource}="
        self.sql(f"{command}{limit}:'")
        try:
            yield
        finally:
            self.sql(f"{command}unlimited:'")


Trouble = Callable[[Case], Iterator[LogsyncError]]


@dataclass(frozen=True)
class Row:
    code: str
    error: type[LogsyncError]
    trouble: Trouble
    timeout: float

    def __str__(self) -> str:
        return f"{self.code} {self.trouble.__name__}"


TABLE: list[Row] = []


def row(code: str, error: type[LogsyncError], timeout: float = 30.0) -> Callable[[Trouble], Trouble]:
    """``timeout``: the store's bound on a call, in seconds. The function yields the error while the trouble lasts."""

    def add(trouble: Trouble) -> Trouble:
        TABLE.append(Row(code, error, trouble, timeout))
        return trouble

    return add
