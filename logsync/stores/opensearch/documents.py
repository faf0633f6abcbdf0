"""Documents read and written by id, in bulk, each answer judged by itself. Knows nothing of plans."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict
from logsync.stores.opensearch import bulk, fold
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.errors import TooLarge, Verdict, raised, verdict
from logsync.stores.opensearch.fold import Doc, DocKey, Source, StoredDoc
from logsync.stores.opensearch.indices import checked
from logsync.stores.opensearch.layout import Layout

_READ_AT_ONCE = 5_000  # documents per mget
_FROM_PRIMARY = {"preference": "_primary"}
"""A copy may be behind, above all where whole segments are replicated, and a counter is built on what is read."""


class Releasing(NamedTuple):
    """A release that has begun, the documents that it writes, and the generation in which only it writes them."""

    offset: int
    ids: tuple[str, ...]
    generation: int


class Mark(NamedTuple):
    """The position document of one index, and what a compare-and-set on it needs."""

    positions: dict[int, Position]
    generation: int = 0
    releasing: Releasing | None = None
    noted: int = 0
    """A plan up to this offset has begun to park what the store refused. Until the position is there, nobody can tell
    what of it is done, and every plan works in a generation of its own."""
    seq_no: int | None = None  # None: the document is missing
    term: int | None = None

    def at(self, end: Position) -> Mark:
        return self._replace(positions={**self.positions, end.partition: end})

    def behind(self, end: Position) -> bool:
        """True unless the index stands there or further: after a crash or a restore of another one. # O2"""
        return self.positions[end.partition].place[1:] < end.place[1:]


class Stored(NamedTuple):
    """One of logsync's own documents as it was read, and what a compare-and-set on it needs."""

    source: Source
    seq_no: int
    term: int


class Documents:
    """The documents of one layout."""

    def __init__(self, client: OpenSearchClient, layout: Layout) -> None:
        self._client, self._layout = client, layout

    def marks(self, epoch: int) -> dict[str, Mark | None]:
        """The position document of every index by its name; None where the index itself is missing."""
        marks: dict[str, Mark | None] = {}
        for name, answer in zip(self._layout.names, self.mget(self._wanted_marks(epoch)), strict=True):
            try:
                marks[name] = _mark(checked(answer))
            except PositionConflict:
                marks[name] = None
        return marks

    def read(self, epoch: int, keys: Collection[DocKey]) -> tuple[dict[str, Mark], dict[DocKey, StoredDoc]]:
        """Positions and documents in one request. Raises PositionConflict if an index is missing.

        Read again for every plan and never remembered. After a restore of the index, a remembered position would let a
        plan write versions that claim events which the restored documents do not hold. # I2
        """
        layout = self._layout
        wanted = self._wanted_marks(epoch)
        wanted += [{"_index": layout.writer(name, epoch), "_id": doc_id} for name, doc_id in keys]
        answers = self.mget(wanted)
        marks = {name: _mark(checked(next(answers))) for name in layout.names}
        found = {}
        for key, answer in zip(keys, answers, strict=True):
            if checked(answer).get("found"):
                source = answer["_source"]
                found[key] = StoredDoc(answer["_version"], None if fold.HIDDEN in source else source)
        return marks, found

    def own(self, epoch: int, doc_id: str) -> dict[str, Stored]:
        """One of logsync's own documents, by the name of each index that has it."""
        names = self._layout.names
        answers = self.mget([{"_index": self._layout.writer(name, epoch), "_id": doc_id} for name in names])
        return {
            name: Stored(answer["_source"], answer["_seq_no"], answer["_primary_term"])
            for name, answer in zip(names, answers, strict=True)
            if checked(answer).get("found")
        }

    def mget(self, wanted: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Documents by id, in this order, as they are now: no refresh is needed (realtime)."""
        for start in range(0, len(wanted), _READ_AT_ONCE):
            body = json.dumps({"docs": wanted[start : start + _READ_AT_ONCE]}).encode()
            answers = self._client.request("POST", "/_mget", body, params=_FROM_PRIMARY).get("docs", ())
            if len(answers) != len(wanted[start : start + _READ_AT_ONCE]):
                raise raised(Verdict.UNAVAILABLE, "an answer with documents missing")
            for asked, answer in zip(wanted[start : start + _READ_AT_ONCE], answers, strict=True):
                if "_source" not in answer and answer.get("found") and "_source" not in asked:
                    what = f"index {answer.get('_index')} gives documents back without their _source"
                    raise ConfigError(what, fix="`logsync rebuild SINK --yes` makes a new index")
                yield answer

    def post(self, docs: Sequence[Doc], epoch: int) -> dict[DocKey, str]:
        """Write documents; return those that were refused for their own sake, with the reason.

        Raises before it returns any, if any item was turned away for another cause: a 429 on one item and success
        on another is no order to rely on, so the whole plan is sent again, and what is there answers 409.
        """
        aliases = {name: self._layout.writer(name, epoch) for name in self._layout.names}
        refused: dict[DocKey, str] = {}
        for doc, item in zip(docs, self.send(bulk.lines(docs, aliases)), strict=True) if docs else ():
            if item is bulk.DONE:
                continue
            if item.verdict is Verdict.REFUSED:
                refused[doc.key] = item.reason
            elif item.verdict not in (Verdict.DONE, Verdict.CONFLICT):
                raise raised(item.verdict, f"document {doc.key[1]!r:.80} of {doc.key[0]}: {item.reason}")
        return refused

    def write_marks(self, epoch: int, marks: Mapping[str, Mark]) -> dict[str, Mark]:
        """Write position documents by compare-and-set, in one request; return them as they are now.

        Raises PositionConflict.
        """
        lines = []
        for name, mark in marks.items():
            body: Source = {str(number): position.to_dict() for number, position in mark.positions.items()}
            if mark.generation:
                body["generation"] = mark.generation
            if mark.releasing:
                body["releasing"] = mark.releasing
            if mark.noted:
                body["noted"] = mark.noted
            old = None if mark.seq_no is None or mark.term is None else (mark.seq_no, mark.term)
            lines.append(self.line(name, epoch, fold.POSITION_ID, {fold.HIDDEN: "position", fold.POSITION: body}, old))
        items = self.put(lines, f"position of sink {self._layout.sink}") if lines else []
        return {
            name: mark._replace(seq_no=item.seq_no, term=item.term)
            for (name, mark), item in zip(marks.items(), items, strict=True)
        }

    def line(self, name: str, epoch: int, doc_id: str, source: Source, old: tuple[int, int] | None) -> bytes:
        """One of logsync's own documents for :meth:`put`: over what was read as ``old``, or new if None."""
        head: dict[str, Any] = {"_index": self._layout.writer(name, epoch), "_id": doc_id}
        if old is not None:
            head |= {"if_seq_no": old[0], "if_primary_term": old[1]}
        action = {"create" if old is None else "index": head}
        return f"{json.dumps(action)}\n{json.dumps(source)}\n".encode()

    def put(self, lines: Iterable[bytes], what: str) -> list[bulk.Item]:
        """Write logsync's own documents. Raises PositionConflict if one is not as it was read."""
        items = self.send(lines, bulk.NUMBERED)
        for item in items:
            if item.verdict is not Verdict.DONE:
                raise raised(item.verdict, f"{what}: {item.reason}")
        return items

    def send(self, lines: Iterable[bytes], params: Mapping[str, str] = bulk.BRIEF) -> list[bulk.Item]:
        answers: list[bulk.Item] = []
        for chunk in bulk.chunks(lines):
            answers += self._send(chunk, params)
        return answers

    def _send(self, chunk: Sequence[bytes], params: Mapping[str, str]) -> Sequence[bulk.Item]:
        # Waiting for a shard on the server ends before waiting for the server does: then the outcome is known.
        limits = {**params, "timeout": f"{max(1, int(self._client.remaining * 500))}ms"}
        try:
            answer = self._client.request("POST", "/_bulk", b"".join(chunk), params=limits, writing=True)
        except TooLarge as error:
            if len(chunk) == 1:
                return [bulk.Item(verdict(413, None), f"{error.message}, {len(chunk[0]):,} bytes")]
            middle = len(chunk) // 2
            return [*self._send(chunk[:middle], params), *self._send(chunk[middle:], params)]
        if params is not bulk.BRIEF:
            return bulk.items(answer, len(chunk))
        return [bulk.DONE] * len(chunk) if answer.get("errors") is False else self._send(chunk, bulk.PARAMS)

    def _wanted_marks(self, epoch: int) -> list[dict[str, str]]:
        return [{"_index": self._layout.writer(name, epoch), "_id": fold.POSITION_ID} for name in self._layout.names]


def _mark(answer: Mapping[str, Any]) -> Mark:
    if not answer.get("found"):
        return Mark({})
    fields = dict(answer["_source"].get(fold.POSITION, {}))
    generation, noted = fields.pop("generation", 0), fields.pop("noted", 0)
    releasing = fields.pop("releasing", None) or fields.pop("draining", None)  # as earlier builds wrote it
    return Mark(
        {int(number): Position.from_dict(position) for number, position in fields.items()},
        generation,
        Releasing(releasing[0], tuple(releasing[1]), releasing[2]) if releasing else None,
        noted,
        answer["_seq_no"],
        answer["_primary_term"],
    )


def lowest(marks: Mapping[str, Mark | None]) -> dict[int, Position]:
    """The position that every index has reached, per partition that every index knows. # O2"""
    found = [mark.positions if mark else {} for mark in marks.values()]
    partitions = set.intersection(*(set(positions) for positions in found))
    return {
        number: min((positions[number] for positions in found), key=lambda position: position.place)
        for number in sorted(partitions)
    }


def compare(start: Position, marks: Mapping[str, Mark]) -> None:
    """Raises PositionConflict unless the sink stands at ``start``."""
    stored = lowest(marks).get(start.partition)
    if stored is None or stored.place != start.place:
        raise PositionConflict(f"expected the position {start}, found {stored}")
