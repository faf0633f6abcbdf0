"""What people do to a source in its Postgres: the Manager of ``PostgresLog``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from logsync.errors import LogsyncError, StoreUnavailable
from logsync.outbox import DDL
from logsync.settings import Settings
from logsync.sources.contract import Ledger
from logsync.sources.managing import Look
from logsync.sources.postgres import catalog, inspect, ledger, setup
from logsync.sources.postgres.checks import check, check_history
from logsync.sources.postgres.database import Database
from logsync.sources.postgres.declared import names_of

if TYPE_CHECKING:
    from logsync.sources.postgres.origin import PostgresLog
    from logsync.sources.postgres.stream import Stream

_RETAINED = """
SELECT confirmed_flush_lsn::text, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::bigint
FROM pg_catalog.pg_replication_slots WHERE slot_name = %s
"""
_OUTBOX = "SELECT count(*), min(time) FROM logsync.outbox"


def see_row(look: Look, row: ledger.Row) -> None:
    """What ``logsync.source`` has of it."""
    look.ledger, look.skips, look.audit = row.ledger, row.skips, row.audit


def see_outbox(look: Look, db: Database) -> None:
    """How much waits in the outbox, and since when."""
    with db.call("count the outbox") as link:
        look.waiting, look.oldest = link.ask(_OUTBOX).fetchone() or (None, None)


class PostgresManager:
    """Each method connects and lets go again. See ``Manager``."""

    def __init__(self, origin: PostgresLog) -> None:
        self._origin = origin

    def create(self, source: str, settings: Settings, *, failover: bool | None = None, anew: bool = False) -> list[str]:
        declared = self._origin.declared
        with self._connected(source, settings) as (db, stream):
            if declared.outbox:
                with db.transaction("create the outbox") as link:
                    link.execute(DDL.encode())
            brought = setup.create(db, stream, source, declared, failover=failover, anew=anew)
        names = names_of(source)
        before = [f"{brought:,} events that stood in the outbox before are relayed as well"] if brought else []
        return [
            *before,
            f"publications {', '.join(names.publications(declared))} of {', '.join(declared.names)}",
            f"replication slot {names.slot}: from now on the server keeps what is committed until it is in the log",
        ]

    def drop(self, source: str, settings: Settings) -> None:
        with self._connected(source, settings) as (db, _):
            setup.drop(db, source)

    def look(self, source: str, settings: Settings) -> Look:
        look = Look()
        with self._connected(source, settings) as (db, stream):
            with db.call("look at the source") as link:
                slot = catalog.slot(link, names_of(source).slot)
                row = ledger.find(link, source)
                look.failover = None if slot is None else slot.failover
                look.held_by = slot.reader if slot is not None and slot.pid is not None else ""
                kept = link.ask(_RETAINED, names_of(source).slot).fetchone()
                facts = inspect.facts(link, names_of(source).slot)
                if facts is not None and slot is not None and not slot.lost:
                    look.findings += inspect.judge(names_of(source).slot, facts)
                if kept is not None:
                    look.confirmed, look.retained = kept[0] or "", kept[1]
                if row is not None:
                    see_row(look, row)
                there = link.ask("SELECT pg_catalog.to_regclass('logsync.outbox') IS NOT NULL").fetchone() == (True,)
            if self._origin.declared.outbox and there:
                see_outbox(look, db)
            try:
                with db.call("check the source") as link:
                    row, _ = check(link, source, self._origin.declared)
                    check_history(stream, source, row)
            except LogsyncError as error:
                if not (look.held_by and isinstance(error, StoreUnavailable)):
                    look.error = error
        return look

    def skip(self, source: str, settings: Settings, at: str, reason: str) -> None:
        with self._connected(source, settings) as (db, _):
            setup.skip(db, source, at, reason=reason)

    def adopt(self, source: str, settings: Settings, begins: Ledger, reason: str, known: Collection[str] = ()) -> None:
        with self._connected(source, settings) as (db, stream):
            setup.adopt(db, stream, source, self._origin.declared, begins, reason=reason, known=known)

    def seed(
        self, source: str, settings: Settings, tables: Sequence[str], *, chunk: int, told: Callable[[str, int], None]
    ) -> None:
        from logsync.sources.postgres.seed import seed

        with self._connected(source, settings) as (db, _):
            for each in seed(db, source, self._origin.declared, tables, chunk=chunk):
                told(each.table, each.rows)

    def ddl(self) -> str:
        return (DDL if self._origin.declared.outbox else "") + ledger.ddl()

    @contextmanager
    def _connected(self, source: str, settings: Settings) -> Iterator[tuple[Database, Stream]]:
        db, stream = self._origin.connect(source, settings)
        try:
            yield db, stream
        finally:
            stream.close()
            db.close()
