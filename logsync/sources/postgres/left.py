"""Outbox rows that no stream tells: they were committed before the slot began, so they are put into the outbox again.

A row leaves the outbox before its transaction is confirmed. So whatever stands there, and is not among what the slot
has still to tell, was committed before the slot was made: when the app wrote events already, or between a slot that was
lost and the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logsync.sources.postgres.declared import OUTBOX, Declared, names_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from logsync.sources.postgres.database import Database

_CHUNK = 5_000  # rows of one transaction
_STAND = "SELECT id FROM logsync.outbox ORDER BY time, id"
# What is visible may not be durable yet, and only what is durable is told: first a commit that waits for the disk.
_FLUSH = "SELECT pg_catalog.pg_logical_emit_message(true, 'logsync flush', '')"
# An Insert of pgoutput: 'I', the table's oid, 'N', the number of columns, and per column 't', a length and the text.
# The id is the first column, and texts are in the client's encoding, also where SQL reads them (seen in LATIN1).
# https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
_TOLD = """
WITH told AS MATERIALIZED (
    SELECT convert_from(substring(data FROM 14 FOR (get_byte(data, 9) << 24) | (get_byte(data, 10) << 16)
                        | (get_byte(data, 11) << 8) | get_byte(data, 12)), pg_client_encoding()) AS id
    FROM pg_catalog.pg_logical_slot_peek_binary_changes(
        %s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)
    WHERE get_byte(data, 0) = 73 AND length(data) > 13 AND ((get_byte(data, 1)::bigint << 24)
          | (get_byte(data, 2) << 16) | (get_byte(data, 3) << 8) | get_byte(data, 4)) = %s::regclass::oid::bigint
)
SELECT stands.id FROM unnest(%s::text[]) WITH ORDINALITY AS stands (id, n)
WHERE NOT EXISTS (SELECT FROM told WHERE told.id = stands.id) ORDER BY n
"""
_AGAIN = """
WITH moved AS (DELETE FROM logsync.outbox WHERE id = ANY(%s) RETURNING id, type, key, value, headers, time)
INSERT INTO logsync.outbox (id, type, key, value, headers, time)
SELECT id, type, key, value, headers, time FROM moved ORDER BY time, id
"""


def bring(db: Database, source: str, declared: Declared, known: Collection[str] = ()) -> int:
    """Have the rows told that stand in the outbox and that nobody would tell. Returns how many.

    Nobody may read the slot meanwhile. May be repeated. ``known``: ids that the log has already, whose rows go.
    Their order among each other is that of their times and ids: that of their commits is not known any more.
    """
    names = names_of(source)
    if not declared.outbox:
        return 0
    with db.call("read the outbox") as link:
        stand = [id_ for (id_,) in link.ask(_STAND).fetchall()]
    if not stand:
        return 0
    with db.transaction("wait for the disk") as link:
        link.ask(_FLUSH)
    with db.call("look at what the slot has to tell") as link:
        left = [id_ for (id_,) in link.ask(_TOLD, names.slot, names.inserts, OUTBOX, stand).fetchall()]
    gone = [id_ for id_ in left if id_ in known]
    again = [id_ for id_ in left if id_ not in known]
    with db.transaction("delete what the log has") as link:
        link.ask("DELETE FROM logsync.outbox WHERE id = ANY(%s)", gone)
    for start in range(0, len(again), _CHUNK):
        with db.transaction("put rows into the outbox again") as link:
            link.ask(_AGAIN, again[start : start + _CHUNK])
    return len(again)
