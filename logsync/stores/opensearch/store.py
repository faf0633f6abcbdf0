"""The OpenSearch store: versioned documents first, then the position, each safe to repeat.

What is written where, and why no late or repeated request can do harm:

- Documents carry a version made of epoch, generation and the offset of their last event (O3, O4). A replay, a late
  request and a worker that lost its partition get 409 from every document that is newer, and 409 is success.
- Each index holds its own position (O2), so a restored index brings its position back with it; the sink
  resumes at the lowest. It moves by compare-and-set on its sequence number, after the documents.
- Every request goes through an alias of the epoch, ``require_alias``: a worker from before a rebuild has none.
- Parked events are documents of their own in each index (``waiting``), written before everything else of their plan.
  ``parking`` says how one is released exactly once.

The grade's limit, once: documents are no transaction. While the position stands before a batch (crash, refused
write), documents may be ahead of it; they hold what the log says at a later offset, and replaying changes nothing.
Of an event that is refused, the documents that were accepted hold its effect already.
"""

from __future__ import annotations

import json
import logging
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.write import Write
from logsync.errors import ConfigError, PositionConflict, WriteRejected
from logsync.stores.opensearch import fold, waiting
from logsync.stores.opensearch.client import Client, parse
from logsync.stores.opensearch.documents import Documents, compare, lowest
from logsync.stores.opensearch.fold import ABSENT, Doc, DocKey, Era, Found, Step
from logsync.stores.opensearch.indices import Indices
from logsync.stores.opensearch.layout import FILTER, Layout
from logsync.stores.opensearch.parking import Parking
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

log = logging.getLogger("logsync.stores.opensearch")

_LOOK_EVERY = 30.0
"""Seconds between two looks at what the indices are, while plans are applied: settings can be changed at any time."""


class OpenSearch:
    """A sink's content in OpenSearch. Grade: replayable; one partition only (O5).

    ``indices`` maps the names that handlers and readers use to ``{"settings": ..., "mappings": ...}``, or to a JSON
    file of that. ``url`` defaults to ``LOGSYNC_OPENSEARCH``; ``?prefix=name-`` in it goes before every name.
    """

    kind = "opensearch"
    # O5: offsets of two partitions do not compare, and a document has one version.
    traits = Traits(atomic=False, most_partitions=1, parked_per_retry=1, content_knows_offsets=True)
    meanwhile: Callable[[], bool] | None = None
    accepts: frozenset[type[Write]] = frozenset({IndexDoc, UpdateDoc, DeleteDoc})

    def __init__(self, url: str | None = None, *, indices: Mapping[str, Mapping[str, Any] | Path]) -> None:
        if not indices:
            raise ConfigError(
                "OpenSearch(indices={}): a sink keeps its position inside its indices, so it needs one",
                fix='OpenSearch(indices={"products": {"mappings": {...}}})',
            )
        self._url, self._declared = url, dict(indices)
        self._client: Client | None = None
        self._looked = -math.inf
        self._layout = Layout("", "", {})
        self._indices: Indices  # these four: from _connect on, and to be used while _opened has a client
        self._documents: Documents
        self._parking: Parking
        self._waiting: waiting.WaitingEvents

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect; make or update the indices and aliases. Raises StoreUnavailable, ConfigError.

        Indices are made only for a sink without a book. Where a book exists, a missing index is an accident or a
        new name, and an empty one in its place would look whole.
        """
        indices = self._connect(sink, settings)
        try:
            with self._opened.bound():
                self._looked = time.monotonic()
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

    def _connect(self, sink: str, settings: StoreSettings) -> Indices:
        """Everything of ``open`` that asks the server nothing."""
        self.close()
        hosts, prefix = parse(self._url or settings.address("opensearch"))
        return self._attach(Client(hosts, settings.store_timeout), Layout(prefix, sink, self._declared))

    def _attach(self, client: Client, layout: Layout) -> Indices:
        self._layout, self._client, self._indices = layout, client, Indices(client, layout)
        self._documents = Documents(client, layout)
        self._parking = Parking(layout, self._documents)
        self._waiting = waiting.WaitingEvents(client, layout, self._documents, self._indices)
        return self._indices

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

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
        layout = self._layout
        with self._opened.bound():
            stored, seq_no, term = self._stored_before(book)
            if positions is not None:
                epoch = book.epoch if positions else (stored.epoch if stored else book.epoch)
                if positions:
                    self._indices.ensure(epoch)
                marks = self._documents.marks(epoch)
                # O6: before anything is written to it, what an index is made of can be told from what documents add.
                self._indices.check(
                    epoch, fresh=[name for name, mark in marks.items() if mark is not None and mark.seq_no is None]
                )
                if self._stored_before(book)[1:] != (seq_no, term):
                    raise PositionConflict(f"the book of sink {layout.sink} was just written by somebody else")
                moved = {number.partition: number for number in positions}
                changed = {name: mark._replace(positions=moved) for name, mark in marks.items() if mark is not None}
                self._documents.write_marks(epoch, changed)
            source = {"sink": layout.sink, "revision": book.revision, "book": json.loads(book.dump())}
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
            raise book_conflict(self._layout.sink, book.revision - 1, found)
        return stored, seq_no, term

    def _read_book(self) -> tuple[Book | None, int | None, int | None]:
        layout = self._layout
        answer = self._opened.request("GET", f"/{layout.books}/_doc/{layout.sink}", ignore=(404,))
        if not answer.get("found"):
            return None, None, None
        book = Book.read(
            json.dumps(answer.get("_source", {}).get("book")), f"sink {layout.sink}: index {layout.books_index}"
        )
        return book, answer["_seq_no"], answer["_primary_term"]

    # Positions

    def positions(self) -> dict[int, Position]:
        """The lowest position over the sink's indices; none, if one index has none: it lacks events. # O2"""
        with self._opened.bound():
            book = self._read_book()[0]
            if book is None:
                return {}
            marks = self._documents.marks(book.epoch)
            lost = sorted(name for name, mark in marks.items() if mark is None or not mark.positions)
            if lost and len(lost) < len(marks):
                log.warning("position is missing", extra={"sink": self._layout.sink, "indices": lost})
            return lowest(marks)

    # Applying

    def check_writes(self, plan: Plan) -> None:
        """See ``logsync.core.store.ChecksWrites``: an index that is not declared, an id or a value that is none."""
        for offset, writes in plan.by_event():
            chains, rejected = fold.gather([offset] * len(writes), writes, self._declared)
            if rejected is not None:
                raise rejected
            for key, chain in chains.items():
                fold.render(key, chain, ABSENT, fold.Era(1))

    def apply(self, plan: Plan) -> None:
        """Write the plan's documents, then the position: returns when both are on disk. # I4

        Raises PositionConflict, StoreUnavailable, StoreOutcomeUnknown: replaying the plan is then a no-op for
        what was written. Raises WriteRejected for the first event in log order that is refused; other documents
        of the plan may be written by then, each at the version that its content stands for.
        """
        with self._opened.bound():
            if time.monotonic() - self._looked >= _LOOK_EVERY:
                self._indices.check(plan.start.epoch)
                self._looked = time.monotonic()
            if plan.released or plan.still_parked:
                self._parking.apply(plan)
            else:
                for part in _within_reach(plan):
                    self._apply(part)

    def _apply(self, plan: Plan) -> None:
        start, end = plan.start, plan.end
        chains, rejected = fold.gather(plan.offsets, plan.writes, self._layout.bodies)
        keys = {key for key, chain in chains.items() if fold.reads(chain)} | self._parking.targets(plan).keys()
        marks, found = self._documents.read(start.epoch, keys)
        compare(start, marks)
        if self._parking.settle(start, marks):
            self._apply(plan)
            return
        newer = self._parking.generation(plan, marks)
        if newer is not None:
            # Also what no write of this plan reads: in a new generation it could go over what holds later events. # O4
            marks, (_, found) = newer, self._documents.read(start.epoch, chains.keys() | keys)
        if plan.parked:
            self._parking.park(plan, marks, found)
        eras = {name: Era(start.epoch, mark.generation) for name, mark in marks.items()}
        since = {name: mark.positions[start.partition].next_offset for name, mark in marks.items()}
        chains = fold.unseen(chains, start.next_offset, since)
        chains, docs, rejected = _render(chains, found, eras, rejected)
        self._write_docs(chains, docs, found, eras)
        if rejected is not None:
            raise rejected
        # O2: an index that a crash left ahead of the others keeps its position until they have caught up.
        behind = {name: mark.at(end) for name, mark in marks.items() if mark.behind(end)}
        self._documents.write_marks(start.epoch, behind)

    def _write_docs(
        self,
        chains: Mapping[DocKey, list[Step]],
        docs: list[Doc],
        found: Mapping[DocKey, Found],
        eras: Mapping[str, Era],
    ) -> None:
        """Send all documents. Raises WriteRejected for the first event at fault, or what else the answers say."""
        if not docs:
            return
        refused = self._documents.post(docs, eras[docs[0].key[0]].epoch)
        if not refused:
            return
        best: WriteRejected | None = None
        # A document's fault is one of its events: which one, the server tells when they are given one by one.
        todo = (
            (fold.pending(chains[key], found.get(key, ABSENT), eras[key[0]]), key, why) for key, why in refused.items()
        )
        for steps, key, why in sorted(todo, key=lambda entry: entry[0][0][0]):
            if best is not None and steps[0][0] >= best.offset:
                break
            fault = self._at_fault(key, steps, why, found.get(key, ABSENT), eras[key[0]])
            if fault is not None and (best is None or fault.offset < best.offset):
                best = fault
        if best is not None:
            raise best

    def _at_fault(self, key: DocKey, steps: list[Step], why: str, found: Found, era: Era) -> WriteRejected | None:
        """The first event of a refused document whose effect is refused; None if it is accepted by now.

        Each prefix that is accepted stays: at its version it is what the document has to be. # O3
        """
        for prefix in fold.prefixes(steps):
            if prefix[0][0] != steps[-1][0]:  # several events: ask; a single one was asked already
                doc = fold.render(key, prefix, found, era)
                answer = self._documents.post([doc], era.epoch) if doc is not None else {}
                if not answer:
                    continue
                why = answer[key]
            return WriteRejected(f"document {key[1]!r:.80} of {key[0]}: {why}", offset=prefix[-1][0])
        return None

    # What is parked

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        with self._opened.bound():
            book = self._read_book()[0]
            return self._waiting.sequences(book.epoch, partition) if book else {}

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        with self._opened.bound():
            book = self._read_book()[0]
            return self._waiting.parked(book.epoch, partition, sequence, after, limit) if book else []

    # Content as a whole

    def holds_data(self) -> bool:
        """True if a reader could see a document in any index of the sink, or an event is parked there. # P1

        Tombstones and positions are no data.
        """
        with self._opened.bound():
            owned = sorted(self._indices.owned())
            return self._indices.count(owned, {"bool": {"should": [FILTER, waiting.ANY]}}) > 0

    def wipe(self, book: Book) -> None:
        """Replace the indices by empty ones of the book's epoch, and delete all others that this sink made.

        Readers' names lead to the old index until the new one is there. Raises PositionConflict.
        """
        with self._opened.bound():
            indices, layout = self._indices, self._layout
            # Listed before the book is compared. What a later rebuild makes is made under a later book. So a rebuild
            # that is overtaken after this, however late, deletes only what was there before.
            owned = indices.owned()
            found = self._read_book()[0]
            if found is None or (found.epoch, found.revision) != (book.epoch, book.revision):
                raise book_conflict(layout.sink, book.revision)
            keep = {layout.index(name, book.epoch) for name in layout.names}
            # Of this epoch only when a wipe is repeated: keep it if it is as new, else it goes as well.
            used = sorted(index for index in keep & owned.keys() if indices.count([index], {"match_all": {}}))
            indices.delete(used)
            indices.ensure(book.epoch)
            indices.delete(sorted(owned.keys() - keep))

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:
        """The requests that create the indices and aliases of a new sink, for a shell. Opens nothing.

        SINK stands for a sink's name that is not known. The prefix is that of the address.
        """
        url = self._url or (settings.address("opensearch") if settings else "")
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

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        from logsync.stores.opensearch.inspect import inspect

        return inspect(self, sink, settings)

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise ConfigError("the OpenSearch store is not open", fix="call open() first")
        return self._client

    def __repr__(self) -> str:
        return f"OpenSearch(indices={sorted(self._declared)})"


def _within_reach(plan: Plan) -> Iterator[Plan]:
    """The plan in parts that span less than a generation; nearly always itself. Holes in the log can be long. # O4"""
    while plan.offsets and plan.offsets[-1] - plan.start.next_offset > fold.REACH - 2:
        cut = plan.start.next_offset + fold.REACH - 1
        first = bisect_left(plan.offsets, cut)
        middle = plan.start.at(cut if first else plan.offsets[0])
        yield replace(plan, end=middle, writes=plan.writes[:first], offsets=plan.offsets[:first])
        plan = replace(
            plan, start=middle, writes=plan.writes[first:], offsets=plan.offsets[first:], parked=[], refused={}
        )
    yield plan


def _render(
    chains: dict[DocKey, list[Step]],
    found: Mapping[DocKey, Found],
    eras: Mapping[str, Era],
    rejected: WriteRejected | None,
) -> tuple[dict[DocKey, list[Step]], list[Doc], WriteRejected | None]:
    """The documents to send. If an event is wrong, only what is older than it, and that event's error."""
    docs: list[Doc] = []
    worst = rejected
    for key, chain in chains.items():
        try:
            doc = fold.render(key, chain, found.get(key, ABSENT), eras[key[0]])
        except WriteRejected as error:
            if worst is None or error.offset < worst.offset:
                worst = error
        else:
            if doc is not None:
                docs.append(doc)
    if worst is rejected or worst is None:
        return chains, docs, rejected
    return _render(fold.before(chains, worst.offset), found, eras, worst)
