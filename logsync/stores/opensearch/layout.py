"""Names and bodies of everything that the store keeps in OpenSearch. Pure.

For ``products`` in epoch 2:

    products            alias for readers: hides tombstones, parked events and the position
    products--e2-write  alias for bulk requests of epoch 2; gone after a rebuild, and with it every older worker
    products--e2        the index; its mapping's _meta names the sink, so nothing foreign is ever deleted
    logsync             alias of the index logsync-books: one document per sink, its book
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from logsync.errors import ConfigError
from logsync.stores.opensearch.conditions import DURABILITY, OWN_FIELDS, flat, forbidden
from logsync.stores.opensearch.fold import HIDDEN

Body = dict[str, Any]
FILTER: Body = {"bool": {"must_not": {"exists": {"field": HIDDEN}}}}
_NAME = re.compile(r"^(?!.*--)[a-z0-9][a-z0-9._-]{0,149}$")  # "--" separates alias and epoch


class Layout:
    """One sink's names under one prefix, and the bodies its author declared. Raises ConfigError for a bad one."""

    def __init__(self, prefix: str, sink: str, declared: Mapping[str, Mapping[str, Any] | Path]) -> None:
        self.prefix, self.sink = prefix, sink
        self.books, self.books_index = f"{prefix}logsync", f"{prefix}logsync-books"
        self.bodies = {name: _load(name, body) for name, body in declared.items()}

    @property
    def names(self) -> list[str]:
        """The names that handlers use, sorted."""
        return sorted(self.bodies)

    @property
    def pattern(self) -> str:
        """Matches every index that this sink may own, and others: look at :meth:`owns`."""
        return f"{self.prefix}*--e*"

    def reader(self, name: str) -> str:
        return self.prefix + name

    def index(self, name: str, epoch: int) -> str:
        return f"{self.prefix}{name}--e{epoch}"

    def writer(self, name: str, epoch: int) -> str:
        return f"{self.prefix}{name}--e{epoch}-write"

    def owns(self, found: Mapping[str, Any]) -> bool:
        """True if an index, as OpenSearch describes it, was made for this sink under this prefix."""
        mine = _meta(found)
        return mine.get("sink") == self.sink and mine.get("prefix") == self.prefix

    def epoch(self, found: Mapping[str, Any]) -> int:
        """The epoch that an index of this sink was made for."""
        return int(_meta(found)["epoch"])

    def meta(self, name: str, epoch: int) -> Body:
        declared = self.bodies[name]
        return {
            "logsync": {
                "sink": self.sink,
                "prefix": self.prefix,
                "epoch": epoch,
                "mappings": _digest(declared["mappings"]),
                "settings": _digest(declared["settings"]),
            }
        }

    def mappings(self, name: str, epoch: int) -> Body:
        """The author's mappings and logsync's two fields, so that ``dynamic: strict`` works."""
        declared = self.bodies[name]["mappings"]
        meta = {**declared.get("_meta", {}), **self.meta(name, epoch)}
        return {**declared, "_meta": meta, "properties": {**declared.get("properties", {}), **OWN_FIELDS}}

    def body(self, name: str, epoch: int) -> Body:
        """What creates the index, together with its alias for writing."""
        return {
            "settings": self.bodies[name]["settings"],
            "mappings": self.mappings(name, epoch),
            "aliases": {self.writer(name, epoch): {"is_write_index": True}},
        }

    def changed(self, found: Mapping[str, Any], name: str, part: str) -> bool:
        """True if ``part`` ("mappings" or "settings") was declared otherwise when the index was made."""
        declared: str = self.meta(name, 0)["logsync"][part]
        return _meta(found).get(part) != declared

    def point_readers(self, name: str, epoch: int) -> Body:
        """The alias action after which readers of ``name`` see the index of ``epoch``."""
        return {
            "add": {
                "index": self.index(name, epoch),
                "alias": self.reader(name),
                "filter": FILTER,
                "is_write_index": False,  # one index alone would otherwise take writes through this name
            }
        }

    def altered(self, found: Mapping[str, Any], name: str, epoch: int) -> list[str]:
        """The aliases of an index that are missing, or are not as logsync made them."""
        aliases, reader, writer = found.get("aliases", {}), self.reader(name), self.writer(name, epoch)
        as_made = {reader: {"filter": FILTER, "is_write_index": False}, writer: {"is_write_index": True}}
        return [alias for alias, made in as_made.items() if aliases.get(alias) != made]

    def books_body(self) -> Body:
        return {
            "settings": {"index.number_of_shards": 1, DURABILITY: "request"},
            "mappings": {"dynamic": "false", "_meta": {"logsync": {"books": True}}},
            "aliases": {self.books: {"is_write_index": True}},
        }


def _meta(found: Mapping[str, Any]) -> Mapping[str, Any]:
    mine = found.get("mappings", {}).get("_meta", {}).get("logsync", {})
    return mine if isinstance(mine, Mapping) else {}


def holds_books(found: Mapping[str, Any]) -> bool:
    return _meta(found).get("books") is True


def _digest(part: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]


def _load(name: str, declared: Mapping[str, Any] | Path) -> Body:
    """``{"settings": ..., "mappings": ...}``, settings flat and complete. Raises ConfigError."""
    where = f"index {name!r}"
    if not _NAME.match(name) or name == "logsync":
        raise ConfigError(f"{where}: expected a name of a-z, 0-9, '.', '_', '-' without '--', and not 'logsync'")
    if isinstance(declared, Path):
        where = f"index {name!r}, {declared}"
        try:
            declared = json.loads(declared.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: expected a JSON file: {error}") from error
    try:
        body = json.loads(json.dumps(declared))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected what JSON can say: {error}") from error
    if not isinstance(body, dict) or set(body) - {"settings", "mappings"}:
        raise ConfigError(f'{where}: expected {{"settings": ..., "mappings": ...}}')
    settings, mappings = body.get("settings", {}), body.get("mappings", {})
    fields = mappings.get("properties", {}) if isinstance(mappings, dict) else None
    if not isinstance(settings, dict) or not isinstance(fields, dict):
        raise ConfigError(f"{where}: expected settings, mappings and their properties as objects")
    settings = flat(settings)
    settings.setdefault(DURABILITY, "request")
    problem = forbidden(settings, mappings)
    if problem:
        raise ConfigError(f"{where}: {problem}", fix="leave it out of the declaration")
    taken = OWN_FIELDS.keys() & mappings.get("properties", {}).keys()
    if taken:
        raise ConfigError(f"{where}: the fields {', '.join(sorted(taken))} belong to logsync")
    return {"settings": settings, "mappings": mappings}
