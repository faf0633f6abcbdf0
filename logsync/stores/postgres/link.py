"""One connection whose every wait has an end. The only module here that imports the client library."""

from __future__ import annotations

import math
import re
import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from ipaddress import ip_address
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from logsync.core.addresses import read
from logsync.core.secrets import keep, of_address
from logsync.errors import ConfigError

T = TypeVar("T")
_EXPECTED = "the address of a Postgres: postgresql://user:password@host:port/database"
_FIX = "correct LOGSYNC_POSTGRES, or the dsn given to Postgres(...)"
_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_EVENTS = (0, select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT)  # by psycopg's Wait


class Overdue(psycopg.OperationalError):
    """The deadline of a call has passed."""


class Link(psycopg.Connection[tuple[Any, ...]]):
    """A connection with a deadline.

    TCP settings notice a host that vanished, statement_timeout a query that takes too long; neither sees a
    server that is there and does nothing (stopped, swapped out): its kernel acknowledges every byte. So the
    wait for the socket ends here too, by closing it: a transaction without its client is rolled back.
    """

    deadline: float = math.inf
    """time.monotonic() at which every wait ends."""
    meanwhile: Callable[[], bool] | None = None
    """See Store."""
    committing: bool = False
    """True once COMMIT may have been sent: a connection that breaks now leaves the outcome unknown."""

    def wait(self, gen: PQGen[T], *_args: Any, **_kwargs: Any) -> T:
        """Drive one operation of the client library, as psycopg's own wait does, to the deadline at most."""
        poll = select.poll()
        try:
            wanted = next(gen)
            while True:
                # psycopg's Wait and Ready are the same bits: 1 to read, 2 to write.
                poll.register(self.pgconn.socket, _EVENTS[int(wanted)])
                found = self._ready(poll)
                if not found:
                    raise Overdue("the server did not answer in time")
                event = found[0][1]
                both = event & ~(select.POLLIN | select.POLLOUT)  # hung up: let the client library find out
                can_read, can_write = both or event & select.POLLIN, both or event & select.POLLOUT
                wanted = gen.send(wanted & ((1 if can_read else 0) | (2 if can_write else 0)))
        except StopIteration as end:
            result: T = end.value
            return result
        except BaseException as error:
            if isinstance(error, Overdue) or not isinstance(error, Exception):
                self.close()  # in the middle of an answer: nothing after it could be understood
            raise

    def _ready(self, poll: select.poll) -> list[tuple[int, int]]:
        """What came by the deadline. Until something comes, other work is done in slices."""
        while True:
            found = poll.poll(0) if self.meanwhile is not None else []
            left = self.deadline - monotonic()
            if found or left <= 0 or self.meanwhile is None or not self.meanwhile():
                return found or poll.poll(None if left == math.inf else max(0, math.ceil(left * 1000)))

    @property
    def unverified(self) -> str:
        """See :func:`unverified`."""
        return unverified(self.info.hostaddr, self.info.get_parameters())

    @property
    def status(self) -> TransactionStatus:
        return TransactionStatus(self.pgconn.transaction_status)

    @property
    def lost(self) -> bool:
        """True if nothing more can be asked: closed here, or broken by the other side."""
        return self.closed or self.broken

    def finish(self) -> None:
        """COMMIT. If the connection breaks from here on, the outcome is unknown."""
        self.committing = True
        self.ask("COMMIT")

    def abort(self) -> None:
        """Back to idle, or closed if the server is in the middle of something."""
        if self.status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            self.ask("ROLLBACK")
        if self.status is not TransactionStatus.IDLE:
            self.close()

    def ask(self, sql: str, *params: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement."""
        return self.send([(sql, params)])[0]

    def send(self, statements: Sequence[tuple[str, Any]]) -> list[psycopg.Cursor[tuple[Any, ...]]]:
        """Run the statements in one round trip; the first error stops the rest. Returns a cursor for each."""
        cursors = [self.cursor() for _ in statements]
        self.run(cursors, statements)
        return cursors

    def run(self, cursors: Sequence[psycopg.Cursor[Any]], statements: Sequence[tuple[str, Any]]) -> None:
        """As :meth:`send`, on cursors that the caller can look at when an error comes."""
        several = len(statements) > 1 and psycopg.Pipeline.is_supported()
        with self.pipeline() if several else nullcontext():
            for cursor, (sql, params) in zip(cursors, statements, strict=True):
                cursor.execute(sql.encode(), params)


def unverified(address: str, parameters: Mapping[str, str]) -> str:
    """The sslmode, if another machine is talked to and nothing has proved that it is the one that was meant; else "".

    ``address``: the IP address of the server, empty for a socket file. ``parameters``: those of the connection.
    """
    mode = parameters.get("sslmode", "prefer")
    with suppress(ValueError):
        here = not address or ip_address(address.partition("%")[0]).is_loopback
        if not here and mode != "verify-full" and parameters.get("sslrootcert") != "system":
            return mode
    return ""


def connect(dsn: str, *, timeout: float, **more: str) -> Link:
    """A new connection, in UTF-8 and without transactions of its own. Raises psycopg.Error, ConfigError.

    Takes ``timeout`` seconds at most per address that the host name has. ``more``: parameters that no address changes.
    """
    keep(of_address(dsn))
    if _URL.match(dsn):
        read(dsn, schemes=("postgresql", "postgres"), expected=_EXPECTED, fix=_FIX, by_libpq=True)
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        # The client's own message repeats the string, and with it the password.
        raise ConfigError(f"expected {_EXPECTED}, found something else", fix=_FIX) from None
    ours = {
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(timeout * 1000),
        "application_name": "logsync",
    }
    # psycopg's connect_timeout has a floor of two seconds.
    always = {"connect_timeout": max(2, math.ceil(timeout)), "client_encoding": "UTF8"}
    settings: dict[str, Any] = {**ours, **given, **always, **more}
    # No prepared statements: a plan made for 5,000 rows serves one row badly, and the other way round, and a
    # pooler between us may hand the next transaction to another server session.
    return Link.connect(autocommit=True, prepare_threshold=None, **settings)
