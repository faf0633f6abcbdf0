"""The ordinary connection beside the stream: the ledger, the outbox's rows, questions to the catalog."""

from __future__ import annotations

import math
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from psycopg import Error
from psycopg.pq import ConnStatus

from logsync.errors import ConfigError, StoreUnavailable
from logsync.stores.postgres import link as edge
from logsync.stores.postgres.errors import Verdict, describe, verdict, verdict_of_connect
from logsync.stores.postgres.link import Link
from logsync.stores.postgres.opening import check_server, opening, session_path

_FIX = "let `logsync source create` make what it needs, and leave the tables in the schema logsync as they are"


class Database:
    """One connection whose calls have an end, and whose errors are those of logsync. One thread."""

    def __init__(self, dsn: str, *, timeout: float, source: str) -> None:
        """Connect. Raises StoreUnavailable, ConfigError."""
        self._timeout = timeout
        self._link = connect(dsn, timeout=timeout, source=source)
        with self.call("check the server") as link:
            check_server(link)
            self._path = session_path(link)

    @property
    def socket(self) -> int:
        return self._link.pgconn.socket

    def gone(self) -> bool:
        """Has the server hung up? A shutdown begins with connections like this one, and waits for streams."""
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLIN)
            while poll.poll(0):
                self._link.pgconn.consume_input()
                if self._link.pgconn.status == ConnStatus.BAD:
                    return True
        except Error:
            return True
        return False

    @contextmanager
    def call(self, what: str) -> Iterator[Link]:
        """Some statements, each by itself. Whatever goes wrong, the connection is idle afterwards, or closed."""
        link, user = self._link, self._link.info.user
        link.deadline = monotonic() + self._timeout
        try:
            yield link
        except Error as error:
            unavailable = link.lost or verdict(error) is Verdict.UNAVAILABLE
            self._settle()
            text = f"{what}: {describe(error)}"
            if unavailable:
                raise StoreUnavailable(text) from None
            fix = f"give the role {user} the right to do that" if error.sqlstate == "42501" else _FIX
            raise ConfigError(f"Postgres: {text}", fix=fix) from None
        except BaseException:
            self._settle()
            raise
        finally:
            link.deadline = math.inf

    @contextmanager
    def transaction(self, what: str) -> Iterator[Link]:
        """One transaction, durable at the end of the block unless the block raises."""
        with self.call(what) as link:
            link.send(opening(self._timeout, self._path))
            yield link
            link.finish()

    def close(self) -> None:
        with suppress(Exception):
            self._link.close()

    def _settle(self) -> None:
        if not self._link.lost:
            self._link.deadline = monotonic() + min(5.0, self._timeout)
            with suppress(Exception):
                self._link.abort()


def connect(dsn: str, *, timeout: float, source: str, replication: bool = False) -> Link:
    """Raises StoreUnavailable, ConfigError. ``replication``: as a stream reads, which needs a right of its own."""
    more = {"replication": "database"} if replication else {}
    try:
        return edge.connect(dsn, timeout=timeout, application_name=f"logsync {source}"[:63], **more)
    except Error as error:
        text = f"cannot connect to Postgres: {describe(error)}"
        if "walsender" in text or ("WAL sender" in text and "permission" in text):
            raise ConfigError(
                f"the role may not read the write-ahead log: {describe(error)}",
                fix="ALTER ROLE ... REPLICATION, or what the provider has instead (RDS: GRANT rds_replication TO ...)",
            ) from None
        if verdict_of_connect(error) is Verdict.UNAVAILABLE:
            raise StoreUnavailable(text) from None
        raise ConfigError(text, fix="correct the address given to PostgresLog, or the rights on the server") from None
