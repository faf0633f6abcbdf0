"""The OpenSearch store: versioned documents first, then the position, each safe to repeat.

What is written where, and why nobody can do harm:

- Documents carry the version ``epoch | offset | sub`` of their last event (O3, O4). A replay, a late request and a
  worker that lost its partition get 409 from every document that is newer, and 409 is success.
- Each index holds its own position (O2), so a restored index brings its position back with it; the sink
  resumes at the lowest. It moves by compare-and-set on its sequence number, after the documents.
- Every request goes through an alias of the epoch, ``require_alias``: a worker from before a rebuild has none.

The grade's limit, once: documents are no transaction. While the position stands before a batch (crash, refused
write), documents may be ahead of it; they hold what the log says at a later offset, and replaying changes nothing.
Of an event that is refused, the documents that were accepted hold its effect already.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from logsync.core.book import Book
from logsync.core.finding import Examined
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict, WriteRejected
from logsync.settings import Settings
from logsync.stores.opensearch import bulk, fold
from logsync.stores.opensearch.client import Client, parse
from logsync.stores.opensearch.errors import Verdict, raised
from logsync.stores.opensearch.fold import ABSENT, Doc, DocKey, Found, Step
from logsync.stores.opensearch.indices import Indices, checked
from logsync.stores.opensearch.layout import FILTER, Layout
from logsync.writes import Write
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

log = logging.getLogger("logsync.stores.opensearch")
_READ_AT_ONCE = 5_000  # documents per mget


class Mark(NamedTuple):
    """The stored position document of one index, and what a compare-and-set on it needs."""

    positions: dict[int, Position]
    seq_no: int | None = None  # None: the document is missing
    term: int | None = None


class OpenSearch:
    """A sink's content in OpenSearch. Grade: replayable; one partition only (O5).

    ``indices`` maps the names that handlers and readers use to ``{"settings": ..., "mappings": ...}``, or to a JSON
    file of that. ``url`` defaults to ``LOGSYNC_OPENSEARCH``; ``?prefix=name-`` in it goes before every name.
    """

    kind = "opensearch"
    max_partitions = 1  # O5: offsets of two partitions do not compare, and a document has one version
    accepts: frozenset[type[Write]] = frozenset({IndexDoc, UpdateDoc, DeleteDoc})

    def __init__(self, url: str | None = None, *, indices: Mapping[str, Mapping[str, Any] | Path]) -> None:
        if not indices:
            raise ConfigError(
                "OpenSearch(indices={}): a sink keeps its position inside its indices, so it needs one",
                fix='OpenSearch(indices={"products": {"mappings": {...}}})',
            )
        self._url, self._declared = url, dict(indices)
        self._client: Client | None = None
        self._layout = Layout("", "", {})
        self._indices: Indices | None = None

    def open(self, sink: str, settings: Settings) -> None:
        """Connect; make or update the indices and aliases. Raises StoreUnavailable, ConfigError.

        Indices are made only for a sink without a book. Where a book exists, a missing index is an accident or a
        new name, and an empty one in its place would look whole.
        """
        self._connect(sink, settings)
        indices, _ = self._layout_io
        try:
            with self._opened.bound():
                indices.ensure_books()
                book = self._read_book()[0]
                if book is not None:
                    if book.state == "ready":
                        indices.update(book.epoch)
                elif indices.owned():
                    indices.check_names()  # content without a book: what it is worth is the caller's question (P1)
                else:
                    indices.ensure(1)
        except BaseException:
            self.close()
            raise

    def _connect(self, sink: str, settings: Settings) -> None:
        """Everything of ``open`` that asks the server nothing."""
        self.close()
        hosts, prefix = parse(self._url or settings.opensearch.get_secret_value())
        self._layout = Layout(prefix, sink, self._declared)
        self._client = Client(hosts, settings.store_timeout)
        self._indices = Indices(self._client, self._layout)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._indices = None

    # The book

    def read_book(self) -> Book | None:
        with self._opened.bound():
            return self._read_book()[0]

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        """Replace the book, after the positions if they are given.

        # Positions first, the book second; a crash in between leaves
        # - a first claim: positions without a book. They are not read without one; the next claim replaces them.
        # - a rebuild's start: a book that is "ready" without positions. Workers refuse it; rebuild goes on.
        # - a rebuild's end: positions of the new epoch and a book that says "wiping". Workers refuse; rebuild again.
        # - positions of another log (adopt): the book still names the old log. Workers refuse; adopt again.
        # The other order would leave a valid book over the old positions.
        # Two at once: the book is read before AND after the positions' sequence numbers. So a loser either sees
        # the winner's book, or its compare-and-set on a position that the winner has moved since fails.
        """
        indices, layout = self._layout_io
        with self._opened.bound():
            stored, seq_no, term = self._stored_before(book)
            if positions is not None:
                epoch = book.epoch if positions else (stored.epoch if stored else book.epoch)
                if positions:
                    indices.ensure(epoch)
                marks = self._marks(epoch)
                if self._stored_before(book)[1:] != (seq_no, term):
                    raise PositionConflict(f"the book of sink {layout.sink} was just written by somebody else")
                moved = {number.partition: number for number in positions}
                self._write_marks(epoch, {name: (mark, moved) for name, mark in marks.items() if mark is not None})
            source = {"sink": layout.sink, "revision": book.revision, "book": book.model_dump(mode="json")}
            if seq_no is None:
                path, params = f"/{layout.books}/_create/{layout.sink}", {"require_alias": "true"}
            else:
                path = f"/{layout.books}/_doc/{layout.sink}"
                params = {"require_alias": "true", "if_seq_no": str(seq_no), "if_primary_term": str(term)}
            # A 409 leaves as PositionConflict: somebody wrote the book since it was read.
            if "error" in self._opened.request("PUT", path, source, params=params, ignore=(404,), writing=True):
                raise ConfigError(
                    f"the index of books, {layout.books_index}, was deleted", fix="start again: opening makes it"
                )

    def _stored_before(self, book: Book) -> tuple[Book | None, int | None, int | None]:
        stored, seq_no, term = self._read_book()
        found = stored.revision if stored else 0
        if found != book.revision - 1:
            raise PositionConflict(
                f"book of sink {self._layout.sink}: expected revision {book.revision - 1}, found {found}"
            )
        return stored, seq_no, term

    def _read_book(self) -> tuple[Book | None, int | None, int | None]:
        layout = self._layout
        answer = self._opened.request("GET", f"/{layout.books}/_doc/{layout.sink}", ignore=(404,))
        if not answer.get("found"):
            return None, None, None
        try:
            book = Book.model_validate(answer["_source"]["book"])
        except (KeyError, ValidationError) as error:
            raise ConfigError(
                f"the book of sink {layout.sink} in index {layout.books_index} cannot be read: {error}",
                fix="upgrade logsync, if a newer one wrote it",
            ) from error
        return book, answer["_seq_no"], answer["_primary_term"]

    # Positions

    def positions(self) -> dict[int, Position]:
        """The lowest position over the sink's indices; none, if one index has none: it lacks events. # O2"""
        with self._opened.bound():
            book = self._read_book()[0]
            if book is None:
                return {}
            marks = self._marks(book.epoch)
            lost = sorted(name for name, mark in marks.items() if mark is None or not mark.positions)
            if lost and len(lost) < len(marks):
                log.warning("position is missing", extra={"sink": self._layout.sink, "indices": lost})
            return _lowest(marks)

    def _marks(self, epoch: int) -> dict[str, Mark | None]:
        """The position document of every index by its name; None where the index itself is missing."""
        layout = self._layout
        wanted = [{"_index": layout.writer(name, epoch), "_id": fold.POSITION_ID} for name in layout.names]
        marks: dict[str, Mark | None] = {}
        for name, answer in zip(layout.names, self._mget(wanted), strict=True):
            try:
                marks[name] = _mark(checked(answer))
            except PositionConflict:
                marks[name] = None
        return marks

    def _write_marks(self, epoch: int, moves: Mapping[str, tuple[Mark, Mapping[int, Position]]]) -> None:
        """Move the positions of these indices by compare-and-set, in one request. Raises PositionConflict."""
        lines = []
        for name, (mark, positions) in moves.items():
            head = {"_index": self._layout.writer(name, epoch), "_id": fold.POSITION_ID}
            if mark.seq_no is None:
                action: dict[str, Any] = {"create": head}
            else:
                action = {"index": {**head, "if_seq_no": mark.seq_no, "if_primary_term": mark.term}}
            fields = {str(number): position.to_dict() for number, position in positions.items()}
            source = {fold.HIDDEN: "position", fold.POSITION: fields}
            lines.append(f"{json.dumps(action)}\n{json.dumps(source)}\n".encode())
        for (name, _), item in zip(moves.items(), self._send(lines), strict=True) if lines else ():
            if item.verdict is not Verdict.DONE:
                raise raised(item.verdict, f"position of sink {self._layout.sink} in {name}: {item.reason}")

    # Applying

    def apply(self, plan: Plan) -> None:
        """Write the plan's documents, then the position: returns when both are on disk. # I4

        Raises PositionConflict, StoreUnavailable, StoreOutcomeUnknown: replaying the plan is then a no-op for
        what was written. Raises WriteRejected for the first event in log order that is refused; other documents
        of the plan may be written by then, each at the version that its content stands for.
        """
        epoch = plan.start.epoch
        with self._opened.bound():
            chains, rejected = fold.gather(plan.offsets, plan.writes, self._layout.bodies)
            marks, found = self._read(epoch, chains)
            _compare(plan.start, marks)
            chains, docs, rejected = _render(chains, found, epoch, rejected)
            self._write_docs(chains, docs, found, epoch)
            if rejected is not None:
                raise rejected
            # O2: an index that a crash left ahead of the others keeps its position until they have caught up.
            end = {plan.end.partition: plan.end}
            behind = {
                name: (mark, {**mark.positions, **end})
                for name, mark in marks.items()
                if mark.positions[plan.end.partition].next_offset < plan.end.next_offset
            }
            self._write_marks(epoch, behind)

    def _read(self, epoch: int, chains: Mapping[DocKey, list[Step]]) -> tuple[dict[str, Mark], dict[DocKey, Found]]:
        """The positions and the documents that the plan builds on, in one request. Raises PositionConflict.

        Asked anew for every plan and never remembered: after a restore of the index a remembered position would
        let this plan write versions that claim events which the restored documents do not hold. # I2
        """
        layout = self._layout
        keys = [key for key, chain in chains.items() if fold.reads(chain)]
        wanted = [{"_index": layout.writer(name, epoch), "_id": fold.POSITION_ID} for name in layout.names]
        wanted += [{"_index": layout.writer(name, epoch), "_id": doc_id} for name, doc_id in keys]
        answers = self._mget(wanted)
        marks = {name: _mark(checked(next(answers))) for name in layout.names}
        found = {}
        for key, answer in zip(keys, answers, strict=True):
            if checked(answer).get("found"):
                source = answer["_source"]
                found[key] = Found(answer["_version"], None if fold.HIDDEN in source else source)
        return marks, found

    def _write_docs(
        self, chains: Mapping[DocKey, list[Step]], docs: list[Doc], found: Mapping[DocKey, Found], epoch: int
    ) -> None:
        """Send all documents. Raises WriteRejected for the first event at fault, or what else the answers say."""
        refused = self._post(docs, epoch)
        if not refused:
            return
        best: WriteRejected | None = None
        # A document's fault is one of its events: which one, the server tells when they are given one by one.
        todo = ((fold.pending(chains[key], found.get(key, ABSENT), epoch), key, why) for key, why in refused.items())
        for steps, key, why in sorted(todo, key=lambda entry: entry[0][0][0]):
            if best is not None and steps[0][0] >= best.offset:
                break
            fault = self._at_fault(key, steps, why, found.get(key, ABSENT), epoch)
            if fault is not None and (best is None or fault.offset < best.offset):
                best = fault
        if best is not None:
            raise best

    def _at_fault(self, key: DocKey, steps: list[Step], why: str, found: Found, epoch: int) -> WriteRejected | None:
        """The first event of a refused document whose effect is refused; None if it is accepted by now.

        Each prefix that is accepted stays: at its version it is what the document has to be. # O3
        """
        for prefix in fold.prefixes(steps):
            if prefix[0][0] != steps[-1][0]:  # several events: ask; a single one was asked already
                doc = fold.render(key, prefix, found, epoch)
                answer = self._post([doc], epoch) if doc is not None else {}
                if not answer:
                    continue
                why = answer[key]
            return WriteRejected(f"document {key[1]!r} of {key[0]}: {why}", offset=prefix[-1][0])
        return None

    def _post(self, docs: Sequence[Doc], epoch: int) -> dict[DocKey, str]:
        """Write documents; return those that were refused for their own sake, with the reason.

        Raises before it returns any, if any item was turned away for another cause: a 429 on one item and success
        on another is no order to rely on, so the whole plan is sent again, and what is there answers 409.
        """
        aliases = {name: self._layout.writer(name, epoch) for name in self._layout.names}
        refused: dict[DocKey, str] = {}
        for doc, item in zip(docs, self._send(bulk.lines(docs, aliases)), strict=True) if docs else ():
            if item.verdict is Verdict.REFUSED:
                refused[doc.key] = item.reason
            elif item.verdict not in (Verdict.DONE, Verdict.CONFLICT):
                raise raised(item.verdict, f"document {doc.key[1]!r} of {doc.key[0]}: {item.reason}")
        return refused

    def _send(self, lines: Iterator[bytes] | list[bytes]) -> list[bulk.Item]:
        answers: list[bulk.Item] = []
        for chunk in bulk.chunks(lines):
            # Waiting for a shard on the server ends before waiting for the server does: then the outcome is known.
            params = {**bulk.PARAMS, "timeout": f"{max(1, int(self._opened.remaining * 500))}ms"}
            answer = self._opened.request("POST", "/_bulk", b"".join(chunk), params=params, writing=True)
            answers += bulk.items(answer, len(chunk))
        return answers

    def _mget(self, wanted: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
        """Documents by id, in this order, as they are now: no refresh is needed (realtime)."""
        for start in range(0, len(wanted), _READ_AT_ONCE):
            body = json.dumps({"docs": wanted[start : start + _READ_AT_ONCE]}).encode()
            answers = self._opened.request("POST", "/_mget", body).get("docs", ())
            if len(answers) != len(wanted[start : start + _READ_AT_ONCE]):
                raise raised(Verdict.UNAVAILABLE, "an answer with documents missing")
            yield from answers

    # Content as a whole

    def holds_data(self) -> bool:
        """True if a reader could see a document in any index of the sink. Tombstones and positions are none. # P1"""
        indices, _ = self._layout_io
        with self._opened.bound():
            return indices.count(sorted(indices.owned()), FILTER) > 0

    def wipe(self) -> None:
        """Replace the indices by empty ones of the book's epoch, and delete all others that this sink made.

        Readers' names lead to the old index until the new one is there. Without a book, only deletes.
        """
        indices, layout = self._layout_io
        with self._opened.bound():
            book, owned = self._read_book()[0], indices.owned()
            keep: set[str] = set()
            if book is not None:
                keep = {layout.index(name, book.epoch) for name in layout.names}
                # Of this epoch only when a wipe is repeated: keep it if it is as new, else it goes as well.
                used = sorted(index for index in keep & owned.keys() if indices.count([index], {"match_all": {}}))
                indices.delete(used)
                indices.ensure(book.epoch)
            indices.delete(sorted(owned.keys() - keep))

    def schema(self, sink: str = "", settings: Settings | None = None) -> str:
        """The requests that create the indices and aliases of a new sink, for a shell. Opens nothing.

        SINK stands for a sink's name that is not known. The prefix is that of the address.
        """
        url = self._url or (settings.opensearch.get_secret_value() if settings else "")
        prefix = parse(url)[1] if url else ""
        layout = self._layout if self._client else Layout(prefix, sink or "SINK", self._declared)
        requests: list[tuple[str, str, Mapping[str, Any]]] = [("PUT", layout.books_index, layout.books_body())]
        requests += [("PUT", layout.index(name, 1), layout.body(name, 1)) for name in layout.names]
        requests.append(("POST", "_aliases", {"actions": [layout.point_readers(name, 1) for name in layout.names]}))
        head = "# $OPENSEARCH is the server's address; SINK, where it appears, is the sink's name\n"
        return head + "\n".join(
            f"curl -X {method} \"$OPENSEARCH/{path}\" -H 'Content-Type: application/json' -d @- <<'JSON'\n"
            f"{json.dumps(body, indent=2)}\nJSON"
            for method, path, body in requests
        )

    def examine(self, sink: str, settings: Settings) -> Examined:
        from logsync.stores.opensearch.doctor import examine

        return examine(self, sink, settings)

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise ConfigError("the OpenSearch store is not open", fix="call open() first")
        return self._client

    @property
    def _layout_io(self) -> tuple[Indices, Layout]:
        if self._indices is None:
            raise ConfigError("the OpenSearch store is not open", fix="call open() first")
        return self._indices, self._layout

    def __repr__(self) -> str:
        return f"OpenSearch(indices={sorted(self._declared)})"


def _mark(answer: Mapping[str, Any]) -> Mark:
    if not answer.get("found"):
        return Mark({})
    fields = answer["_source"].get(fold.POSITION, {})
    positions = {int(number): Position.from_dict(position) for number, position in fields.items()}
    return Mark(positions, answer["_seq_no"], answer["_primary_term"])


def _lowest(marks: Mapping[str, Mark | None]) -> dict[int, Position]:
    """The position that every index has reached, per partition that every index knows."""
    found = [mark.positions if mark else {} for mark in marks.values()]
    partitions = set.intersection(*(set(positions) for positions in found))
    return {
        number: min((positions[number] for positions in found), key=lambda position: position.next_offset)
        for number in sorted(partitions)
    }


def _compare(start: Position, marks: Mapping[str, Mark]) -> None:
    stored = _lowest(marks).get(start.partition)
    if stored is None or (stored.epoch, stored.next_offset) != (start.epoch, start.next_offset):
        raise PositionConflict(f"expected the position {start}, found {stored}")


def _render(
    chains: dict[DocKey, list[Step]], found: Mapping[DocKey, Found], epoch: int, rejected: WriteRejected | None
) -> tuple[dict[DocKey, list[Step]], list[Doc], WriteRejected | None]:
    """The documents to send. If an event is wrong, only what is older than it, and that event's error."""
    docs: list[Doc] = []
    worst = rejected
    for key, chain in chains.items():
        try:
            doc = fold.render(key, chain, found.get(key, ABSENT), epoch)
        except WriteRejected as error:
            if worst is None or error.offset < worst.offset:
                worst = error
        else:
            if doc is not None:
                docs.append(doc)
    if worst is rejected or worst is None:
        return chains, docs, rejected
    return _render(fold.before(chains, worst.offset), found, epoch, worst)
