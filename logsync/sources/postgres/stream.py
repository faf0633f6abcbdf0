"""The replication connection: one slot's changes as Postgres sends them, and what is confirmed to it.

https://www.postgresql.org/docs/current/protocol-replication.html. psycopg has no replication protocol of its own; its
libpq has all that is needed. No call waits longer than it is told to.
"""

from __future__ import annotations

import math
import select
from contextlib import suppress
from struct import Struct
from time import monotonic, time
from typing import NamedTuple

from psycopg import Error, OperationalError, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.postgres.places import Confirmed, read
from logsync.sources.postgres.reading import Reading
from logsync.stores.postgres.errors import Verdict, describe, verdict
from logsync.stores.postgres.link import Link
from logsync.stores.postgres.opening import PINNED

_STATUS = Struct("!cqqqqB")
_CHANGE, _KEEPALIVE = b"wk"
_SINCE_2000 = 946_684_800
_EVERY = 10.0
"""Seconds between two words to a server that waits longer, or without end."""
_TURN = 10_000
_TURN_BYTES = 4 << 20  # a few hundred rows may be large ones
"""Messages that are read before the clock is looked at again."""
# Values arrive as the texts that output functions write; what a role or a database sets must not change them.
_SETTINGS = {
    **{name: PINNED[name] for name in ("TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits")},
    "client_encoding": "UTF8",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",  # names as values (regclass), and the next
    "search_path": "pg_catalog",
}


class Server(NamedTuple):
    """Which server this is. # https://www.postgresql.org/docs/current/protocol-replication.html, IDENTIFY_SYSTEM"""

    system: str
    """Made by initdb: the same for a primary, its standbys, and what is restored from its backups."""
    timeline: int
    """Grows when a standby is promoted and when a backup is restored up to a point in time."""
    lsn: int


class Stream:
    """A connection in replication mode. One thread."""

    def __init__(self, link: Link, *, timeout: float) -> None:
        self._link, self._pg = link, link.pgconn
        self._timeout = timeout
        self._confirmed = Confirmed(0)
        self._every = _EVERY
        self._told, self._told_at = 0, monotonic()
        self._received = 0
        for name, value in _SETTINGS.items():
            self._ask(f"SET {name} = '{value}'")

    @property
    def pid(self) -> int:
        """The server process of this connection, which a slot names as its user."""
        return self._pg.backend_pid

    def identify(self) -> Server:
        result = self._ask("IDENTIFY_SYSTEM")
        system, timeline, lsn = (_text(result.get_value(0, column)) for column in range(3))
        return Server(system, int(timeline), read(lsn))

    def history(self, timeline: int) -> str:
        """How ``timeline`` came to be: a line for each timeline before it, with the LSN at which it was left."""
        return _text(self._ask(f"TIMELINE_HISTORY {timeline}").get_value(0, 1))

    def mark_failover(self, slot: str, wanted: bool) -> None:
        """Have standbys keep a copy of the slot in step, or not. Postgres 17. Raises psycopg.Error."""
        self._ask(f"ALTER_REPLICATION_SLOT {slot} (FAILOVER {'true' if wanted else 'false'})")

    def start(self, slot: str, publications: list[str], confirmed: Confirmed) -> None:
        """From here on, changes arrive. ``confirmed``: what the server is told from time to time, from 1 on.

        Raises psycopg.Error, also for a slot that somebody else reads.
        """
        found = self._ask("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'")
        limit = int(_text(found.get_value(0, 0))) / 1000
        self._every = min(_EVERY, limit / 3) if limit else _EVERY
        names = ",".join(publications)
        # 0/0: from where the slot was confirmed. Only names of ours, which need no quotes.
        self._ask(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0 "
            f"(proto_version '1', publication_names '{names}', messages 'true')"
        )
        self._confirmed = confirmed
        self._pg.nonblocking = 1

    def read(self, reading: Reading, limit: int) -> None:
        """Feed what is there to ``reading``, until it has ``limit`` facts. Does not wait.

        Raises StoreUnavailable if the stream ended, ConfigError if it will end again for the same reason.
        """
        try:
            self._read(reading, limit)
        except Error as error:
            raise self._ended(error) from None

    def _read(self, reading: Reading, limit: int) -> None:
        get, facts, room = self._pg.get_copy_data, reading.facts, _TURN_BYTES
        for _ in range(_TURN):
            if len(facts) >= limit or room <= 0:
                return
            size, view = get(1)
            if size == 0:
                self._pg.consume_input()
                size, view = get(1)
                if size == 0:
                    return
            if size < 0:
                raise self._last_words()
            data = bytes(view)
            room -= size
            if data[0] == _CHANGE:
                reading.feed(data)
            elif data[0] == _KEEPALIVE:
                reading.looked_through(int.from_bytes(data[1:9], "big"))
                if data[17]:
                    self._tell()

    def wait(self, timeout: float, beside: int) -> None:
        """Until something arrives, here or at the socket ``beside``; at most ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self._pg.socket, select.POLLIN)
        poll.register(beside, select.POLLIN)
        poll.poll(max(0, math.ceil(min(timeout, self._due - monotonic()) * 1000)))

    def beat(self) -> None:
        """Tell the server what is confirmed, if it is time to. Raises StoreUnavailable."""
        if monotonic() >= self._due:
            self.tell()

    def tell(self) -> None:
        """Tell the server what is confirmed. Raises StoreUnavailable."""
        try:
            self._tell()
        except Error as error:
            raise self._ended(error) from None

    @property
    def _due(self) -> float:
        """When the server is told the next time: soon if there is something new, else to show that we live."""
        return self._told_at + (self._every if self._told == self._confirmed.lsn else min(1.0, self._every))

    def _tell(self) -> None:
        lsn, now = self._confirmed.lsn, int((time() - _SINCE_2000) * 1_000_000)
        self._pg.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, now, 0))
        self._pg.flush()
        self._told, self._told_at = lsn, monotonic()

    def close(self) -> None:
        with suppress(Exception):
            self._link.close()

    def _ask(self, query: str) -> PGresult:
        """One command in the simple protocol, the only one that such a connection speaks. Raises psycopg.Error."""
        self._link.deadline = monotonic() + self._timeout
        self._pg.send_query(query.encode())
        result: PGresult = self._link.wait(generators.execute(self._pg))[-1]
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result)
        return result

    def _last_words(self) -> Error:
        """Why the server ended the stream."""
        result = self._pg.get_result()
        if result is not None and result.status == ExecStatus.FATAL_ERROR:
            return error_from_result(result)
        return OperationalError("the server ended the stream")

    def _ended(self, error: Error) -> StoreUnavailable | ConfigError:
        text = f"read the write-ahead log: {describe(error)}"
        if verdict(error) is Verdict.UNAVAILABLE:
            return StoreUnavailable(text)
        return ConfigError(text, fix="`logsync doctor` says what is missing")


def _text(value: bytes | None) -> str:
    return str(value or b"", "utf-8")
