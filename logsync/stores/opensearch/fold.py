"""Pure: what a document is after the writes of a batch, and the version that says so.

# O3: a document at version v IS the fold of all its events up to v. So the version of a stored document tells
which events it already holds, however often and in whatever batches they arrive; that makes ``UpdateDoc`` and
its counters exact, and every replay a no-op.

# O4: parked events break this. What "all its events" are changes when one is released, or when one of a batch is
refused and parked. A worker that does not know of such a change yet would write what has become wrong, at a version
that no document has passed. So each such change begins a *generation* of the index, and a generation moves all versions
up by more than any plan spans: nothing that was planned before it can replace a document that was written in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from logsync.core.write import Write
from logsync.errors import ConfigError, WriteRejected
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

# 11 bits of epoch; 40 of offset + generation * REACH; 12 of the generation's last digits, from which both are found
# again. The sign bit stays free.
_EPOCH, _OFFSET = 52, 12
MAX_EPOCH, MAX_OFFSET, _SUB = (1 << 11) - 1, (1 << 40) - 1, (1 << 12) - 1
REACH = 1 << 17
"""Offsets that one plan may span: beyond the most records of a batch. It leaves 8 million generations."""
_NEWER = 1 << 10  # generations that a document may be ahead of the position that it is read with

HIDDEN = "logsync_hidden"  # "deleted", "position", "parked:...": readers do not see the document
POSITION = "logsync_position"  # the body of logsync's own documents; not indexed
POSITION_ID = "logsync-position"
PARKED_ID = "logsync-parked-"
TOMBSTONE: dict[str, Any] = {HIDDEN: "deleted"}

DocKey = tuple[str, str]  # index (the name that handlers use), document id
Step = tuple[int, IndexDoc | UpdateDoc | DeleteDoc]  # the event's offset, and what it does to the document
Source = dict[str, Any]


_WRITES = (IndexDoc, UpdateDoc, DeleteDoc)


class StoredDoc(NamedTuple):
    """A stored document. ``source`` is None for a tombstone, and for one that was never there."""

    version: int = 0
    source: Source | None = None


ABSENT = StoredDoc()


class Era(NamedTuple):
    """What a writer stamps the documents of one index with."""

    epoch: int
    generation: int = 0

    def version(self, offset: int) -> int:
        """The version of a document that holds all its events up to ``offset``. Raises ConfigError."""
        epoch, generation = self
        return version(epoch, offset + generation * REACH, generation & _SUB)

    def stamp(self, found: StoredDoc) -> tuple[int, int]:
        """The generation that wrote a document, and the last offset that it covers.

        (-1, -1) if there is none, or only one of an older epoch.
        """
        if found.version >> _EPOCH != self.epoch:
            return -1, -1
        clock = (found.version >> _OFFSET) & MAX_OFFSET
        newer = (found.version - self.generation) & _SUB
        generation = self.generation + (newer if newer < _NEWER else newer - _SUB - 1)
        return generation, clock - generation * REACH

    @property
    def next(self) -> Era:
        return self._replace(generation=self.generation + 1)


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
            fix="`logsync rebuild SINK --yes` starts the offsets anew; after the last epoch, delete the sink's indices "
            "and its document in the index `logsync` as well",
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
        return f"expected an index of this store ({', '.join(sorted(indices))}), found {write.index!r:.80}"
    doc_id = write.id
    if type(doc_id) is not str or not doc_id:
        return f"expected a document id, a non-empty string, found {type(doc_id).__name__} {doc_id!r:.80}"
    if doc_id == POSITION_ID or doc_id.startswith(PARKED_ID):
        return f"the document id {doc_id!r:.80} belongs to logsync"
    if not doc_id.isascii() or len(doc_id) > 512:
        try:
            size = len(doc_id.encode())
        except UnicodeEncodeError:
            return f"the document id {doc_id!r:.80} is not Unicode text"
        if size > 512:
            return f"expected a document id of at most 512 bytes, found {size}"
    if type(write) is IndexDoc:
        return _bad_fields("doc", write.doc)
    if type(write) is UpdateDoc:
        problem = _bad_fields("set", write.set) or _bad_fields("add", write.add)
        if problem:
            return problem
        for name, by in write.add.items():
            if type(by) is not int:  # floats depend on how the log is cut into batches (G4)
                return f"field {name!r:.80}: expected an integer to add, found {type(by).__name__}"
    return ""


def _bad_fields(what: str, fields: object) -> str:
    if type(fields) is not dict and not isinstance(fields, Mapping):
        return f"expected {what} as a mapping of field names, found {type(fields).__name__}"
    if HIDDEN in fields or POSITION in fields:
        return f"the fields {HIDDEN} and {POSITION} belong to logsync"
    return ""


def reads(chain: list[Step]) -> bool:
    """True if the result may depend on the stored document: unless the last write replaces it whole.

    A full write before the last one does not help: an index that is ahead has it already and continues from it. # O2
    """
    return type(chain[-1][1]) is UpdateDoc


def unseen(chains: Mapping[DocKey, list[Step]], start: int, since: Mapping[str, int]) -> dict[DocKey, list[Step]]:
    """The chains without what lies before an index's own position (``since``): it is a fold of its own. # O2"""
    if max(since.values()) == start:
        return dict(chains)
    cut = ((key, [step for step in chain if step[0] >= since[key[0]]]) for key, chain in chains.items())
    return {key: chain for key, chain in cut if chain}


def pending(chain: list[Step], found: StoredDoc, era: Era) -> list[Step]:
    """The steps whose events the stored document does not hold yet. # O3"""
    horizon = era.stamp(found)[1]
    return [step for step in chain if step[0] > horizon]


def fold(chain: list[Step], found: StoredDoc, epoch: int) -> Source:
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
                        f"document {write.id!r:.80} of {write.index}, field {name!r:.80}: expected an integer to add "
                        f"to, found {type(value).__name__}",  # never the value: messages go into logs
                        offset=offset,
                    )
                source[name] = value + by
        else:
            source = dict(write.doc) if isinstance(write, IndexDoc) else None
    return TOMBSTONE if source is None else source


def render(key: DocKey, chain: list[Step], found: StoredDoc, era: Era) -> Doc | None:
    """The document to send, or None if the stored one holds it all. Raises WriteRejected for the first bad event."""
    todo = pending(chain, found, era) if found.version else chain
    return Doc(key, era.version(todo[-1][0]), _body(key, todo, found, era.epoch)) if todo else None


def late(key: DocKey, steps: list[Step], found: StoredDoc, era: Era, next_offset: int) -> Doc:
    """The stored document and the ``steps`` of an event from before it, in a generation that nobody wrote in before.

    Without steps this is the same document, sealed against whatever was planned in older generations. ``next_offset``
    is the position of the index: the document holds its events up to there, and possibly more. # O4
    """
    held = max(era.stamp(found)[1], next_offset - 1)
    return Doc(key, era.version(held), _body(key, steps, found, era.epoch))


def _body(key: DocKey, steps: list[Step], found: StoredDoc, epoch: int) -> bytes:
    try:
        if len(steps) == 1 and type(steps[0][1]) is IndexDoc:  # nearly always
            return encode(steps[0][1].doc)
        return encode(fold(steps, found, epoch))
    except (TypeError, ValueError, RecursionError):
        raise _not_json(key, steps, found, epoch) from None


def prefixes(chain: list[Step]) -> Iterator[list[Step]]:
    """The chain up to each of its events, shortest first."""
    done: list[Step] = []
    for _, steps in groupby(chain, key=lambda step: step[0]):
        done = [*done, *steps]
        yield done


def _not_json(key: DocKey, todo: list[Step], found: StoredDoc, epoch: int) -> WriteRejected:
    for prefix in prefixes(todo):
        try:
            encode(fold(prefix, found, epoch))
        except (TypeError, ValueError, RecursionError) as error:
            offset, found_error = prefix[-1][0], error
            break
    return WriteRejected(f"document {key[1]!r:.80} of {key[0]}: not JSON: {found_error!s:.200}", offset=offset)


def _default(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    # A set has no order: two workers would write two different documents for one event (I5).
    raise TypeError(f"expected str, int, float, bool, None, list, dict, date or Decimal, found {type(value).__name__}")


_NAMES, _PLAIN = frozenset({str}), frozenset({str, int, bool, type(None)})
# The standard encoder and not a faster one: it refuses NaN, sets and bytes instead of guessing what they mean.
_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=_default
).encode


def encode(source: Mapping[str, Any]) -> bytes:
    """The document as JSON. Raises TypeError, ValueError (also for lone surrogates), RecursionError."""
    if type(source) is dict and _NAMES.issuperset(map(type, source)) and _PLAIN.issuperset(map(type, source.values())):
        return to_json(source)  # of these types it makes what the standard encoder makes, in a third of the time
    return _encode(source if isinstance(source, dict) else dict(source)).encode()
