"""``logsync.source``: what the database keeps of its sources."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from logsync.core.formats import UPDATE, number, upgraded
from logsync.core.position import LogIdentity
from logsync.errors import ConfigError, StoreUnavailable
from logsync.sources.contract import Ledger

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

# Whoever lost the hold writes nothing: a relay that wakes after its successor took over would put it back.
_KEEP = """
UPDATE logsync.source SET kept = %s WHERE name = %s AND EXISTS (
    SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = slot AND active_pid = %s
)
"""
_FIND = "SELECT slot, made, kept, audit FROM logsync.source WHERE name = %s"
_WRITE = """
INSERT INTO logsync.source (name, slot, made, audit) VALUES (%s, %s, %s, json_build_array(%s::json))
ON CONFLICT (name) DO UPDATE SET made = excluded.made, audit = (source.audit::jsonb || excluded.audit::jsonb)::json
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


class Row(NamedTuple):
    """One source's row."""

    slot: str
    made: Made
    ledger: Ledger | None
    audit: list[dict[str, Any]]


def ddl() -> str:
    return resources.files("logsync.sources.postgres").joinpath("source.sql").read_text(encoding="utf-8")


def find(link: Link, source: str) -> Row | None:
    """The row of this source; None if it was never created. Raises psycopg.Error, ConfigError for a newer format."""
    there = link.ask(_THERE).fetchone() == (True,)
    found = link.ask(_FIND, source).fetchone() if there else None
    if found is None:
        return None
    slot, made, kept, audit = found
    fields = _known("source", made)
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Row(slot, Made(**fields), None if kept is None else _ledger(kept), audit)


def write(link: Link, source: str, slot: str, made: Made, entry: dict[str, Any]) -> None:
    """Write what was made, and ``entry`` into the audit. What is kept of the log stays."""
    text = json.dumps({"format": number("source"), **made._asdict()})
    link.ask(_WRITE, source, slot, text, json.dumps(entry))


def keep(link: Link, source: str, ledger: Ledger, pid: int) -> None:
    """``pid``: of the stream that holds the slot. Raises StoreUnavailable if it does not hold it any more."""
    text = json.dumps(
        {
            "format": number("ledger"),
            "log": ledger.log._asdict(),
            "floor": ledger.floor,
            "places": {str(partition): place for partition, place in ledger.places.items()},
        }
    )
    if link.ask(_KEEP, text, source, pid).rowcount != 1:
        raise StoreUnavailable(f"the source {source} is not held any more: its slot has another reader, or none")


def _ledger(kept: Any) -> Ledger:
    fields = _known("ledger", kept)
    places = {int(partition): (offset, state) for partition, (offset, state) in fields["places"].items()}
    return Ledger(LogIdentity(**fields["log"]), fields["floor"], places)


def _known(kind: str, fields: Any) -> dict[str, Any]:
    try:
        return upgraded(kind, fields)
    except ValueError as error:
        raise ConfigError(f"logsync.source holds {error}", fix=UPDATE) from None
