"""Publications and the slot of a source: made, remade and removed by a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.contract import Ledger
from logsync.sources.postgres import catalog, ledger, seed
from logsync.sources.postgres.catalog import Slot, Table
from logsync.sources.postgres.checks import check_publications, check_slot, check_wal_level, read_tables
from logsync.sources.postgres.declared import OUTBOX, Declared, Names, names_of
from logsync.sources.postgres.ledger import Made, Row, entry
from logsync.sources.postgres.left import bring

if TYPE_CHECKING:
    from logsync.sources.postgres.database import Database
    from logsync.sources.postgres.stream import Stream
    from logsync.stores.postgres.link import Link

_INSERTS, _CHANGES = "insert", "insert, update, delete, truncate"


def create(
    db: Database,
    stream: Stream,
    source: str,
    declared: Declared,
    *,
    failover: bool | None = None,
    anew: bool = False,
) -> int:
    """Make publications, then the slot. Returns how many events that stood in the outbox before will be told as well.

    Raises ConfigError, StoreUnavailable.

    May be repeated: publications are made as declared now, and the slot is kept. One that is gone, lost or moved by
    somebody else is not made anew here: what was committed meanwhile would be missing without a word. ``adopt`` does
    it, on record. Publications that somebody changed are made anew only if ``anew`` says so, on record as well, and
    what was seeded is told again then.

    ``failover``: whether standbys keep the slot in step; None: as it is. A slot begins when all transactions that were
    open are over: until then this waits, within the bound of a call.
    """
    names = names_of(source)
    with db.call("look at what is there") as link:
        check_wal_level(link)
        read_tables(link, declared)
        slot = catalog.slot(link, names.slot)
        row = ledger.find(link, source)
        ledger.check_free(link, source, names.slot, outbox=declared.outbox)
        if failover:
            _check_failover(link)
    if slot is not None and (not slot.here or row is None):
        raise ConfigError(
            f"the replication slot {names.slot} exists already, in database {slot.database}: the name is taken",
            fix=f"give this source another name, or SELECT pg_drop_replication_slot('{names.slot}') if nobody needs it",
        )
    _unread(slot, source)
    changed = False
    if row is not None and row.passed is not None:
        check_slot(slot, source, row)
        changed = _changed(db, source, row, accept=anew)
    _make(db, stream, source, declared, row, failover=failover, anew=changed)
    brought = bring(db, source, declared)
    if row is None or row.passed is None:
        with db.transaction("note where the slot begins") as link:
            _begin(link, source)
    return brought


def _changed(db: Database, source: str, row: Row, *, accept: bool) -> bool:
    """Did somebody change the publications? Raises ConfigError if so and nobody accepts it."""
    try:
        with db.call("compare the publications") as link:
            check_publications(link, source, row.made.declared, row.made.publications)
    except ConfigError:
        if not accept:
            raise
        return True
    return False


def _make(
    db: Database,
    stream: Stream,
    source: str,
    declared: Declared,
    row: Row | None,
    *,
    failover: bool | None,
    anew: bool = False,
) -> None:
    """Publications and row, then the slot: it cannot be made in a transaction that has written something.

    No relay runs on it until its beginning is noted, so whoever is cut off before that has to do it again.
    """
    names, server = names_of(source), stream.identify()
    wanted = failover if failover is not None else row is not None and row.made.failover
    with db.transaction("create the publications") as link:
        tables, _ = read_tables(link, declared)
        link.execute(ledger.ddl().encode())
        _publish(link, names, declared, tables)
        fingerprint, _ = catalog.fingerprint(link, names.publications(declared))
        made = Made(server.system, server.timeline, fingerprint, *declared, wanted)
        if row is not None:  # whether it is the same database is not for this command to say
            made = made._replace(system=row.made.system, timeline=row.made.timeline)
        ledger.write(link, source, names.slot, made, entry("create", tables=declared.names, anew=anew))
        if anew:
            seed.forget(link, source)
    with db.call("look at the replication slot") as link:
        slot = catalog.slot(link, names.slot)
    if slot is None:
        _make_slot(db, names.slot, failover=wanted)
    elif slot.failover != wanted:
        stream.mark_failover(names.slot, wanted)


def _begin(link: Link, source: str) -> None:
    """A slot begins: what was told before it does not count."""
    slot = catalog.slot(link, names_of(source).slot)
    ledger.begin(link, source, slot.confirmed if slot else 0)
    seed.forget(link, source)


def _make_slot(db: Database, name: str, *, failover: bool) -> None:
    # Older servers have no such argument, and refuse its name.
    more = ", failover => true" if failover else ""
    try:
        with db.transaction("create the replication slot") as link:
            link.ask(f"SELECT pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput'{more})", name)
    except StoreUnavailable as error:
        with db.call("look for open transactions") as link:
            open_ = catalog.writers(link)
        if not open_:
            raise
        raise StoreUnavailable(
            f"{error.message}: a slot begins when the transactions that are open now are over: {'; '.join(open_)}",
            fix="end them, and try again",
        ) from None


def _check_failover(link: Link) -> None:
    if (version := link.info.server_version // 10_000) < 17:
        raise ConfigError(
            f"expected Postgres 17 or later for a slot that follows to a standby, found {version}",
            fix="create the source without --failover; after a failover `logsync source adopt` goes on, then "
            "`logsync source seed`",
        )


def _publish(link: Link, names: Names, declared: Declared, tables: list[Table]) -> None:
    """Inserts only, where nothing else is told: then an UPDATE of the app needs no replica identity."""
    for name, wanted, actions in (
        (names.inserts, {*([OUTBOX] if declared.outbox else []), *declared.append_only}, _INSERTS),
        (names.changes, set(declared.capture), _CHANGES),
    ):
        link.execute(f"DROP PUBLICATION IF EXISTS {name}".encode())
        if wanted:
            full = ", ".join(table.full for table in tables if table.name in wanted)
            options = f"publish = '{actions}', publish_via_partition_root = true"
            link.execute(f"CREATE PUBLICATION {name} FOR TABLE {full} WITH ({options})".encode())


def drop(db: Database, source: str) -> None:
    """Remove slot, publications and row. The outbox stays as it is.

    Raises StoreUnavailable while somebody reads the source.
    """
    names = names_of(source)
    _drop_slot(db, source)
    with db.transaction("drop the publications") as link:
        for name in (names.inserts, names.changes):
            link.execute(f"DROP PUBLICATION IF EXISTS {name}".encode())
        if ledger.find(link, source) is not None:
            link.ask("DELETE FROM logsync.source WHERE name = %s", source)
            seed.forget(link, source)


def _drop_slot(db: Database, source: str) -> None:
    name = names_of(source).slot
    with db.call("drop the replication slot") as link:
        slot = catalog.slot(link, name)
        _unread(slot, source)
        if slot is not None and slot.here:
            link.ask("SELECT pg_catalog.pg_drop_replication_slot(%s)", name)


def adopt(
    db: Database, stream: Stream, source: str, declared: Declared, kept: Ledger, *, reason: str, known: Collection[str]
) -> None:
    """Accept this database, from now on, in the place of the one that the log knows. ``kept``: with an incarnation
    that is greater than all that the log has. ``known``: ids of outbox events that the log has. Raises ConfigError if
    the source was not created here.

    The slot first: what is committed before it begins is left out, and what is read comes after the ledger.
    """
    with db.call("look at the source") as link:
        check_wal_level(link)
        read_tables(link, declared)
        row = created(link, source)
    _drop_slot(db, source)
    _make(db, stream, source, declared, row, failover=None)
    bring(db, source, declared, known)
    server = stream.identify()
    with db.transaction("adopt the database") as link:
        row = created(link, source)
        made = row.made._replace(system=server.system, timeline=server.timeline)
        ledger.write(
            link, source, row.slot, made,
            entry("adopt", reason=reason, topic=kept.log.topic, floor=kept.floor, before=row.made.system),
        )  # fmt: skip
        ledger.replace(link, source, kept)
        _begin(link, source)


def skip(db: Database, source: str, at: str, *, reason: str) -> None:
    """Have the fact at this place of the log passed over, on record. Raises ConfigError if there is no such source."""
    with db.transaction("skip a fact") as link:
        row = created(link, source)
        ledger.write(link, source, row.slot, row.made, entry("skip", at=at, reason=reason))
        ledger.skip(link, source, at, reason)


def created(link: Link, source: str) -> Row:
    row = ledger.find(link, source)
    if row is None:
        raise ConfigError(
            f"the source {source} was never created in this database", fix="`logsync source create SOURCE`"
        )
    return row


def _unread(slot: Slot | None, source: str) -> None:
    if slot is not None and slot.pid is not None:
        raise StoreUnavailable(f"the source {source} is held by {slot.reader}", fix="stop it first")
