"""The Postgres store: connection, bookkeeping and errors. The writing itself is in transaction.py."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from logsync.core.book import Book
from logsync.core.inspection import Inspection, noting
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.view import NO_RETRIES, Place, Retried, SqlLook, View
from logsync.core.write import Write
from logsync.errors import ConfigError, LogsyncError, StoreOutcomeUnknown, StoreUnavailable, WriteRejected
from logsync.stores.clients import importing
from logsync.stores.postgres import kept
from logsync.stores.postgres.catalog import Catalog
from logsync.stores.postgres.ddl import declared_in
from logsync.stores.postgres.errors import Verdict, describe, verdict, verdict_of_connect
from logsync.stores.postgres.offline import check_writes
from logsync.stores.postgres.parking import ParkedReader, forget_some
from logsync.stores.postgres.rehearsal import OLD_TABLE, check_declared
from logsync.stores.postgres.schema import APPLIED_AGAIN, THERE_ALREADY, SinkSchema
from logsync.stores.postgres.statements import Tables, tables_of
from logsync.writes.rows import Delete, Increment, InTransaction, Sql, Upsert

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

log = logging.getLogger(__name__)
_LOOKS = 5
"""So often is a plan begun anew because somebody altered a table that it writes to."""


class Postgres:
    """Rows in Postgres 15 or later, exact: writes and position are one transaction.

    ``dsn`` None: ``LOGSYNC_POSTGRES``. ``schema``: the sink's DDL, a Path of a file or SQL as a str.
    ``tables``: those the sink owns, parents before children; ``wipe`` empties them and ``holds_data`` looks
    into them. ``ordered``: tables written strictly in log order, for foreign keys and unique indexes beside
    the key, at the price of speed (G2); name both ends of a foreign key. ``unordered``: tables whose triggers and
    defaults look at nothing but the row at hand (``updated_at``), so that they are written in bulk all the same.
    """

    kind = "postgres"
    accepts: frozenset[type[Write]] = frozenset({Upsert, Increment, Delete, Sql, InTransaction})
    traits = Traits(atomic=True)
    meanwhile: Callable[[], bool] | None = None

    def __init__(
        self,
        dsn: str | None = None,
        *,
        schema: str | Path | None = None,
        tables: Sequence[str] = (),
        ordered: Collection[str] = (),
        unordered: Collection[str] = (),
    ) -> None:
        if any(isinstance(names, str) for names in (tables, ordered, unordered)):
            raise ConfigError(
                "Postgres(tables=..., ordered=..., unordered=...): expected a list of names, found one str"
            )
        self._dsn = dsn
        self._tables = tuple(tables)
        self._writer = Tables(tables, ordered, unordered)
        self._catalog = Catalog(tables)
        self._schema = SinkSchema(schema)
        self._sink = ""
        self._timeout = 30.0
        self._path = ""
        self._link: Link | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"Postgres(tables={list(self._tables)})"  # not the dsn: it may hold a password

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect, and create what is missing. Raises StoreUnavailable, ConfigError.

        Bound: ``store_timeout`` for each address of the host, and once more for the schema.
        """
        self._connect(sink, settings)
        try:
            self._check_server()
            self._apply_schema()
            self._learn()
        except LogsyncError:
            self.close()
            raise

    def _connect(self, sink: str, settings: StoreSettings) -> None:
        """Connect, and nothing else: what ``inspect`` may do, too."""
        with importing("psycopg", extra="postgres"):
            from psycopg import Error

            from logsync.stores.postgres import link as edge
        self.close()
        self._sink, self._timeout = sink, settings.store_timeout
        self._catalog.forget(entirely=True)
        dsn = settings.address("postgres") if self._dsn is None else self._dsn
        try:
            self._link = edge.connect(dsn, timeout=self._timeout)
            self._link.meanwhile = self.meanwhile
            if self._link.unverified and not self._warned:
                self._warned = True
                log.warning(
                    "nothing proves that this is the right Postgres server: say sslmode=verify-full in its address",
                    extra={"sink": sink, "sslmode": self._link.unverified},
                )
        except Error as error:
            text = f"cannot connect to Postgres: {describe(error)}"
            if verdict_of_connect(error) is Verdict.UNAVAILABLE:
                raise StoreUnavailable(text) from None
            raise ConfigError(text, fix="correct LOGSYNC_POSTGRES, or the rights on the server") from None

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(Exception):
                link.close()

    def _check_server(self) -> None:
        from logsync.stores.postgres.opening import check_server, session_path

        with self._call("check the server") as link:
            self._path = session_path(link)
            check_server(link)

    def _apply_schema(self) -> None:
        with self._call("look for the schema") as link:
            if not self._schema.missing(link):
                return
        try:
            with self._transaction("create the schema") as link:
                self._schema.create(link)
        except ConfigError as error:
            fix = (
                "correct the sink's schema; or, if this role may not create things: `logsync schema print SINK` and "
                "run that as the owner of the database"
            )
            again = any(f"SQLSTATE {code}" in error.message for code in THERE_ALREADY)
            raise ConfigError(error.message, fix=APPLIED_AGAIN if again else fix) from None

    def read_book(self) -> Book | None:
        with self._call("read the book") as link:
            return kept.read_book(link, self._sink)

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        """See Store. A commit whose answer was lost raises StoreOutcomeUnknown: read the book again."""
        with self._transaction("write the book") as link:
            kept.write_book(link, book, positions)

    def positions(self) -> dict[int, Position]:
        with self._call("read the positions") as link:
            return kept.read_positions(link, self._sink)

    def apply(self, plan: Plan) -> None:
        """See Store. Two round trips in the usual case. Bound: twice ``store_timeout``, the second time only
        to find the event at fault after a refusal. # G1
        """
        written, touched = tables_of(plan.writes)
        for look in range(_LOOKS):
            self._learn(written, touched)
            if self._carry_out(plan, locks=look > 0):
                return
            self._catalog.forget()
        raise StoreUnavailable(
            f"apply: the sink's tables were altered {_LOOKS} times while this plan was being written"
        )

    def _carry_out(self, plan: Plan, *, locks: bool) -> bool:
        """False if a table was altered meanwhile: nothing is applied then. ``locks``: not by the plan itself, as a Sql
        that makes a partition does.
        """
        from logsync.stores.postgres.opening import opening
        from logsync.stores.postgres.transaction import Altered, PlanRefused, Transaction

        def transaction(link: Link) -> Transaction:
            begin = opening(self._timeout, self._path) + (self._catalog.locked() if locks else [])
            return Transaction(link, self._writer, self._catalog, self._sink, plan, begin, locks)

        with suppress(Altered):
            try:
                with self._call("apply") as link:
                    transaction(link).in_bulk()
            except PlanRefused:
                self._catalog.forget()  # perhaps somebody altered a table
                self._learn()
                with self._call("apply") as link:
                    transaction(link).one_by_one()
            return True
        return False

    def check_writes(self, plan: Plan) -> None:
        """See ``logsync.core.store.ChecksWrites``: against the sink's own DDL, where that can be read."""
        check_writes(plan, declared_in(self._schema.ddl()), self._tables)

    def rehearse(self, plan: Plan) -> None:
        """See ``logsync.core.store.Rehearses``. The declared tables are locked meanwhile, as a wipe locks them."""
        from logsync.stores.postgres.opening import opening
        from logsync.stores.postgres.transaction import Transaction

        self._learn(*tables_of(plan.writes))
        begin = opening(self._timeout, self._path)
        with self._call("try the writes") as link:
            tables = check_declared(link, self._tables, plan.writes)
            try:
                Transaction(link, self._writer, self._catalog, self._sink, plan, begin).rehearse(tables)
            except WriteRejected as error:
                error.fix = OLD_TABLE
                raise
            except ConfigError as error:
                error.fix = f"{error.fix}; {OLD_TABLE}"
                raise

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        with self._call("read what waits") as link:
            return ParkedReader(link, self._sink).sequences(partition)

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        with self._call("read parked events") as link:
            return ParkedReader(link, self._sink).parked(partition, sequence=sequence, after=after, limit=limit)

    def holds_data(self) -> bool:
        with self._transaction("look for data") as link:
            return kept.any_row(link, self._sink, self._tables)

    def wipe(self, book: Book) -> None:
        """Forget what is parked, and empty the tables that the sink declared. Needs the TRUNCATE right on them.

        One transaction, and one more for every 100,000 parked events: each within its bound.
        """
        left = True
        while left:
            with self._transaction("wipe") as link:
                kept.hold_book(link, self._sink, book.revision)
                left = forget_some(link, self._sink)
                found = kept.existing(link, self._tables)
                if found and not left:
                    link.ask(f"TRUNCATE {', '.join(found)}")

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:  # noqa: ARG002 - the contract's
        return self._schema.printed()

    def view(self, sink: str, settings: StoreSettings) -> View:
        from logsync.stores.postgres.view import PostgresView

        own = Postgres(self._dsn)
        return PostgresView(sink, lambda: own._connect(sink, settings), own._call, own.close)

    def sql_look(self, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> SqlLook:
        from logsync.stores.postgres.view import sql_look

        return sql_look(sink, asked, retried)

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        from logsync.stores.postgres.inspect import inspect

        seen = Inspection()
        with closing(self), noting(seen.findings, "postgres.server"):
            self._connect(sink, settings)
            inspect(self._call, seen, sink, self._tables, self._timeout)
        return seen

    def _learn(self, written: Collection[str] = (), touched: Collection[str] = ()) -> None:
        """Look at tables that no plan has named yet, and at all again if one may have been altered."""
        if not self._catalog.knows(written, touched):
            with self._transaction("read the catalog") as link:
                self._catalog.read(link, written, touched)
            self._writer.learn(self._catalog.relations)

    @contextmanager
    def _transaction(self, what: str) -> Iterator[Link]:
        from logsync.stores.postgres.opening import opening

        with self._call(what) as link:
            link.send(opening(self._timeout, self._path))
            yield link
            link.finish()

    @contextmanager
    def _call(self, what: str) -> Iterator[Link]:
        """One bounded call. Whatever goes wrong, the connection is idle afterwards, or closed and forgotten.

        The caller's transaction has not been committed unless ``finish`` was reached: a connection that is
        closed, or an error before COMMIT, rolls it back on the server's side.
        """
        from psycopg import Error

        link = self._link
        if link is None:
            raise StoreUnavailable(f"{what}: not connected to Postgres")
        link.deadline, link.committing = monotonic() + self._timeout, False
        try:
            yield link
        except Error as error:
            lost = link.lost
            self._settle(link)
            self._raise(what, error, lost, link.committing)
        except Exception:
            self._settle(link)
            raise
        except BaseException:  # the process is being stopped: no more round trips
            self.close()
            raise
        finally:
            link.deadline = math.inf

    def _settle(self, link: Link) -> None:
        """Roll back what is open. A connection that cannot do that is given up."""
        if not link.lost:
            link.deadline = monotonic() + min(5.0, self._timeout)
            with suppress(Exception):
                link.abort()
        if link.lost:
            self.close()

    def _raise(self, what: str, error: Exception, lost: bool, committing: bool) -> NoReturn:
        text = f"{what}: {describe(error)}"
        state = str(getattr(error, "sqlstate", None) or "")
        temporary = lost or verdict(error) is Verdict.UNAVAILABLE
        if temporary and committing and not state.startswith("40"):
            # The server may have committed before it, or the line, went away. The plan is all there or not at
            # all. # I4
            raise StoreOutcomeUnknown(text) from None
        if temporary:
            raise StoreUnavailable(text) from None
        raise ConfigError(
            f"Postgres: {text}",
            fix="put the rights or the tables in order: `logsync schema print SINK` shows what is expected",
        ) from None
