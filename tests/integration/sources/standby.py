"""Two Postgres servers of a test: a primary, and a standby that streams from it and may be promoted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg

from devstack import Stack
from devstack import process as processes
from devstack.postgres import DATABASE, USER, Postgres
from devstack.server import Server, Site
from tests.integration.worker.harness import until

PHYSICAL = "standby"
"""The slot from which the standby streams."""


class Standby(Postgres):
    """A copy of a running primary, made by pg_basebackup."""

    primary: Postgres
    database: str
    settings: dict[str, str]

    def create(self) -> None:
        for parent in (self.work, self.work.parent):
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(0o755)
        self.data.mkdir(mode=0o700)
        account = self._account
        if account is not None:
            os.chown(self.data, account.pw_uid, account.pw_gid)
        backup = self._command(
            "pg_basebackup", "-D", str(self.data), "-c", "fast", "-h", "127.0.0.1", "-p", str(self.primary.port),
            "-U", USER, "-S", PHYSICAL, "-X", "stream",
        )  # fmt: skip
        processes.run(backup, cwd=self.work, log=self.log)
        # With a database: the slots of a database are copied over a connection to it.
        told = f"host=127.0.0.1 port={self.primary.port} user={USER} dbname={DATABASE} application_name={PHYSICAL}"
        settings = {
            "primary_conninfo": told, "primary_slot_name": PHYSICAL, "hot_standby_feedback": "on", **self.settings
        }  # fmt: skip
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.data / "standby.signal").touch()


class Pair:
    """A primary, and what becomes of it."""

    def __init__(self, home: Stack) -> None:
        self._first, self._second = Stack(f"{home.name}-primary"), Stack(f"{home.name}-standby")
        self.primary = cast("Postgres", self._first.servers["postgres"])
        self.standby = Standby(Site(self._second.name, self._second.home, self._second.directory / "postgres"))
        servers: dict[str, Server] = {"postgres": self.standby}
        self._second.servers = servers

    def start(self) -> None:
        self.close()
        self._first.up(only=["postgres"])

    @property
    def url(self) -> str:
        """Of whichever of the two takes writes, as an app and a relay are told."""
        second = f",127.0.0.1:{self.standby.port}" if self.standby.known else ""
        return (
            f"postgresql://{USER}@127.0.0.1:{self.primary.port}{second}/{DATABASE}"
            "?target_session_attrs=read-write&connect_timeout=5"
        )

    def follow(self, *, synced: bool) -> None:
        """Have the standby stream. ``synced``: with what a slot that is marked for it needs to be copied."""
        self.ask(self.primary, "SELECT pg_create_physical_replication_slot(%s, true)", PHYSICAL)
        self.standby.primary = self.primary
        self.standby.settings = {"sync_replication_slots": "on"} if synced else {}
        self._second.up(only=["postgres"])
        until(lambda: self.ask(self.primary, "SELECT state = 'streaming' FROM pg_stat_replication"), "streaming")
        if synced:
            # Nothing is told to a relay that the standby does not have.
            self.ask(self.primary, f"ALTER SYSTEM SET synchronized_standby_slots = '{PHYSICAL}'")
            self.ask(self.primary, "SELECT pg_reload_conf()")

    def choose_port(self) -> None:
        """Of the standby, before there is one: for addresses that name both."""
        self._second.directory.mkdir(parents=True, exist_ok=True)
        self.standby.configure(bench=None, taken=[self.primary.port])

    def fail_over(self) -> None:
        """The primary dies, and the standby takes its place."""
        self._first.kill("postgres")
        self.ask(self.standby, "SELECT pg_promote()")

    def ask(self, server: Postgres, query: str, *values: Any, database: str = DATABASE) -> Any:
        """The first value of the first row, or None."""
        url = f"postgresql://{USER}@127.0.0.1:{server.port}/{database}"
        with psycopg.connect(url, autocommit=True) as db:
            cursor = db.execute(query.encode(), values or None)
            row = cursor.fetchone() if cursor.description else None
        return row and row[0]

    def close(self) -> None:
        self._second.reset()
        self._first.reset()


@contextmanager
def pair(home: Stack) -> Iterator[Pair]:
    made = Pair(home)
    try:
        made.start()
        made.choose_port()
        yield made
    finally:
        made.close()
