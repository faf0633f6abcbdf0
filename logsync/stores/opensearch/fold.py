"""Pure: what a document is after the writes of a batch, and the version that says so.

# O3: a document at version v IS the fold of all its events up to v. So the version of a stored document tells
which events it already holds, however often and in whatever batches they arrive; that makes ``UpdateDoc`` and
its counters exact, and every replay a no-op.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from logsync.errors import ConfigError, WriteRejected
from logsync.writes import Write
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

# O4: 11 bits of epoch, 40 of offset, 12 of sub; the sign bit stays free. ``sub`` is for a parked event that is
# drained later: at position P it writes as (P - 1, sub), newer than what is there and older than what comes.
_EPOCH, _OFFSET = 52, 12
MAX_EPOCH, MAX_OFFSET = (1 << 11) - 1, (1 << 40) - 1

HIDDEN = "logsync_hidden"  # "deleted" or "position": readers do not see the document
POSITION = "logsync_position"
POSITION_ID = "logsync-position"
TOMBSTONE: dict[str, Any] = {HIDDEN: "deleted"}

DocKey = tuple[str, str]  # index (the name that handlers use), document id
Step = tuple[int, IndexDoc | UpdateDoc | DeleteDoc]  # the event's offset, and what it does to the document
Source = dict[str, Any]


_WRITES = (IndexDoc, UpdateDoc, DeleteDoc)


class Found(NamedTuple):
    """A stored document. ``source`` is None for a tombstone, and for one that was never there."""

    version: int = 0
    source: Source | None = None


ABSENT = Found()


class Doc(NamedTuple):
    """A document ready to be sent."""

    key: DocKey
    version: int
    body: bytes


def version(epoch: int, offset: int, sub: int = 0) -> int:
    """The external version of a document whose last event stands at ``offset``. Raises ConfigError."""
    if not (0 < epoch <= MAX_EPOCH and 0 <= offset <= MAX_OFFSET):
        raise ConfigError(
            f"epoch {epoch}, offset {offset}: a document version holds epochs 1 to {MAX_EPOCH} and offsets up to "
            f"{MAX_OFFSET}",
            fix="delete the sink's indices and its document in the index `logsync`, which starts at epoch 1 again",
        )
    return epoch << _EPOCH | offset << _OFFSET | sub


def gather(
    offsets: Iterable[int], writes: Iterable[Write], indices: Collection[str]
) -> tuple[dict[DocKey, list[Step]], WriteRejected | None]:
    """The writes of each document, in log order, up to the first write that is wrong in itself, and that error.

    All writes of the event at fault are left out: an event's writes are there together or not at all.
    """
    chains: dict[DocKey, list[Step]] = {}
    for offset, write in zip(offsets, writes, strict=True):
        assert isinstance(write, _WRITES)  # core.plan lets nothing else through
        problem = _problem(write, indices)
        if problem:
            return before(chains, offset), WriteRejected(problem, offset=offset)
        chains.setdefault((write.index, write.id), []).append((offset, write))
    return chains, None


def before(chains: Mapping[DocKey, list[Step]], offset: int) -> dict[DocKey, list[Step]]:
    """The part of each chain that is older than the event at ``offset``."""
    cut = ((key, [step for step in chain if step[0] < offset]) for key, chain in chains.items())
    return {key: chain for key, chain in cut if chain}


def _problem(write: IndexDoc | UpdateDoc | DeleteDoc, indices: Collection[str]) -> str:
    if write.index not in indices:
        return f"expected an index of this store ({', '.join(sorted(indices))}), found {write.index!r}"
    if type(write.id) is not str or not write.id:
        return f"expected a document id, a non-empty string, found {write.id!r}"
    if write.id == POSITION_ID:
        return f"the document id {POSITION_ID!r} belongs to logsync"
    try:
        if len(write.id.encode()) > 512:
            return f"expected a document id of at most 512 bytes, found {len(write.id.encode())}"
    except UnicodeEncodeError:
        return f"the document id {write.id!r} is not Unicode text"
    if type(write) is IndexDoc:
        return _bad_fields("doc", write.doc)
    if type(write) is UpdateDoc:
        problem = _bad_fields("set", write.set) or _bad_fields("add", write.add)
        if problem:
            return problem
        for name, by in write.add.items():
            if type(by) is not int:  # floats depend on how the log is cut into batches (G4)
                return f"field {name!r}: expected an integer to add, found {type(by).__name__} {by!r}"
    return ""


def _bad_fields(what: str, fields: object) -> str:
    if type(fields) is not dict and not isinstance(fields, Mapping):
        return f"expected {what} as a mapping of field names, found {type(fields).__name__}"
    if HIDDEN in fields or POSITION in fields:
        return f"the fields {HIDDEN} and {POSITION} belong to logsync"
    return ""


def reads(chain: list[Step]) -> bool:
    """True if the result depends on the stored document: no write of the chain replaces it whole."""
    return all(type(write) is UpdateDoc for _, write in chain)


def pending(chain: list[Step], found: Found, epoch: int) -> list[Step]:
    """The steps whose events the stored document does not hold yet. # O3"""
    if found.version == 0:
        return chain
    horizon = (found.version - (epoch << _EPOCH)) >> _OFFSET  # negative: the document is of an older epoch
    return [step for step in chain if step[0] > horizon]


def fold(chain: list[Step], found: Found, epoch: int) -> Source:
    """The document after ``chain`` (already without what ``found`` holds). Raises WriteRejected.

    A stored document of an older epoch counts as absent: it is content from before a rebuild.
    """
    source = found.source if found.version >> _EPOCH == epoch else None
    for offset, write in chain:
        if type(write) is UpdateDoc:
            source = dict(source or ())
            source.update(write.set)
            for name, by in write.add.items():
                value = source.get(name, 0)
                if type(value) is not int:
                    raise WriteRejected(
                        f"document {write.id!r} of {write.index}, field {name!r}: expected an integer to add to, "
                        f"found {type(value).__name__} {value!r}",
                        offset=offset,
                    )
                source[name] = value + by
        else:
            source = dict(write.doc) if isinstance(write, IndexDoc) else None
    return TOMBSTONE if source is None else source


def render(key: DocKey, chain: list[Step], found: Found, epoch: int) -> Doc | None:
    """The document to send, or None if the stored one holds it all. Raises WriteRejected for the first bad event."""
    todo = pending(chain, found, epoch)
    if not todo:
        return None
    source = fold(todo, found, epoch)
    try:
        body = encode(source)
    except (TypeError, ValueError, RecursionError):
        raise _not_json(key, todo, found, epoch) from None
    return Doc(key, version(epoch, todo[-1][0]), body)


def prefixes(chain: list[Step]) -> Iterator[list[Step]]:
    """The chain up to each of its events, shortest first."""
    done: list[Step] = []
    for _, steps in groupby(chain, key=lambda step: step[0]):
        done = [*done, *steps]
        yield done


def _not_json(key: DocKey, todo: list[Step], found: Found, epoch: int) -> WriteRejected:
    for prefix in prefixes(todo):
        try:
            encode(fold(prefix, found, epoch))
        except (TypeError, ValueError, RecursionError) as error:
            offset, found_error = prefix[-1][0], error
            break
    return WriteRejected(f"document {key[1]!r} of {key[0]}: not JSON: {found_error}", offset=offset)


def _default(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    # A set has no order: two workers would write two different documents for one event (I5).
    raise TypeError(f"expected str, int, float, bool, None, list, dict, date or Decimal, found {type(value).__name__}")


# The standard encoder and not a faster one: it refuses NaN, sets and bytes, which would otherwise be guessed at.
_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_default
).encode


def encode(source: Source) -> bytes:
    """The document as JSON. Raises TypeError, ValueError (also for lone surrogates), RecursionError."""
    return _encode(source).encode()
