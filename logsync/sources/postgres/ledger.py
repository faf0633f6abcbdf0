"""``logsync.source``: what the database keeps of its sources."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from logsync.core.formats import UPDATE, number, upgraded
from logsync.core.position import LogIdentity
from logsync.errors import ConfigError, PositionConflict
from logsync.sources.contract import Ledger
from logsync.sources.postgres.declared import Declared
from logsync.sources.postgres.places import read, shown

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

# One statement, which looks again at a row that another one held: a relay that wakes late writes nothing. # U3
_KEEP = """
UPDATE logsync.source SET kept = %s WHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) <= %s
"""
# A row of the outbox and the fact's place below the floor are never both there.
_KEEP_AND_FORGET = f"""
WITH kept AS ({_KEEP} RETURNING name),
     gone AS (DELETE FROM logsync.outbox WHERE id = ANY(%s) AND EXISTS (SELECT FROM kept))
SELECT FROM kept
"""
_FIND = "SELECT slot, made, kept, skips, audit, passed::text FROM logsync.source WHERE name = %s"
_WRITE = """
INSERT INTO logsync.source (name, slot, made, audit) VALUES (%s, %s, %s, json_build_array(%s::json))
ON CONFLICT (name) DO UPDATE SET made = excluded.made, audit = (source.audit::jsonb || excluded.audit::jsonb)::json
"""
# Never back: what an earlier relay passed has passed.
_PASSED = """
UPDATE logsync.source SET passed = greatest(passed, %s::pg_lsn)
WHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) <= %s
"""
_BEGIN = "UPDATE logsync.source SET passed = %s::pg_lsn WHERE name = %s"
_REPLACE = "UPDATE logsync.source SET kept = %s WHERE name = %s"
_SKIP = """
UPDATE logsync.source SET skips = (skips::jsonb || jsonb_build_object(%s::text, %s::text))::json WHERE name = %s
"""
_TAKEN = """
SELECT name FROM logsync.source
WHERE (name = %s AND slot <> %s) OR (name <> %s AND (made ->> 'outbox')::boolean AND %s) ORDER BY name LIMIT 1
"""
_THERE = "SELECT pg_catalog.to_regclass('logsync.source') IS NOT NULL"


class Made(NamedTuple):
    """What ``logsync source create`` made, and where."""

    system: str
    """The server's system identifier."""
    timeline: int
    publications: str
    """A fingerprint of the publications."""
    outbox: bool
    append_only: tuple[str, ...]
    capture: tuple[str, ...]
    failover: bool = False
    """Is the slot one that standbys keep in step (Postgres 17)?"""

    @property
    def declared(self) -> Declared:
        """What the source declared then."""
        return Declared(self.outbox, self.append_only, self.capture)


class Row(NamedTuple):
    """One source's row."""

    slot: str
    made: Made
    ledger: Ledger | None
    skips: dict[str, str]
    audit: list[dict[str, Any]]
    passed: int | None
    """The slot was never told to go beyond this place; None: it was not made yet."""


def check_free(link: Link, source: str, slot: str, *, outbox: bool) -> None:
    """Raises ConfigError if the name is that of a source of another kind, or the outbox has a source already.

    Two sources of one outbox would bring each event twice.
    """
    taken = (
        link.ask(_TAKEN, source, slot, source, outbox).fetchone() if link.ask(_THERE).fetchone() == (True,) else None
    )
    if taken is None:
        return
    (name,) = taken
    what = "is of another kind" if name == source else "relays the outbox of this database already"
    raise ConfigError(
        f"the source {name} {what}", fix=f"`logsync source drop {name}` first, if this one stands in its place"
    )


def ddl() -> str:
    return resources.files("logsync.sources.postgres").joinpath("source.sql").read_text(encoding="utf-8")


def find(link: Link, source: str) -> Row | None:
    """The row of this source; None if it was never created. Raises psycopg.Error, ConfigError for a newer format."""
    there = link.ask(_THERE).fetchone() == (True,)
    found = link.ask(_FIND, source).fetchone() if there else None
    if found is None:
        return None
    slot, made, kept, skips, audit, passed = found
    return Row(
        slot, read_made(made), None if kept is None else read_ledger(kept), skips, audit,
        None if passed is None else read(passed),
    )  # fmt: skip


def write(link: Link, source: str, slot: str, made: Made, entry: dict[str, Any]) -> None:
    """Write what was made, and ``entry`` into the audit. What is kept of the log stays."""
    link.ask(_WRITE, source, slot, dump_made(made), json.dumps(entry))


def keep(link: Link, source: str, ledger: Ledger, ids: Sequence[str] = ()) -> None:
    """``ids``: rows of the outbox that go in the same step. Raises PositionConflict if a greater term has written."""
    written = dump_ledger(ledger), source, ledger.term
    kept = link.ask(_KEEP_AND_FORGET, *written, list(ids)) if ids else link.ask(_KEEP, *written)
    if kept.rowcount != 1:
        raise _replaced(source)


def passed(link: Link, source: str, lsn: int, *, term: int) -> None:
    """Everything of ours up to ``lsn`` is in the log. Durable before the slot is told. # U5

    Raises PositionConflict if a greater term has written.
    """
    if link.ask(_PASSED, shown(lsn), source, term).rowcount != 1:
        raise _replaced(source)


def begin(link: Link, source: str, lsn: int) -> None:
    """The slot was made, and stands at ``lsn``."""
    link.ask(_BEGIN, shown(lsn), source)


def _replaced(source: str) -> PositionConflict:
    return PositionConflict(
        f"source {source}: another relay has taken over, or its row in logsync.source is gone",
        fix="run one relay per source; `logsync source status SOURCE` shows what is there",
    )


def entry(what: str, **more: object) -> dict[str, object]:
    """For the audit."""
    return {"what": what, "when": datetime.now(UTC).isoformat(), **more}


def replace(link: Link, source: str, ledger: Ledger) -> None:
    """On a person's word, whatever stands there."""
    link.ask(_REPLACE, dump_ledger(ledger), source)


def skip(link: Link, source: str, at: str, reason: str) -> None:
    """Have the fact at ``at`` passed over from the next ``open`` on."""
    link.ask(_SKIP, at, reason, source)


def dump_made(made: Made) -> str:
    return json.dumps({"format": number("source"), **made._asdict()})


def read_made(fields: Any) -> Made:
    """Raises ConfigError for a newer format."""
    fields = _known("source", fields)
    made = Made(**fields)
    return made._replace(append_only=tuple(made.append_only), capture=tuple(made.capture))


def dump_ledger(ledger: Ledger) -> str:
    places = {str(partition): place for partition, place in ledger.places.items()}
    return json.dumps({"format": number("ledger"), **ledger._asdict(), "log": ledger.log._asdict(), "places": places})


def read_ledger(kept: Any) -> Ledger:
    """Raises ConfigError for a newer format."""
    fields = _known("ledger", kept)
    places = {int(partition): (offset, state) for partition, (offset, state) in fields["places"].items()}
    return Ledger(LogIdentity(**fields["log"]), fields["floor"], places, fields["term"], fields["incarnation"])


def _known(kind: str, fields: Any) -> dict[str, Any]:
    try:
        return upgraded(kind, fields)
    except ValueError as error:
        raise ConfigError(f"logsync.source holds {error}", fix=UPDATE) from None
