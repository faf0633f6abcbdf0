"""Bulk requests as bytes, and their answers item by item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from logsync.stores.opensearch.errors import Verdict, reason, refusal, verdict
from logsync.stores.opensearch.fold import Doc

CHUNK_BYTES = 5_000_000  # per request; some hosted clusters take no more than 10 MB
PARAMS = {
    # Through an alias of this epoch or not at all: nothing creates an index, and a worker from before a rebuild
    # finds no alias to write through.
    "require_alias": "true",
    "filter_path": "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by",
}

BRIEF = {**PARAMS, "filter_path": "errors"}
"""For many documents: whether all went well. If not, the same request is sent again with PARAMS, to learn which failed.
A document that went well then answers 409, which is success as always."""
NUMBERED = {**PARAMS, "filter_path": PARAMS["filter_path"] + ",items.*._seq_no,items.*._primary_term"}


class Item(NamedTuple):
    verdict: Verdict
    reason: str
    seq_no: int | None = None  # only if the request asked for it (NUMBERED)
    term: int | None = None


DONE = Item(Verdict.DONE, "")


def lines(docs: Iterable[Doc], aliases: Mapping[str, str]) -> Iterator[bytes]:
    """Action and document, two lines for each, versioned from outside."""
    heads = {index: f'{{"index":{{"_index":{json.dumps(alias)},"_id":' for index, alias in aliases.items()}
    for (index, doc_id), version, body in docs:
        action = f'{heads[index]}{json.dumps(doc_id)},"version":{version},"version_type":"external"}}}}\n'
        yield b"%b%b\n" % (action.encode(), body)


def chunks(parts: Iterable[bytes], limit: int = CHUNK_BYTES) -> Iterator[list[bytes]]:
    """``parts`` in order, in lists of at most ``limit`` bytes (a single part may be longer)."""
    chunk: list[bytes] = []
    size = 0
    for part in parts:
        if chunk and size + len(part) > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(part)
        size += len(part)
    if chunk:
        yield chunk


def items(answer: Mapping[str, Any], expected: int) -> Sequence[Item]:
    """One verdict per item, in the order they were sent."""
    found = []
    for entry in answer.get("items", ()):
        ((_, item),) = entry.items()
        status, error = item["status"], item.get("error")
        if error is None and status < 300:
            found.append(Item(Verdict.DONE, "", item.get("_seq_no"), item.get("_primary_term")))
        else:
            what = verdict(status, error)
            found.append(Item(what, refusal(error) if what is Verdict.REFUSED else reason(error)))
    if len(found) != expected:  # never guess which of them is missing
        return [Item(Verdict.UNAVAILABLE, f"{expected} items sent, {len(found)} answered")] * expected
    return found
