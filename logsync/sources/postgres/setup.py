"""Publications and the slot of a source: made, remade and removed by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.contract import Ledger
from logsync.sources.postgres import catalog, ledger, seed
from logsync.sources.postgres.catalog import Slot, Table
from logsync.sources.postgres.checks import check_wal_level, read_tables
from logsync.sources.postgres.declared import OUTBOX, Declared, Names, names_of
from logsync.sources.postgres.ledger import Made, Row, entry

if TYPE_CHECKING:
    from logsync.sources.postgres.database import Database
    from logsync.sources.postgres.stream import Stream
    from logsync.stores.postgres.link import Link

_INSERTS, _CHANGES = "insert", "insert, update, delete, truncate"


def create(db: Database, stream: Stream, source: str, declared: Declared) -> None:
    """Make publications, then the slot, in two transactions. Raises ConfigError, StoreUnavailable.

    May be repeated: publications are made as declared now, a slot that is missing or lost is made anew, and one that
    is whole is kept. Each time goes on record. A slot begins when all transactions that were open are over: until then
    this waits, within the bound of a call.
    """
    names, server = names_of(source), stream.identify()
    with db.call("look at what is there") as link:
        check_wal_level(link)
        tables, _ = read_tables(link, declared)
        row, slot = ledger.find(link, source), catalog.slot(link, names.slot)
    if slot is not None and (not slot.here or row is None):
        raise ConfigError(
            f"the replication slot {names.slot} exists already, in database {slot.database}: the name is taken",
            fix=f"give this source another name, or SELECT pg_drop_replication_slot('{names.slot}') if nobody needs it",
        )
    _unread(slot, source)
    with db.transaction("create the publications") as link:
        link.execute(ledger.ddl().encode())
        if slot is None or slot.lost:
            seed.forget(link, source)
        _publish(link, names, declared, tables)
        fingerprint, _ = catalog.fingerprint(link, names.publications(declared))
        made = Made(server.system, server.timeline, fingerprint, *declared)
        if row is not None:  # whether it is the same database is not for this command to say
            made = made._replace(system=row.made.system, timeline=row.made.timeline)
        ledger.write(link, source, names.slot, made, entry("create", tables=declared.names))
    _make_slot(db, names.slot, slot)


def _make_slot(db: Database, name: str, slot: Slot | None) -> None:
    if slot is not None and slot.lost:
        with db.call("drop the lost replication slot") as link:
            link.ask("SELECT pg_catalog.pg_drop_replication_slot(%s)", name)
    elif slot is not None:
        return
    try:
        with db.transaction("create the replication slot") as link:
            link.ask("SELECT pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput')", name)
    except StoreUnavailable as error:
        with db.call("look for open transactions") as link:
            open_ = catalog.writers(link)
        if not open_:
            raise
        raise StoreUnavailable(
            f"{error.message}: a slot begins when the transactions that are open now are over: {'; '.join(open_)}",
            fix="end them, and try again",
        ) from None


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


def adopt(db: Database, stream: Stream, source: str, declared: Declared, kept: Ledger, *, reason: str) -> None:
    """Accept this database, from now on, in the place of the one that the log knows. ``kept``: with an incarnation
    that is greater than all that the log has. Raises ConfigError if the source was not created here.

    The slot first: what is committed before it begins is left out, and what is read comes after the ledger.
    """
    with db.call("look at the source") as link:
        created(link, source)
    _drop_slot(db, source)
    create(db, stream, source, declared)
    server = stream.identify()
    with db.transaction("adopt the database") as link:
        row = created(link, source)
        made = row.made._replace(system=server.system, timeline=server.timeline)
        ledger.write(
            link, source, row.slot, made,
            entry("adopt", reason=reason, topic=kept.log.topic, floor=kept.floor, before=row.made.system),
        )  # fmt: skip
        ledger.replace(link, source, kept)


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
            f"the source {source} was never created in this database", fix=f"`logsync source create {source}`"
        )
    return row


def _unread(slot: Slot | None, source: str) -> None:
    if slot is not None and slot.pid is not None:
        raise StoreUnavailable(f"the source {source} is held by {slot.reader}", fix="stop it first")
