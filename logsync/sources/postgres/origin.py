"""``PostgresLog``: facts from the write-ahead log of a Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.contract import Ledger, Portion
from logsync.sources.postgres import places
from logsync.sources.postgres.declared import Declared, names_of
from logsync.sources.postgres.places import Confirmed
from logsync.stores.clients import importing

if TYPE_CHECKING:
    from logsync.sources.managing import Manager
    from logsync.sources.postgres.database import Database
    from logsync.sources.postgres.reading import Reading
    from logsync.sources.postgres.stream import Stream
    from logsync.stores.postgres.link import Link

_STEP = 1 << 20
"""Bytes of the write-ahead log that others have written, after which they are confirmed."""
_PASS_EVERY = 1.0  # seconds between two such steps, at least


class PostgresLog:
    """The write-ahead log of a Postgres 15 or later with ``wal_level = logical``, as an Origin.

    ``outbox``: the events that the app puts into ``logsync.outbox``. ``append_only``: tables whose inserted rows are
    the facts; what else happens to them is not told. ``capture``: tables of which every change is told; each needs a
    replica identity. ``dsn`` None: ``LOGSYNC_POSTGRES``.

    The order is that of the commits, and within a transaction that of the changes.
    """

    kind = "postgres"

    def __init__(
        self,
        dsn: str | None = None,
        *,
        outbox: bool = False,
        append_only: Sequence[str] = (),
        capture: Sequence[str] = (),
    ) -> None:
        if isinstance(append_only, str) or isinstance(capture, str):
            raise ConfigError("PostgresLog(append_only=..., capture=...): expected a list of names, found one str")
        twice = {name for name in append_only if name in capture}
        if twice or not (outbox or append_only or capture):
            found = f"{', '.join(sorted(twice))} in both" if twice else "neither"
            raise ConfigError(
                f"PostgresLog: expected an outbox or tables, each append_only or capture, found {found}",
                fix='PostgresLog(outbox=True), PostgresLog(append_only=["payments"], capture=["customers"])',
            )
        self._dsn = dsn
        self._outbox, self._append_only, self._capture = outbox, tuple(append_only), tuple(capture)
        self._source, self._slot, self._made = "", "", ""
        self._timeout = 30.0
        self._kept: Ledger | None = None
        self._skips: Mapping[str, str] = {}
        self._db: Database | None = None
        self._stream: Stream | None = None
        self._reading: Reading | None = None
        self._confirmed = Confirmed(0)
        self._passed_at = 0.0

    def __repr__(self) -> str:  # not the dsn: it may hold a password
        return f"PostgresLog(outbox={self._outbox}, append_only={self._append_only}, capture={self._capture})"

    @property
    def declared(self) -> Declared:
        """What a person creates the source for."""
        return Declared(self._outbox, self._append_only, self._capture)

    def manager(self) -> Manager:
        """What the commands of `logsync source` do."""
        from logsync.sources.postgres.managing import PostgresManager

        return PostgresManager(self)

    def open(self, source: str, settings: Any) -> None:
        """See Origin. Bound: ``store_timeout`` per address of the host, and per question to the server."""
        self.close()
        try:
            self._open(source, settings)
        except BaseException:
            self.close()
            raise

    def _open(self, source: str, settings: Any) -> None:
        with importing("psycopg", extra="postgres"):
            from logsync.sources.postgres import catalog, ledger
            from logsync.sources.postgres.checks import check, check_history, check_slot
            from logsync.sources.postgres.reading import Reading
            from logsync.sources.postgres.seed import prefix_of
        names = names_of(source)
        self._source, self._slot = source, names.slot
        self._db, self._stream = self.connect(source, settings)
        with self._db.call("check the source") as link:
            row, tables = check(link, source, self.declared)
            made = check_history(self._stream, source, row)
            self._confirmed = Confirmed(0)
            self._stream.start(names.slot, names.publications(self.declared), self._confirmed)
            # Again, now that nobody else moves them.  # U3
            row, slot = ledger.find(link, source) or row, catalog.slot(link, names.slot)
            check_slot(slot, source, row)
            self._confirmed.confirm(slot.confirmed if slot else 0)
        if made != row.made:
            with self._db.transaction("remember the promoted server") as link:
                ledger.write(link, source, names.slot, made, ledger.entry("promoted", timeline=made.timeline))
        self._made, self._kept, self._skips = row.made.publications, row.ledger, row.skips
        self._reading = Reading(tables, self._confirmed, prefix_of(source))

    def connect(self, source: str, settings: Any) -> tuple[Database, Stream]:
        """Both connections, nothing asked yet. Raises StoreUnavailable, ConfigError."""
        from logsync.sources.postgres import database
        from logsync.sources.postgres.stream import Stream

        self._timeout = settings.store_timeout
        dsn = settings.address("postgres") if self._dsn is None else self._dsn
        db = database.Database(dsn, timeout=self._timeout, source=source)
        try:
            link = database.connect(dsn, timeout=self._timeout, source=source, replication=True)
            return db, Stream(link, timeout=self._timeout)
        except BaseException:
            db.close()
            raise

    def holds(self) -> bool:
        """See Origin."""
        from logsync.sources.postgres import catalog

        db, stream, _ = self._opened()
        with db.call("look who reads the slot") as link:
            return catalog.held(link, self._slot, stream.pid)

    def ledger(self) -> Ledger | None:
        """See Origin."""
        return self._kept

    def keep(self, ledger: Ledger, ids: Sequence[str] = ()) -> None:
        """See Origin."""
        from logsync.sources.postgres.ledger import keep

        db, _, _ = self._opened()
        with db.transaction("keep how far the log is") as link:
            if ids:
                self._compare(link)
            keep(link, self._source, ledger, ids)
        self._kept = ledger

    def skips(self) -> Mapping[str, str]:
        """See Origin."""
        return self._skips

    def now(self) -> str:
        """See Origin."""
        from logsync.sources.postgres import catalog

        db, _, reading = self._opened()
        with db.call("look how far the log is") as link:
            end = places.end_of(catalog.flushed(link))
        reading.tell(end)
        return end

    def take(self, limit: int, timeout: float) -> Portion:
        """See Origin."""
        db, stream, reading = self._opened()
        until = monotonic() + timeout
        while True:
            if db.gone():
                # A shutdown ends ordinary connections first, and then waits for streams to be confirmed.
                self.close()
                raise StoreUnavailable("the database has closed the connection: it is shutting down, or was restarted")
            # Read on also if nothing is wanted, up to the first fact: a server that waits for an answer gets one.
            stream.read(reading, max(1, limit))
            self._let_go(db)
            stream.beat()
            left = until - monotonic()
            if reading.ready or left <= 0:
                return reading.portion(limit)
            stream.wait(left, db.socket)

    def _let_go(self, db: Database) -> None:
        """What others have written, and nothing of ours is in, is confirmed as well, in steps that are worth a write.

        Smaller ones would never end: that write is a change of others, too.
        """
        free = self._confirmed.free
        if free - self._confirmed.lsn < _STEP or monotonic() - self._passed_at < _PASS_EVERY:
            return
        with db.transaction("keep how far the slot may go") as link:
            self._pass(link, free)
        self._confirmed.confirm(free)

    def _compare(self, link: Link) -> None:
        """Before a row is deleted or a place confirmed: what was committed while a table was out was told to nobody."""
        from logsync.sources.postgres.checks import check_publications

        check_publications(link, self._source, self.declared, self._made)

    def _pass(self, link: Link, lsn: int) -> None:
        from logsync.sources.postgres.ledger import passed

        passed(link, self._source, lsn, term=self._kept.term if self._kept else 0)
        self._passed_at = monotonic()

    def confirm(self, end: str) -> None:
        """See Origin."""
        db, stream, _ = self._opened()
        lsn = places.lsn_of(end)
        with db.transaction("keep how far the slot may go") as link:
            self._compare(link)
            self._pass(link, lsn)
        self._confirmed.confirm(lsn)
        stream.tell()

    def close(self) -> None:
        """See Origin."""
        for each in (self._stream, self._db):
            if each is not None:
                each.close()
        self._stream = self._db = self._reading = None

    def _opened(self) -> tuple[Database, Stream, Reading]:
        if self._db is None or self._stream is None or self._reading is None:
            raise StoreUnavailable("the write-ahead log is not read: it was not opened, or closed after an error")
        return self._db, self._stream, self._reading
