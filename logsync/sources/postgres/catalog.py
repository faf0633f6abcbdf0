"""What the catalog says of tables, publications and slots. Questions only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from logsync.errors import ConfigError
from logsync.sources.postgres.places import read

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

_TABLES = """
SELECT w.name, c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind::text,
       c.relpersistence::text
FROM unnest(%s::text[]) WITH ORDINALITY AS w (name, n)
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(w.name)
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY w.n
"""
# Of the table itself and of all its partitions: the rows are theirs.
_WITHOUT_IDENTITY = """
WITH RECURSIVE family (top, rel) AS (
    SELECT t, t FROM unnest(%s::bigint[]::oid[]) AS w (t)
    UNION ALL SELECT f.top, i.inhrelid FROM family AS f JOIN pg_catalog.pg_inherits AS i ON i.inhparent = f.rel
)
SELECT c.oid::regclass::text FROM family AS f JOIN pg_catalog.pg_class AS c ON c.oid = f.rel
WHERE c.relkind = 'r' AND (c.relreplident = 'n' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_index AS x WHERE x.indrelid = c.oid AND x.indisvalid AND CASE c.relreplident
        WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident END
) AND c.relreplident <> 'f') ORDER BY 1
"""
# oid: another one after DROP and CREATE, also of a table that is taken out and put in again. xmin: another one after
# any change. Rows that were committed while a table was out, or an action not published, are lost without a word.
_FINGERPRINT = """
SELECT encode(sha256(convert_to(coalesce(string_agg(line, E'\\n' ORDER BY line COLLATE "C"), ''), 'UTF8')), 'hex'),
       (SELECT coalesce(array_agg(pubname::text), '{}') FROM pg_catalog.pg_publication WHERE pubname = ANY(%s::text[]))
FROM (
    SELECT concat_ws(' ', 'publication', p.oid, p.xmin, p.pubname, p.puballtables, p.pubinsert, p.pubupdate,
                     p.pubdelete, p.pubtruncate, p.pubviaroot)
    FROM pg_catalog.pg_publication AS p WHERE p.pubname = ANY(%s::text[])
    UNION ALL
    SELECT concat_ws(' ', 'table', r.oid, r.xmin, r.prpubid, r.prrelid, r.prqual::text, r.prattrs::text)
    FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
    WHERE p.pubname = ANY(%s::text[])
    UNION ALL
    SELECT concat_ws(' ', 'schema', s.oid, s.xmin, s.pnpubid, s.pnnspid)
    FROM pg_catalog.pg_publication_namespace AS s JOIN pg_catalog.pg_publication AS p ON p.oid = s.pnpubid
    WHERE p.pubname = ANY(%s::text[])
) AS lines (line)
"""
_SLOT = """
SELECT s.database::text, s.plugin::text, s.wal_status, to_jsonb(s) ->> 'invalidation_reason',
       s.confirmed_flush_lsn::text, s.active_pid, a.application_name, a.client_addr::text,
       s.database = current_database(), coalesce((to_jsonb(s) ->> 'failover')::boolean, false),
       coalesce((to_jsonb(s) ->> 'synced')::boolean, false)
FROM pg_catalog.pg_replication_slots AS s LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = s.active_pid
WHERE s.slot_name = %s
"""
# Those that a publication holds: no dropped and no generated ones.
_COLUMNS = """
SELECT a.attname::text, quote_ident(a.attname), a.atttypid::bigint, format_type(a.atttypid, a.atttypmod),
       coalesce(array_position(x.indkey::int2[], a.attnum) + 1, 0)
FROM pg_catalog.pg_attribute AS a
LEFT JOIN pg_catalog.pg_index AS x ON x.indrelid = a.attrelid AND x.indisprimary
WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_WRITERS = """
SELECT concat_ws(', ', 'server process ' || pid, nullif(application_name, ''), 'since ' || xact_start)
FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3
"""
_HELD = "SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = %s AND active_pid = %s"


class Table(NamedTuple):
    name: str
    """As the declaration has it."""
    oid: int
    full: str
    """With its schema, quoted where it must be."""


class Column(NamedTuple):
    name: str
    quoted: str
    oid: int
    """Of its type."""
    type: str
    """As SQL writes it."""
    key: int
    """Its place in the primary key, from 1; 0: it is no part of it."""


class Slot(NamedTuple):
    database: str | None
    plugin: str | None
    wal_status: str | None
    reason: str | None
    """Why it was invalidated."""
    confirmed: int
    """It tells what is committed behind this place."""
    pid: int | None
    """Who reads it."""
    application: str | None
    address: str | None
    here: bool | None
    """Does it belong to this database?"""
    failover: bool
    """Do standbys keep a copy of it in step? Postgres 17 and later."""
    synced: bool
    """Is it such a copy?"""

    @property
    def lost(self) -> bool:
        """Has the server removed what was not read?"""
        return self.wal_status == "lost" or self.reason is not None

    @property
    def reader(self) -> str:
        """Who reads it, in words."""
        named = f", {self.application}" if self.application else ""
        return f"the server process {self.pid}{named}" + (f" from {self.address}" if self.address else "")


def tables(link: Link, names: Sequence[str]) -> list[Table]:
    """These tables, as the search path finds them. Raises ConfigError for what is none, or is not logged."""
    found = []
    for name, oid, full, kind, persistence in link.ask(_TABLES, list(names)):
        if oid is None:
            raise ConfigError(
                f"expected a table {name}, found none",
                fix="create it, or correct the source's declaration (schema.table outside of the search path)",
            )
        if kind not in "rp" or persistence != "p":
            what = {"t": "temporary", "u": "unlogged"}.get(persistence, "a view, a foreign table or an index")
            raise ConfigError(
                f"{name} is {what}: it leaves nothing in the write-ahead log",
                fix="declare the ordinary table that its rows come from",
            )
        found.append(Table(name, oid, full))
    return found


def columns(link: Link, oid: int) -> list[Column]:
    """The columns of a table that a stream tells of."""
    return [Column(*found) for found in link.ask(_COLUMNS, oid)]


def without_identity(link: Link, oids: Iterable[int]) -> list[str]:
    """Those of the tables, or of their partitions, whose UPDATE and DELETE fail once they are published."""
    return [name for (name,) in link.ask(_WITHOUT_IDENTITY, list(oids))]


def fingerprint(link: Link, names: Sequence[str]) -> tuple[str, list[str]]:
    """All that decides what these publications let through, and which of them there are."""
    wanted = list(names)
    text, found = link.ask(_FINGERPRINT, wanted, wanted, wanted, wanted).fetchone() or ("", [])
    return text, found


def slot(link: Link, name: str) -> Slot | None:
    found = link.ask(_SLOT, name).fetchone()
    if found is None:
        return None
    database, plugin, status, reason, confirmed, *rest = found
    return Slot(database, plugin, status, reason, read(confirmed or "0/0"), *rest)


def held(link: Link, name: str, pid: int) -> bool:
    """Is it the server process ``pid`` that reads the slot?"""
    return link.ask(_HELD, name, pid).fetchone() is not None


def writers(link: Link) -> list[str]:
    """Who has written in a transaction that is open, in words; the oldest first."""
    return [words for (words,) in link.ask(_WRITERS)]


def flushed(link: Link) -> int:
    """The end of the write-ahead log, as far as it is durable."""
    (lsn,) = link.ask("SELECT pg_catalog.pg_current_wal_flush_lsn()::text").fetchone() or ("0/0",)
    return read(lsn)


def wal_level(link: Link) -> str:
    (level,) = link.ask("SHOW wal_level").fetchone() or ("",)
    return str(level)
