"""What a relay makes sure of before it reads, and again before it confirms. Nothing here changes anything.

A relay makes no slot and no publication: a slot that it made anew would begin at the present, and what was committed
before it would be missing without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.postgres import catalog, ledger
from logsync.sources.postgres.catalog import Slot, Table
from logsync.sources.postgres.declared import OUTBOX, Declared, names_of
from logsync.sources.postgres.ledger import Made, Row
from logsync.sources.postgres.places import lsn_in, read, shown
from logsync.sources.postgres.reading import Tables

if TYPE_CHECKING:
    from logsync.sources.postgres.stream import Server, Stream
    from logsync.stores.postgres.link import Link


def check(link: Link, source: str, declared: Declared) -> tuple[Row, Tables]:
    """Everything that a relay needs of the database is there, and as it was made. Raises ConfigError by name.

    StoreUnavailable, saying who has it, if somebody else reads the slot.
    """
    check_wal_level(link)
    # The slot first: what it has passed was written into the row before.
    slot = catalog.slot(link, names_of(source).slot)
    row = ledger.find(link, source)
    create = "`logsync source create SOURCE`"
    if row is None:
        if slot is not None and not slot.here:
            raise ConfigError(
                f"the name {source} belongs to a source of another database, {slot.database}, on this server",
                fix="give this source another name",
            )
        raise ConfigError(f"the source {source} was never created in this database", fix=create)
    if row.slot != names_of(source).slot:
        raise ConfigError(
            f"the source {source} was created to poll its outbox, and not to read the write-ahead log",
            fix=f"declare it with Polling, or `logsync source drop SOURCE` and {create}",
        )
    if row.made.declared != declared:
        before = ", ".join(row.made.declared.names)
        raise ConfigError(
            f"the source declares {', '.join(declared.names)}, and was created for {before}",
            fix=f"{create} publishes the tables as they are declared now",
        )
    _, tables = read_tables(link, declared)
    check_publications(link, source, declared, row.made.publications)
    check_slot(slot, source, row)
    if slot is not None and slot.pid is not None:
        raise StoreUnavailable(f"the source {source} is held by {slot.reader}")
    return row, tables


def check_slot(slot: Slot | None, source: str, row: Row) -> None:
    """The slot is the one that was made, and tells all that the log lacks. Raises ConfigError.

    A slot has no identity of its own. But one that was made anew, or advanced by hand, stands behind every place that
    we have ever passed: each was written into the row before the slot was told. One that went back (a crash of the
    server, a standby's copy) only tells again what the log has, and the ledger says so.  # U5
    """
    name, create = names_of(source).slot, "`logsync source create SOURCE`"
    if row.passed is None:
        raise ConfigError(f"the source {source} was not created to its end", fix=f"{create} once more")
    lost = f"`logsync source adopt SOURCE --reason ... --yes` goes on from now on, on record; {_missing(row.made)}"
    if slot is None:
        raise ConfigError(
            f"the replication slot {name} is gone: what was committed since {shown(row.passed)} is not read", fix=lost
        )
    if not slot.here or slot.plugin != "pgoutput":
        raise ConfigError(
            f"the replication slot {name} is not ours: database {slot.database}, plugin {slot.plugin}",
            fix=f"SELECT pg_drop_replication_slot('{name}') if nobody needs it, then {create}",
        )
    if slot.lost:
        raise ConfigError(
            f"the replication slot {name} is lost ({slot.reason or slot.wal_status}): the server has removed what was "
            f"not read",
            fix=lost,
        )
    if slot.confirmed > row.passed:
        raise ConfigError(
            f"the replication slot {name} stands at {shown(slot.confirmed)}, and no relay has passed "
            f"{shown(row.passed)}: it was advanced by hand, or dropped and made anew, and what was committed between "
            f"is not read",
            fix=lost,
        )


def _missing(made: Made | Declared) -> str:
    """How to bring the rows that nobody has told."""
    parts = []
    if made.outbox:
        parts.append("what still stands in the outbox is relayed")
    if made.capture:
        parts.append(f"`logsync source seed SOURCE` brings the rows of {', '.join(made.capture)}")
    if made.append_only:
        parts.append(f"those of {', '.join(made.append_only)} are appended as docs/operate-sources.md says")
    return "; ".join(parts)


def check_publications(link: Link, source: str, declared: Declared, made: str) -> None:
    """Raises ConfigError if they are not as they were made."""
    wanted = names_of(source).publications(declared)
    now, there = catalog.fingerprint(link, wanted)
    if missing := sorted(set(wanted) - set(there)):
        what = f"the publication {', '.join(missing)} is missing"
    elif now != made:
        what = f"the publication {' or '.join(wanted)} was changed after it was made"
    else:
        return
    raise ConfigError(
        f"{what}: rows that were committed meanwhile may be missing in the log",
        fix=f"`logsync source create SOURCE --yes` makes it anew, on record; {_missing(declared)}",
    )


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


def check_wal_level(link: Link) -> None:
    """Raises ConfigError unless the write-ahead log says enough."""
    if (level := catalog.wal_level(link)) != "logical":
        raise ConfigError(
            f"expected wal_level = logical, found {level}",
            fix="ALTER SYSTEM SET wal_level = 'logical', and restart the server (managed: a parameter of its own)",
        )


def check_history(stream: Stream, source: str, row: Row) -> Made:
    """This is the database whose facts the log has. Returns what is to be remembered of it.

    A standby that was promoted goes on with the history that it has: it may stand in for its primary if all that was
    confirmed is in it. Raises ConfigError for a database that was restored or replaced: it gives places that the log
    knows to other facts.
    """
    server, made = stream.identify(), row.made
    floor = lsn_in(row.ledger.floor) if row.ledger else 0
    if server.system != made.system:
        raise _replaced(source, f"its server is another one: {made.system} before, {server.system} now")
    if server.lsn < floor:
        raise _replaced(source, f"it ends at {shown(server.lsn)}, and the log has its facts up to {shown(floor)}")
    if server.timeline == made.timeline:
        return made
    left = _left(stream, server, made.timeline)
    if left is None or floor >= left:
        at = "never was on it" if left is None else f"left it at {shown(left)}"
        raise _replaced(
            source, f"the log has facts up to {shown(floor)} of timeline {made.timeline}, and this server {at}"
        )
    return made._replace(timeline=server.timeline)


def _left(stream: Stream, server: Server, timeline: int) -> int | None:
    """Where the server's history left this timeline; None: it never was on it."""
    if server.timeline < timeline:  # the first has no history that could be asked for
        return None
    for line in stream.history(server.timeline).splitlines():
        parts = line.split()
        if parts[:1] == [str(timeline)]:
            return read(parts[1])
    return None


def _replaced(source: str, what: str) -> ConfigError:
    return ConfigError(
        f"the database of source {source} was restored or replaced: {what}",
        fix="`logsync source adopt SOURCE` goes on with what comes from now on, on record",
    )
