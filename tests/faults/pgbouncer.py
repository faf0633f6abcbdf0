"""PgBouncer in transaction mode before one Postgres, as an unprivileged user (it refuses to be root).

Its clients share four sessions of the server, and each transaction gets the next of them: whatever a client believes
to be its session's is another's a moment later.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.integration.worker.harness import until

from .fault import NotHere

SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "any",  # every client is the user of the [databases] line
    "pool_mode": "transaction",
    "server_round_robin": "1",
    "default_pool_size": "4",
    "min_pool_size": "4",
}


class PgBouncer:
    """Use as a context. ``url`` leads through it to the database of the ``url`` that is given."""

    def __init__(self, url: str) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise NotHere("needs Debian's package pgbouncer (apt-get install pgbouncer)")
        self._program, server = program, urlsplit(url)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = server._replace(netloc=f"{server.username}@127.0.0.1:{self._port}").geturl()
        self._folder = Path(tempfile.mkdtemp(prefix="logsync-pgbouncer-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        database = server.path.lstrip("/")
        lines = [
            "[databases]",
            f"{database} = host={server.hostname} port={server.port} dbname={database} user={server.username}",
            "[pgbouncer]",
            f"listen_port = {self._port}",
            *(f"{name} = {value}" for name, value in SETTINGS.items()),
        ]
        self._config = self._folder / "pgbouncer.ini"
        self._config.write_text("\n".join(lines) + "\n")
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            for path in (self._folder, self._config):
                os.chown(path, account.pw_uid, account.pw_gid)

    def __enter__(self) -> PgBouncer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it answers."""
        path = self._folder / "log"
        with path.open("ab") as out:
            self._popen = subprocess.Popen(
                [self._program, str(self._config)], cwd=self._folder, stdout=out, stderr=out, user=self._user
            )
        until(self._answers, lambda: f"an answer of PgBouncer\n{path.read_text()[-2000:]}")

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True


class Stranger(threading.Thread):
    """Another client of the same pool, with bad manners: it leaves settings behind in sessions that are everybody's.

    Not ``search_path``, which decides what a table's name means; see docs/writes-postgres.md. Use as a context.
    """

    _LEFT_BEHIND = (
        "SET synchronous_commit = off",
        "SET default_transaction_isolation = 'serializable'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'German'",
        "SET IntervalStyle = 'sql_standard'",
        "SET bytea_output = 'escape'",
        "SET statement_timeout = '1h'",
        "SET enable_indexscan = off",
    )

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True, name="stranger")
        self._url, self._end = url, threading.Event()

    def __enter__(self) -> Stranger:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        statements = cycle(self._LEFT_BEHIND)
        while not self._end.wait(0.1):
            try:
                with psycopg.connect(self._url, autocommit=True, prepare_threshold=None, connect_timeout=2) as client:
                    while not self._end.wait(0.01):
                        client.execute(next(statements).encode())
            except psycopg.Error:
                continue  # PgBouncer is down: that is the fault


@contextmanager
def shared(url: str) -> Iterator[PgBouncer]:
    """A PgBouncer whose sessions a stranger uses as well. Where none is installed a test fails in CI, or skips."""
    try:
        pooler = PgBouncer(url)
    except NotHere as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    with pooler, Stranger(pooler.url):
        yield pooler
