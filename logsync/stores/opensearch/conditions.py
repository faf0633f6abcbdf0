"""Pure: what an index must be, whatever has made it otherwise, and what in it breaks the promise. # O6

What a sink declares is checked before it is sent (``layout``). But OpenSearch merges the index templates of its cluster
into every new index, and anybody with the rights changes settings later. So what counts is what the server says of an
index: right after it is made, each time a worker resumes, and now and then while it applies.

Some conditions hold at any time: documents come back as they were sent, a write is on disk before it is answered,
logsync's own fields hide what readers must not see. Others can be told only of an index without documents, because
documents add fields of their own: that nothing decides how documents are indexed, which the sink does not declare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from logsync.stores.opensearch.fold import HIDDEN, POSITION

OWN_FIELDS: dict[str, dict[str, Any]] = {HIDDEN: {"type": "keyword"}, POSITION: {"type": "object", "enabled": False}}
"""logsync's fields in the mapping of every index of a sink: no more and no less."""
PAGE = 5_000
"""Documents per search of logsync's own. An index that allows fewer is refused."""
DURABILITY = "index.translog.durability"

# Types whose mapping OpenSearch gives back as it was sent, or with these additions of its own.
_EXACT = frozenset({
    "alias", "binary", "boolean", "byte", "constant_keyword", "date", "date_nanos", "date_range", "double",
    "double_range", "flat_object", "float", "float_range", "geo_point", "half_float", "integer", "integer_range",
    "ip", "ip_range", "join", "keyword", "long", "long_range", "nested", "object", "rank_feature",
    "rank_features", "scaled_float", "short", "text", "token_count", "unsigned_long"
})  # fmt: skip
_ADDITIONS = {
    "completion": {"analyzer", "preserve_separators", "preserve_position_increments", "max_input_length"},
    "search_as_you_type": {"doc_values", "max_shingle_size"},
    "wildcard": {"doc_values"},
    "version": {"index"},
}
_JUDGED_ELSEWHERE = {"_meta", "_source", "_routing", "properties", "dynamic_templates"}


class IndexFault(NamedTuple):
    """One thing that an index must not be."""

    check: str
    """Its name for machines: ``durability``."""
    what: str
    """In words, and why it cannot be."""
    setting: str = ""
    """The setting that an open index takes back, with ``value``; empty: only a new index is without the fault."""
    value: str | None = None


def faults(found: Mapping[str, Any], sent: Mapping[str, Any], *, fresh: bool, own: bool = True) -> list[IndexFault]:
    """What is wrong with an index as OpenSearch describes it; empty: nothing.

    ``sent``: the ``settings`` (flat) and ``mappings`` that logsync makes it with, looked at only if it is ``fresh``: no
    document was ever written to it. ``own``: it is one of a sink, and has logsync's fields.
    """
    settings, mapped = flat(found.get("settings", {})), found.get("mappings", {})
    found_faults = [*_settings(settings), *_documents(mapped)]
    if own:
        found_faults += _own_fields(mapped.get("properties", {}))
    if fresh:
        found_faults += _new_settings({name: settings[name] for name in settings.keys() - sent["settings"].keys()})
        found_faults += _undeclared(mapped, sent["mappings"])
    return found_faults


def flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """OpenSearch takes nested and dotted settings alike, with or without ``index.``: one spelling of each."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        else:
            found[name if name.startswith("index.") else f"index.{name}"] = value
    return found


def forbidden(settings: Mapping[str, Any], mappings: Mapping[str, Any]) -> str:
    """The first thing in a declaration (``flat`` settings) that no index of a sink may have, in words; or nothing."""
    for fault in [*_settings(settings), *_documents(mappings)]:
        return fault.what
    return ""


def _settings(settings: Mapping[str, Any]) -> Iterator[IndexFault]:
    durability = settings.get(DURABILITY, "request")
    if str(durability).lower() != "request":
        what = f"{DURABILITY} is {durability!r}: a position could claim writes that a crash loses"
        yield IndexFault("durability", what, DURABILITY, "request")
    for name in ("default_pipeline", "final_pipeline"):
        pipeline = settings.get(f"index.{name}", "_none")
        if pipeline not in (None, "_none"):
            what = f"index.{name} is {pipeline!r}: it changes documents, and logsync's own, after they were sent"
            yield IndexFault(name, what, f"index.{name}", "_none")
    for name, why in (
        ("append_only", "no document could be written twice, and none under its own id"),
        ("derived_source", "documents would come back otherwise than they were sent"),
    ):
        if _true(settings.get(f"index.{name}.enabled")):
            yield IndexFault(name, f"index.{name}.enabled is true: {why}")
    for name, least, default in (("max_result_window", PAGE, 10_000), ("max_docvalue_fields_search", 1, 100)):
        most = settings.get(f"index.{name}", default)
        if _number(most) < least:
            what = f"index.{name} is {most}: logsync could not find what is parked, it needs {least} or more"
            yield IndexFault(name, what, f"index.{name}", str(default))


def _documents(mappings: Mapping[str, Any]) -> Iterator[IndexFault]:
    source = mappings.get("_source", {})
    if not isinstance(source, Mapping) or set(source) - {"enabled"} or not _true(source.get("enabled", True)):
        cut = ", ".join(sorted(source)) if isinstance(source, Mapping) else source
        yield IndexFault(
            "source", f"the mapping cuts _source ({cut}): logsync reads documents back, so it must stay whole"
        )
    routing = mappings.get("_routing", {})
    if not isinstance(routing, Mapping) or _true(routing.get("required", False)):
        yield IndexFault("routing", "the mapping requires _routing: logsync finds documents by their id alone")


def _own_fields(properties: Mapping[str, Any]) -> Iterator[IndexFault]:
    for name, mine in OWN_FIELDS.items():
        theirs = properties.get(name)
        if theirs != mine:
            what = (
                f"the field {name} is {_brief(theirs)}, expected {_brief(mine)}: readers would see what is deleted or "
            )
            yield IndexFault("own_fields", f"{what}parked, or logsync would not find its position")


def _new_settings(settings: Mapping[str, Any]) -> Iterator[IndexFault]:
    for name, value in sorted(settings.items()):
        if name.startswith("index.blocks.") and _true(value):
            yield IndexFault("blocks", f"{name} is true: nothing could be written or read")
        elif name == "index.refresh_interval" and str(value).startswith("-"):
            yield IndexFault("refresh_interval", "index.refresh_interval is -1: searches would never see a document")
        elif name == "index.write.wait_for_active_shards" and str(value) not in ("0", "1"):
            yield IndexFault("undeclared", f"{name} is {_brief(value)}: without so many copies nothing is written")
        elif name.startswith(("index.mapping.", "index.analysis.analyzer.default")) and not name.endswith(".limit"):
            yield IndexFault("undeclared", f"{name} is {_brief(value)}")


def _undeclared(found: Mapping[str, Any], sent: Mapping[str, Any]) -> Iterator[IndexFault]:
    for name in sorted(found.keys() - sent.keys() - _JUDGED_ELSEWHERE):
        yield IndexFault("undeclared", f"{name} is {_brief(found[name])}")
    known = {name for entry in sent.get("dynamic_templates", ()) for name in entry}
    added = {name for entry in found.get("dynamic_templates", ()) for name in entry} - known
    if added:
        yield IndexFault("undeclared", f"dynamic_templates has {_brief(sorted(added))}")
    mine = sent.get("_meta", {}).get("logsync", {})
    theirs = found.get("_meta", {}).get("logsync", {})
    if any(theirs.get(name) != value for name, value in mine.items()):
        yield IndexFault(
            "meta", "its _meta does not say what logsync has written there: it could not be told whose it is"
        )
    theirs = {name: field for name, field in found.get("properties", {}).items() if name not in OWN_FIELDS}
    yield from _fields(theirs, sent.get("properties", {}), "")


def _fields(found: Mapping[str, Any], sent: Mapping[str, Any], path: str) -> Iterator[IndexFault]:
    sent = _nested(sent)
    for name, field in found.items():
        where = f"{path}{name}"
        if name not in sent:
            yield IndexFault("undeclared", f"there is a field {_brief(where)}")
            continue
        declared = sent[name]
        kind = declared.get("type", "object")
        extra = field.keys() - declared.keys() - {"properties", "fields"} - _ADDITIONS.get(kind, set())
        if "type" not in declared and field.get("type") == "object":
            extra -= {"type"}
        if kind not in _EXACT and kind not in _ADDITIONS:  # of a plugin: nobody knows what it adds by itself
            extra &= {"copy_to"}
        for param in sorted(extra):
            yield IndexFault("undeclared", f"the field {_brief(where)} has {param} {_brief(field[param])}")
        for part in ("properties", "fields"):
            yield from _fields(field.get(part, {}), declared.get(part, {}), f"{where}.")


def _nested(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with each dot in a name made an object, as OpenSearch does it."""
    made: dict[str, Any] = {}
    for name, field in properties.items():
        head, dot, rest = name.partition(".")
        if dot:
            outer = made.setdefault(head, {})
            made[head] = {**outer, "properties": {**outer.get("properties", {}), rest: field}}
        elif head in made and "properties" in made[head]:
            made[head] = {**field, "properties": {**field.get("properties", {}), **made[head]["properties"]}}
        else:
            made[head] = field
    return made


def _true(value: object) -> bool:
    return str(value).lower() == "true"


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
