"""Rows that stood in a table before its source was made are told as well: `logsync source seed`.

In chunks, each of them one transaction: rows are locked against changes, each is written into the write-ahead log as a
message of ours, and how far the table is done moves on. So a row takes its place in the log between the change of the
app that was committed before it and the one that comes after. It may be stopped and continued at any time, beside a
relay and a busy app. A row that was inserted since the source was made is told twice, as it was inserted and as a
seeded one with its values of that moment: what keeps a view of the table is right either way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from logsync.errors import ConfigError
from logsync.sources.postgres import catalog, ledger
from logsync.sources.postgres.catalog import Table
from logsync.sources.postgres.declared import Declared
from logsync.sources.postgres.pgoutput import Row

if TYPE_CHECKING:
    from logsync.sources.postgres.database import Database
    from logsync.stores.postgres.link import Link

CHUNK = 1_000
"""Rows of one transaction: so long may an UPDATE of the app wait."""
_PROGRESS = "SELECT after, told, done FROM logsync.seed WHERE source = %s AND name = %s"
_MOVE = """
INSERT INTO logsync.seed (source, name, after, told, done) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (source, name) DO UPDATE SET after = excluded.after, told = excluded.told, done = excluded.done
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('logsync seed ' || %s, 0))"


class Seeded(NamedTuple):
    """How far a table is."""

    table: str
    rows: int
    """Told so far, of earlier runs as well."""
    done: bool


class Told(NamedTuple):
    """One row as the log has it."""

    table: int
    """Its oid."""
    columns: list[tuple[str, int]]
    """Names and the oids of their types."""
    row: Row


def prefix_of(source: str) -> str:
    """What marks our messages in the write-ahead log."""
    return f"logsync {source}"


def seed(
    db: Database, source: str, declared: Declared, tables: Sequence[str] = (), *, chunk: int = CHUNK
) -> Iterator[Seeded]:
    """Tell the rows of these tables, by default of all whose changes are captured. Yields after each transaction.

    Raises ConfigError for a table without a primary key, and for one whose changes are not captured: an append-only
    table's rows are events, and nobody could tell which of them the stream has already. StoreUnavailable: run it again.
    """
    wanted = list(tables or declared.capture)
    if others := sorted(set(wanted) - set(declared.capture)):
        raise ConfigError(
            f"expected tables whose changes the source {source} captures, found {', '.join(others)}",
            fix="append what stood there before by Producer.append_many(events, source=..., places=...)",
        )
    with db.transaction("prepare to seed") as link:
        link.execute(ledger.ddl().encode())
        found = catalog.tables(link, wanted)
    for table in found:
        done = False
        while not done:
            with db.transaction(f"seed {table.name}") as link:
                link.ask(_LOCK, source)
                seeded = _chunk(link, source, table, chunk)
            done = seeded.done
            yield seeded


def forget(link: Link, source: str) -> None:
    """What was told does not count any more."""
    link.ask("DELETE FROM logsync.seed WHERE source = %s", source)


def read(content: bytes) -> Told:
    """What :func:`seed` wrote. Raises ValueError, TypeError, LookupError for anything else."""
    fields: Any = json.loads(content)
    columns = [(str(name), int(oid)) for name, oid in fields["columns"]]
    row: Row = [None if text is None else str(text).encode() for text in fields["row"]]
    if len(row) != len(columns):
        raise ValueError("as many values as columns")
    return Told(int(fields["table"]), columns, row)


def _chunk(link: Link, source: str, table: Table, chunk: int) -> Seeded:
    after, told, done = link.ask(_PROGRESS, source, table.name).fetchone() or (None, 0, False)
    if done:
        return Seeded(table.name, told, True)
    columns = catalog.columns(link, table.oid)
    keys = [column for column in columns if column.key]
    if not keys:
        raise ConfigError(
            f"expected a primary key of {table.name}, found none: its rows cannot be told in chunks",
            fix=f"ALTER TABLE {table.name} ADD PRIMARY KEY (...)",
        )
    order = ", ".join(key.quoted for key in sorted(keys, key=lambda key: key.key))
    types = ", ".join(f"%s::{key.type}" for key in sorted(keys, key=lambda key: key.key))
    # format: a type's own output function, as the stream writes values. A cast would write "true" where that has "t".
    texts = ", ".join(f"CASE WHEN {c.quoted} IS NULL THEN NULL ELSE format('%%s', {c.quoted}) END" for c in columns)
    last = ", ".join(f"format('%%s', {key.quoted})" for key in sorted(keys, key=lambda key: key.key))
    head = json.dumps({"table": table.oid, "columns": [(column.name, column.oid) for column in columns]})
    where = f"WHERE ({order}) > ({types})" if after else ""
    # In bytes: a text would be in the encoding of the database.
    query = f"""
WITH chunk AS MATERIALIZED (SELECT * FROM {table.full} {where} ORDER BY {order} LIMIT %s FOR SHARE)
SELECT ARRAY[{last}]::text[], pg_catalog.pg_logical_emit_message(true, %s, convert_to(
    %s || ', "row": ' || array_to_json(ARRAY[{texts}]::text[])::text || '}}', 'UTF8'))
FROM chunk ORDER BY {order}
"""
    rows = link.ask(query, *(after or ()), chunk, prefix_of(source), head[:-1]).fetchall()
    told, done = told + len(rows), len(rows) < chunk
    link.ask(_MOVE, source, table.name, json.dumps(rows[-1][0] if rows else after), told, done)
    return Seeded(table.name, told, done)
