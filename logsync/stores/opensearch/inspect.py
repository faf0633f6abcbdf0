"""What `logsync doctor` finds in OpenSearch: cluster and index settings, and what is kept there for the sink."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.stores.opensearch.indices import mend

if TYPE_CHECKING:
    from logsync.core.book import Book
    from logsync.stores.opensearch.connection import Connection

_FLAT = {"include_defaults": "true", "flat_settings": "true"}
_MAY_NOT = (403,)  # a worker needs no right to look at the cluster
_LENIENT = {"ignore_unavailable": "true", "allow_no_indices": "true"}


def judge_cluster(answer: Mapping[str, Any], settings: Mapping[str, str]) -> list[Finding]:
    """Findings from what the root address answers, and from the cluster's flat settings (empty: not allowed)."""
    number = answer.get("version", {}).get("number", "of a version that this user may not read")
    found = [
        Finding(Severity.NOTE, "opensearch.version", f"OpenSearch {number}, opensearch-py {version('opensearch-py')}")
    ]
    auto, check = settings.get("action.auto_create_index"), "opensearch.auto_create_index"
    why = "if it is true, a misspelt name in any other program becomes an index with guessed mappings"
    fix = _put("_cluster/settings", '{"persistent": {"action.auto_create_index": "false"}}')
    if auto is None:
        what = "OpenSearch: this user may not read action.auto_create_index"
        found.append(Finding(Severity.NOTE, check, what, why))
    elif auto == "true":
        found.append(Finding(Severity.WARNING, check, "OpenSearch: action.auto_create_index is true", why, fix))
    return found


def judge_index(name: str, settings: Mapping[str, str], status: object) -> list[Finding]:
    """Findings about one index: its flat settings, and ``status`` green, yellow or red (else: unknown)."""
    found: list[Finding] = []

    def find(severity: Severity, key: str, what: str, why: str, fix: str) -> None:
        found.append(Finding(severity, f"opensearch.{key}", f"index {name}: {what}", why, fix))

    def setting(key: str, value: str) -> str:
        return _put(f"{name}/_settings", json.dumps({f"index.{key}": value}))

    blocks = [key for key in settings if key.startswith("index.blocks.") and settings[key] == "true"]
    if blocks:
        why = "workers wait until it is taken off, and lose nothing, but they apply nothing either"
        find(Severity.ERROR, "blocks", f"blocked by {', '.join(blocks)}", why, _put(f"{name}/_settings", _none(blocks)))
    if settings["index.refresh_interval"].startswith("-"):
        why = "searches never see new documents, while everything else says that they are applied"
        find(Severity.WARNING, "refresh_interval", "refresh is turned off", why, setting("refresh_interval", "1s"))
    if settings["index.number_of_replicas"] == "0":
        why = "with its node the index is lost until it is rebuilt from the log, and searches with it"
        find(Severity.WARNING, "number_of_replicas", "it has no replica", why, setting("number_of_replicas", "1"))
    elif status == "yellow":
        why = "with the node of its primary the index is lost until it is rebuilt from the log"
        fix = "add nodes, or see `_cluster/allocation/explain`"
        found.append(
            Finding(Severity.WARNING, "opensearch.number_of_replicas", f"index {name}: replicas are missing", why, fix)
        )
    return found


def _none(settings: list[str]) -> str:
    return json.dumps(dict.fromkeys(settings))


def _put(path: str, body: str) -> str:
    return f"`curl -X PUT $LOGSYNC_OPENSEARCH/{path} -H 'Content-Type: application/json' -d '{body}'`"


def inspect(connect: Callable[[], Connection]) -> Inspection:
    """See Store.inspect. Refreshes the indices to see what is parked, and writes nothing."""
    seen = Inspection()
    with noting(seen.findings, "opensearch.server"), closing(connect()) as here:
        client = here.client
        with client.bound():
            answer = client.request("GET", "/_cluster/settings", params=_FLAT, ignore=_MAY_NOT)
            parts = ("defaults", "persistent", "transient")  # the last one that says something holds
            cluster = {name: value for part in parts for name, value in answer.get(part, {}).items()}
            seen.findings += judge_cluster(client.request("GET", "/", ignore=_MAY_NOT), cluster)
            with noting(seen.findings, "opensearch.names"):
                here.indices.check_names()
            seen.book = here.books.read()[0]
            seen.findings += _indices(here, seen.book)
        with client.bound():
            seen.holds_data = seen.book is None and here.holds_data()
            seen.positions = here.positions()
        if seen.book is not None:
            for number in seen.positions:
                with client.bound():
                    seen.waiting = {**seen.waiting, number: here.waiting.sequences(seen.book.epoch, number)}
    return seen


def _indices(here: Connection, book: Book | None) -> list[Finding]:
    client, layout = here.client, here.layout
    findings: list[Finding] = []
    for name in layout.names:
        index = layout.index(name, book.epoch if book else 1)
        found = client.request("GET", f"/{index}/_settings", params={**_FLAT, **_LENIENT}).get(index)
        if found is not None:
            status = client.request("GET", f"/_cluster/health/{index}", ignore=_MAY_NOT).get("status")
            findings += judge_index(index, {**found["defaults"], **found["settings"]}, status)
            findings += _conditions(here, index)
        elif book is not None:
            why = "its name is new, or it was deleted: it lacks the events up to now"
            fix = "`logsync rebuild SINK --yes`"
            findings.append(Finding(Severity.ERROR, "opensearch.index", f"index {index} is missing", why, fix))
    return findings


def _conditions(here: Connection, index: str) -> list[Finding]:
    """What a worker would refuse this index for."""
    why = "a worker refuses to run like this: what it claims to hold could be lost, or differ from the log"
    rebuild = "`logsync rebuild SINK --yes` makes a new index from the log"
    return [
        Finding(
            Severity.ERROR,
            f"opensearch.{fault.check}",
            f"index {index}: {fault.what}",
            why,
            mend(index, [fault]) if fault.setting else rebuild,
        )
        for fault in here.indices.faults(index)
    ]
