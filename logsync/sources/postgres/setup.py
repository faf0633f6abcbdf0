"""Publications and the slot of a source: made by a person, once; checked by every relay.

A relay makes neither: a slot that it made anew would begin at the present, and what was committed before it would be
missing without a word.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.postgres import catalog, ledger
from logsync.sources.postgres.catalog import Table
from logsync.sources.postgres.database import Database
from logsync.sources.postgres.ledger import Made, Row
from logsync.sources.postgres.reading import Tables
from logsync.sources.postgres.stream import Stream
from logsync.stores.postgres.link import Link

OUTBOX = "logsync.outbox"
_INSERTS, _CHANGES = "insert", "insert, update, delete, truncate"


class Declared(NamedTuple):
    """What a source says that it reads."""

    outbox: bool
    append_only: tuple[str, ...]
    capture: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [OUTBOX] * self.outbox + [*self.append_only, *self.capture]


class Names(NamedTuple):
    """What the source's objects are called in the server."""

    slot: str
    inserts: str
    """The publication of the outbox and the append-only tables."""
    changes: str
    """The publication of the tables whose changes are captured."""


def names_of(source: str) -> Names:
    """Slots have lower-case letters, digits and underscores, 63 at most."""
    base = "logsync_" + re.sub(r"[^a-z0-9_]", "_", source.lower())[:40]
    return Names(base, f"{base}_inserts", f"{base}_changes")


def publications(source: str, declared: Declared) -> list[str]:
    names = names_of(source)
    wanted = {names.inserts: declared.outbox or declared.append_only, names.changes: declared.capture}
    return [name for name, used in wanted.items() if used]


def read_tables(link: Link, declared: Declared) -> tuple[list[Table], Tables]:
    """The declared tables. Raises ConfigError for one that is missing, or whose changes cannot be captured."""
    found = catalog.tables(link, declared.names)
    captured = [table for table in found if table.name in declared.capture]
    if bare := catalog.without_identity(link, [table.oid for table in captured]):
        raise ConfigError(
            f"{', '.join(bare)} has no replica identity: once its changes are captured, the app's own UPDATE and "
            f"DELETE fail",
            fix=f"ALTER TABLE {bare[0]} ADD PRIMARY KEY (...), or ALTER TABLE {bare[0]} REPLICA IDENTITY FULL",
        )
    outbox = next((table.oid for table in found if declared.outbox and table.name == OUTBOX), None)
    return found, Tables({table.oid: table.name for table in found if table.oid != outbox}, outbox)


def check(link: Link, source: str, declared: Declared) -> tuple[Row, Tables]:
    """Everything that a relay needs of the database is there, and as it was made. Raises ConfigError by name.

    StoreUnavailable, saying who has it, if somebody else reads the slot.
    """
    create = f"`logsync source create {source}`"
    _check_wal(link)
    row = ledger.find(link, source)
    names = names_of(source)
    found = catalog.slot(link, names.slot)
    if row is None:
        if found is not None and not found.here:
            raise ConfigError(
                f"the name {source} belongs to a source of another database, {found.database}, on this server",
                fix="give this source another name",
            )
        raise ConfigError(f"the source {source} was never created in this database", fix=create)
    if Declared(row.made.outbox, row.made.append_only, row.made.capture) != declared:
        before = [OUTBOX] * row.made.outbox + [*row.made.append_only, *row.made.capture]
        raise ConfigError(
            f"the source declares {', '.join(declared.names)}, and was created for {', '.join(before)}",
            fix=f"{create} publishes the tables as they are declared now",
        )
    _, tables = read_tables(link, declared)
    check_publications(link, source, declared, row.made.publications)
    lost = f"{create} makes it anew, and `logsync source seed {source}` brings the rows that it missed"
    if found is None:
        raise ConfigError(f"the replication slot {names.slot} is gone: what was committed since is not read", fix=lost)
    if not found.here or found.plugin != "pgoutput":
        raise ConfigError(
            f"the replication slot {names.slot} is not ours: database {found.database}, plugin {found.plugin}",
            fix=f"SELECT pg_drop_replication_slot('{names.slot}') if nobody needs it, then {create}",
        )
    if found.wal_status == "lost" or found.reason:
        raise ConfigError(
            f"the replication slot {names.slot} is lost ({found.reason or found.wal_status}): the server has removed "
            f"what was not read",
            fix=lost,
        )
    if found.pid is not None:
        raise StoreUnavailable(f"the source {source} is held by {found.reader}")
    return row, tables


def check_publications(link: Link, source: str, declared: Declared, made: str) -> None:
    """Raises ConfigError if they are not as they were made."""
    wanted = publications(source, declared)
    now, there = catalog.fingerprint(link, wanted)
    if missing := sorted(set(wanted) - set(there)):
        what = f"the publication {', '.join(missing)} is missing"
    elif now != made:
        what = f"the publication {' or '.join(wanted)} was changed after it was made"
    else:
        return
    raise ConfigError(
        f"{what}: rows that were committed meanwhile may be missing in the log",
        fix=f"`logsync source create {source}` makes it anew, then `logsync source seed {source}` brings the rest",
    )


def create(db: Database, stream: Stream, source: str, declared: Declared) -> None:
    """Make publications, then the slot, in two transactions. May be repeated: makes what is missing or other than
    declared, and keeps a slot that is whole. Raises ConfigError, StoreUnavailable.

    A slot begins when all transactions that were open are over: until then this waits, up to the bound of a call.
    """
    names, server = names_of(source), stream.identify()
    with db.call("look at what is there") as link:
        _check_wal(link)
        found = catalog.slot(link, names.slot)
        tables, _ = read_tables(link, declared)
        row = ledger.find(link, source)
    if found is not None and (not found.here or row is None):
        raise ConfigError(
            f"the replication slot {names.slot} exists already, in database {found.database}: the name is taken",
            fix=f"give this source another name, or SELECT pg_drop_replication_slot('{names.slot}') if nobody needs it",
        )
    if found is not None and found.pid is not None:
        raise StoreUnavailable(f"the source {source} is held by {found.reader}: stop it first")
    with db.transaction("create the publications") as link:
        if row is None:
            link.execute(ledger.ddl().encode())
        publish(link, names, declared, tables)
        made = Made(
            server.system, server.timeline, catalog.fingerprint(link, publications(source, declared))[0], *declared
        )
        ledger.write(link, source, names.slot, made, entry("create", tables=declared.names))
    whole = found is not None and found.wal_status != "lost" and not found.reason
    with db.call("create the replication slot") as link:
        if found is not None and not whole:
            link.ask("SELECT pg_catalog.pg_drop_replication_slot(%s)", names.slot)
        if not whole:
            link.ask("SELECT pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput')", names.slot)


def publish(link: Link, names: Names, declared: Declared, tables: list[Table]) -> None:
    """Make the publications as declared: inserts only, where nothing else is told: then an UPDATE needs no identity."""
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
    with db.call("drop the replication slot") as link:
        found = catalog.slot(link, names.slot)
        if found is not None and found.pid is not None:
            raise StoreUnavailable(f"the source {source} is held by {found.reader}: stop it first")
        if found is not None and found.here:
            link.ask("SELECT pg_catalog.pg_drop_replication_slot(%s)", names.slot)
    with db.transaction("drop the publications") as link:
        for name in (names.inserts, names.changes):
            link.execute(f"DROP PUBLICATION IF EXISTS {name}".encode())
        if ledger.find(link, source) is not None:
            link.ask("DELETE FROM logsync.source WHERE name = %s", source)


def entry(what: str, **more: object) -> dict[str, object]:
    """For the audit."""
    return {"what": what, "when": datetime.now(UTC).isoformat(), **more}


def _check_wal(link: Link) -> None:
    if (level := catalog.wal_level(link)) != "logical":
        raise ConfigError(
            f"expected wal_level = logical, found {level}",
            fix="ALTER SYSTEM SET wal_level = 'logical', and restart the server (managed: a parameter of its own)",
        )
