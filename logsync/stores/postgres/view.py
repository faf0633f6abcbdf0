"""One look at a sink in Postgres: a single SELECT, so book, positions and parked events are of one snapshot.

It is right wherever it runs: on a primary, on a hot standby, or in a transaction of the app, beside the app's queries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from logsync.core.book import Book
from logsync.core.parked import Parked, bears
from logsync.core.position import Position
from logsync.core.view import NO_RETRIES, Place, Retried, Sight, SqlLook
from logsync.stores.postgres.encode import array, unescaped

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

NEVER_MADE = ("42P01", "3F000")
"""What Postgres calls a table or a schema that is not there: no worker ever opened this database."""
LOOK = """
SELECT (SELECT body::text FROM logsync.book WHERE sink = CAST(%(sink)s AS text)),
       (SELECT json_agg(p)::text FROM logsync.position AS p WHERE sink = CAST(%(sink)s AS text)),
       (SELECT json_agg(json_build_array(a.log_offset, e.body))::text
        FROM unnest(CAST(%(partitions)s AS int[]), CAST(%(offsets)s AS bigint[]), CAST(%(sinces)s AS bigint[]),
                    CAST(%(ids)s AS text[])) AS a (partition, log_offset, since, id)
        JOIN logsync.parked AS e ON e.partition = a.partition AND e.log_offset BETWEEN a.since AND a.log_offset
         AND (e.log_offset = a.log_offset OR position(a.id IN e.body) > 0)
        WHERE e.sink = CAST(%(sink)s AS text))
"""


# Of the catalog, which every role may read; to_regclass fails where the role may not use the schema.
_THERE = """
SELECT count(*) = 3,
       bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'logsync' AND c.relname IN ('book', 'position', 'parked')
"""
_RIGHTS = "GRANT USAGE ON SCHEMA logsync, SELECT ON logsync.book, logsync.position, logsync.parked to the app's role"
_TRANSACTION = "SELECT current_setting('transaction_isolation'), CAST(now() AS text)"


def sql_look(sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> SqlLook:
    """See ``logsync.core.view.LooksInSql``."""
    return SqlLook(
        database="postgresql",
        there=_THERE,
        rights=_RIGHTS,
        transaction=_TRANSACTION,
        statement=LOOK,
        parameters=question(sink, asked, retried),
        sight=lambda row: sight(row, sink),
    )


def question(sink: str, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> dict[str, Any]:
    """The parameters of LOOK. Arrays go as text, which every driver sends alike."""
    rows = [
        (*place, retried[place].since, bears(retried[place].event_id)) if place in retried else (*place, place[1], "")
        for place in asked
    ]
    columns = zip(*rows, strict=True) if rows else [()] * 4
    names = ("partitions", "offsets", "sinces", "ids")
    return {"sink": sink, **{name: array(column) for name, column in zip(names, columns, strict=True)}}


def sight(row: Sequence[str | None], sink: str) -> Sight:
    """What the row of LOOK says. Raises ConfigError for formats that are too new."""
    body, positions, parked = row
    book = Book.read(body, f"sink {sink}: logsync.book") if body is not None else None
    found = [_position(fields) for fields in json.loads(positions or "[]")]
    entries = [(offset, Parked.from_json(text)) for offset, text in json.loads(parked or "[]")]
    return Sight(
        book,
        {position.partition: position for position in found},
        {(entry.partition, offset): entry.reason for offset, entry in entries},
    )


def _position(fields: Mapping[str, Any]) -> Position:
    last = fields.get("last_id")
    return Position.from_dict({**fields, "last_id": last and unescaped(last)})


class PostgresView:
    """See ``logsync.core.view.View``."""

    def __init__(
        self,
        sink: str,
        connect: Callable[[], None],
        call: Callable[[str], AbstractContextManager[Link]],
        close: Callable[[], None],
    ) -> None:
        self._sink, self._connect, self._call, self.close = sink, connect, call, close
        self._connected = False

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        from psycopg import Error

        if not self._connected:
            self._connect()
        self._connected = False  # until it has answered: an error may have cost the connection
        with self._call("look at the sink") as link:
            try:
                row = link.send([(LOOK, question(self._sink, asked, retried))])[0].fetchone()
            except Error as error:
                if error.sqlstate not in NEVER_MADE:
                    raise
                row = None
        self._connected = True
        return Sight(None, {}, {}) if row is None else sight(row, self._sink)
