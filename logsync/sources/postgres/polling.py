"""``Polling``: facts from ``logsync.outbox`` by asking for them, where the write-ahead log cannot be read.

The order is made here. A serial id is no order: a transaction that commits late shows an id that was passed already. So
a row gets its number only once it is seen, and who is seen later gets a later one. Among rows that are seen for the
first time together, the order of the INSERTs decides: of two requests that lock one row and append then, the one that
committed first had inserted first.

Everything happens on the session that holds the lock: whoever lost it writes nothing, because it has no session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from logsync.core.codec import Encoded
from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.contract import Fact, Ledger, Portion, Unfit
from logsync.stores.clients import importing

if TYPE_CHECKING:
    from logsync.sources.managing import Manager
    from logsync.sources.postgres.database import Database
    from logsync.stores.postgres.link import Link

SLOT = "logsync.outbox"
"""What stands in ``logsync.source`` where other sources have a slot. It is unique: an outbox has one relay."""
_KEY = 0x6C6F6773, 0x6F757462  # of the advisory lock: "logs", "outb"
_PAUSE = 0.02  # seconds between two looks for new rows
_BEAT = 1.0  # seconds without a question after which one is asked, so that the session is not taken for a frozen one
_NUMBERED_AT_ONCE = 5_000
_BYTES_AT_ONCE = 4 << 20
# Of the session. What a role or a database may have set otherwise, and what ends a session whose relay is gone or
# frozen: until then the lock is held, and a successor waits.
_SETTINGS = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "300s",  # a relay that begins reads its log meanwhile
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
}
_SET = "SELECT count(set_config(name, value, false)) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"
_LOCK = "SELECT pg_try_advisory_lock(%s, %s)"
_LOCKED = """
FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database AND datname = current_database()
WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2 AND granted
"""
_HOLDS = f"SELECT EXISTS (SELECT {_LOCKED} AND pid = pg_backend_pid())"
_HOLDER = f"""
SELECT concat_ws(' ', 'process', pid, nullif(application_name, ''), 'from ' || host(client_addr))
FROM pg_stat_activity WHERE pid IN (SELECT pid {_LOCKED})
"""
# One statement, so one transaction, on all rows that have no number. The counter is not touched if there are none.
_NUMBER = """
WITH seen AS MATERIALIZED (
    SELECT id, inserted FROM logsync.outbox WHERE number IS NULL ORDER BY inserted LIMIT %s FOR UPDATE
), counter AS (
    UPDATE logsync.outbox_number SET last = last + (SELECT count(*) FROM seen) WHERE EXISTS (SELECT FROM seen)
    RETURNING last - (SELECT count(*) FROM seen) AS before
)
UPDATE logsync.outbox SET number = before + nth
FROM counter, (SELECT id, row_number() OVER (ORDER BY inserted) AS nth FROM seen) AS ordered
WHERE outbox.id = ordered.id
"""
_LAST = "SELECT last FROM logsync.outbox_number"
# In rows and in bytes. The first row comes whatever its size; in front of each stands how many more there were.
_NEXT = """
SELECT rows - nth, number, id, key, value, headers, time FROM (
    SELECT *, row_number() OVER (ORDER BY number) AS nth, count(*) OVER () AS rows,
           sum(octet_length(key) + coalesce(octet_length(value), 0) + octet_length(headers::text))
               OVER (ORDER BY number ROWS UNBOUNDED PRECEDING) AS size
    FROM (SELECT * FROM logsync.outbox WHERE number > %s ORDER BY number LIMIT %s) AS next
) AS sized WHERE nth = 1 OR size <= %s ORDER BY number
"""


class Polling:
    """The outbox of a Postgres 15 or later, whatever its ``wal_level``. ``dsn`` None: ``LOGSYNC_POSTGRES``.

    The connection must be a direct one: a pooler gives the lock to whoever comes next. Each event costs the database an
    UPDATE more than with ``PostgresLog``, and is seen up to 20 ms later.
    """

    kind = "polling"

    def __init__(self, dsn: str | None = None) -> None:
        self._dsn = dsn
        self._source = ""
        self._db: Database | None = None
        self._kept: Ledger | None = None
        self._skips: Mapping[str, str] = {}
        self._read = self._last = 0  # the number of the last fact that was taken, and the last that was given
        self._told: int | None = None  # the end that was told last
        self._asked = 0.0

    def __repr__(self) -> str:  # not the dsn: it may hold a password
        return "Polling()"

    def manager(self) -> Manager:
        """What the commands of `logsync source` do."""
        from logsync.sources.postgres.managing_polling import PollingManager

        return PollingManager(self)

    def connect(self, source: str, settings: Any) -> Database:
        """Nothing held yet. Raises StoreUnavailable, ConfigError."""
        with importing("psycopg", extra="postgres"):
            from logsync.sources.postgres.database import Database
        dsn = settings.address("postgres") if self._dsn is None else self._dsn
        return Database(dsn, timeout=settings.store_timeout, source=source)

    def open(self, source: str, settings: Any) -> None:
        """See Origin. Bound: ``store_timeout`` per address of the host, and per question to the server."""
        self.close()
        self._source, self._db = source, self.connect(source, settings)
        try:
            with self._db.call("hold the outbox") as link:
                self._hold(link, settings.store_timeout)
            self._read, self._told, self._asked = 0, None, monotonic()
        except BaseException:
            self.close()
            raise

    def _hold(self, link: Link, timeout: float) -> None:
        from logsync.sources.postgres import ledger

        limits = {name: str(int(timeout * 800)) for name in ("statement_timeout", "lock_timeout")}
        wanted = {**_SETTINGS, **limits}
        link.ask(_SET, list(wanted), list(wanted.values()))
        if link.ask("SELECT pg_backend_pid()").fetchone() != (link.info.backend_pid,):
            raise ConfigError(
                "there is a pooler between this relay and the database, and a lock needs a session of its own",
                fix="give Polling(dsn) the address of the database itself",
            )
        row = ledger.find(link, self._source)
        if row is None or row.slot != SLOT:
            raise ConfigError(
                f"the source {self._source} was never created in this database"
                + (", or for its write-ahead log" if row else ""),
                fix="`logsync source create SOURCE`",
            )
        if link.ask(_LOCK, *_KEY).fetchone() != (True,):
            raise StoreUnavailable(f"the outbox is held by {holder(link) or 'another relay'}")
        # Again, now that nobody else writes it.
        row = ledger.find(link, self._source)
        self._kept, self._skips = (row.ledger, row.skips) if row else (None, {})
        (self._last,) = link.ask(_LAST).fetchone() or (0,)

    def holds(self) -> bool:
        """See Origin."""
        with self._opened().call("look who holds the outbox") as link:
            self._asked = monotonic()
            return link.ask(_HOLDS, *_KEY).fetchone() == (True,)

    def ledger(self) -> Ledger | None:
        """See Origin."""
        return self._kept

    def keep(self, ledger: Ledger, ids: Sequence[str] = ()) -> None:
        """See Origin."""
        from logsync.sources.postgres.ledger import keep

        with self._opened().call("keep how far the log is") as link:
            keep(link, self._source, ledger, ids)
        self._kept = ledger

    def skips(self) -> Mapping[str, str]:
        """See Origin."""
        return self._skips

    def now(self) -> str:
        """See Origin. Everything that is committed at this moment gets its number."""
        with self._opened().call("number the outbox") as link:
            while self._number(link):
                pass
        return _at(self._last)

    def take(self, limit: int, timeout: float) -> Portion:
        """See Origin. Every fact is an end: a relay may stop between two of one transaction, and go on there."""
        if not limit:
            if monotonic() - self._asked >= _BEAT:
                self.holds()
            return Portion((), None)
        until = monotonic() + timeout
        while not (facts := self._facts(limit)) and (left := until - monotonic()) > 0:
            sleep(min(left, _PAUSE))
        told, self._told = self._told, self._read
        return Portion(facts, None if told == self._read else _at(self._read))

    def _facts(self, limit: int) -> list[Fact]:
        with self._opened().call("read the outbox") as link:
            rows = link.ask(_NEXT, self._read, limit, _BYTES_AT_ONCE).fetchall()
            if len(rows) < limit and not (rows and rows[-1][0]) and self._number(link):
                rows = link.ask(_NEXT, self._read, limit, _BYTES_AT_ONCE).fetchall()
        self._asked = monotonic()
        # Numbers of rows that are gone, because an earlier relay had them confirmed, are passed as well.
        self._read = rows[-1][1] if rows and (rows[-1][0] or len(rows) == limit) else self._last
        return [Fact(_at(number), _event(row), row[0], row[-1]) for _, number, *row in rows]

    def _number(self, link: Link) -> int:
        """Number rows that have none, as many as one transaction should. Returns how many."""
        count = link.ask(_NUMBER, _NUMBERED_AT_ONCE).rowcount
        self._last += count
        return count

    def confirm(self, end: str) -> None:
        """See Origin. The rows were the facts, and went with the ledger."""

    def close(self) -> None:
        """See Origin."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def _opened(self) -> Database:
        if self._db is None:
            raise StoreUnavailable("the outbox is not read: it was not opened, or closed after an error")
        return self._db


def holder(link: Link) -> str:
    """Who holds the outbox of this database, in words; empty: nobody."""
    found = link.ask(_HOLDER, *_KEY).fetchone()
    return str(found[0]) if found else ""


def create(db: Database, source: str) -> None:
    """Make what polling needs, beside the outbox. May be repeated. Raises ConfigError, StoreUnavailable."""
    from logsync.outbox import DDL
    from logsync.sources.postgres import ledger
    from logsync.sources.postgres.ledger import Made, entry

    with db.transaction("create the source") as link:
        link.execute(DDL.encode())
        link.execute(ledger.ddl().encode())
        link.execute(resources.files(__package__).joinpath("polling.sql").read_bytes())
        ledger.check_free(link, source, SLOT, outbox=True)
        (system,) = link.ask("SELECT system_identifier::text FROM pg_control_system()").fetchone() or ("",)
        ledger.write(link, source, SLOT, Made(system, 0, "", True, (), ()), entry("create", tables=[SLOT]))


def _at(number: int) -> str:
    return f"{number:016x}"


def _event(row: list[Any]) -> Encoded | Unfit:
    _, key, value, headers, _ = row
    try:
        return Encoded(key, value, [(name, text.encode()) for name, text in headers])
    except (TypeError, ValueError, AttributeError):
        return Unfit(
            "a row of logsync.outbox is no event: its headers are not a list of names and values",
            fix="write rows by logsync.outbox only",
        )
