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
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.view import View
from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.stores.opensearch import fold
from logsync.stores.opensearch.client import OpenSearchClient, parse
from logsync.stores.opensearch.connection import Connection
from logsync.stores.opensearch.fold import ABSENT
from logsync.stores.opensearch.layout import Layout
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

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
        self._connection: Connection | None = None
        self._looked = -math.inf

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect; make or update the indices and aliases. Raises StoreUnavailable, ConfigError.

        Indices are made only for a sink without a book. Where a book exists, a missing index is an accident or a
        new name, and an empty one in its place would look whole.
        """
        self.close()
        here = self._connection = self._connect(sink, settings)
        try:
            with here.client.bound():
                self._looked = time.monotonic()
                here.indices.ensure_books()
                book = here.books.read()[0]
                if book is not None:
                    if book.state == "ready":
                        here.indices.update(book.epoch)
                elif here.indices.owned():
                    here.indices.check_names()  # content without a book: what it is worth is the caller's question (P1)
                else:
                    here.indices.ensure(1)
        except BaseException:
            self.close()
            raise

    def _connect(self, sink: str, settings: StoreSettings) -> Connection:
        """What asks the server nothing yet."""
        hosts, prefix = parse(self._url or settings.address("opensearch"))
        return Connection(OpenSearchClient(hosts, settings.store_timeout), Layout(prefix, sink, self._declared))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    # The book

    def read_book(self) -> Book | None:
        with self._asking() as here:
            return here.books.read()[0]

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        """Replace the book, after the positions if they are given: see ``Books.write``."""
        with self._asking() as here:
            here.books.write(book, positions)

    def positions(self) -> dict[int, Position]:
        """The lowest position over the sink's indices; none, if one index has none: it lacks events. # O2"""
        with self._asking() as here:
            return here.positions()

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
        with self._asking() as here:
            if time.monotonic() - self._looked >= _LOOK_EVERY:
                here.indices.check(plan.start.epoch)
                self._looked = time.monotonic()
            here.writer.apply(plan)

    # What is parked

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        with self._asking() as here:
            book = here.books.read()[0]
            return here.waiting.sequences(book.epoch, partition) if book else {}

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        with self._asking() as here:
            book = here.books.read()[0]
            return here.waiting.parked(book.epoch, partition, sequence, after, limit) if book else []

    # Content as a whole

    def holds_data(self) -> bool:
        """True if a reader could see a document in any index of the sink, or an event is parked there. # P1"""
        with self._asking() as here:
            return here.holds_data()

    def wipe(self, book: Book) -> None:
        """Replace the indices by empty ones of the book's epoch, and delete all others that this sink made.

        Readers' names lead to the old index until the new one is there. Raises PositionConflict.
        """
        with self._asking() as here:
            indices, layout = here.indices, here.layout
            # Listed before the book is compared. What a later rebuild makes is made under a later book. So a rebuild
            # that is overtaken after this, however late, deletes only what was there before.
            owned = indices.owned()
            found = here.books.read()[0]
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
        layout = self._connection.layout if self._connection else Layout(prefix, sink or "SINK", self._declared)
        requests: list[tuple[str, str, Mapping[str, Any]]] = [("PUT", layout.books_index, layout.books_body())]
        requests += [("PUT", layout.index(name, 1), layout.body(name, 1)) for name in layout.names]
        requests.append(("POST", "_aliases", {"actions": [layout.point_readers(name, 1) for name in layout.names]}))
        head = "# $OPENSEARCH is the server's address; SINK, where it appears, is the sink's name\n"
        return head + "\n".join(
            f"curl -X {method} \"$OPENSEARCH/{path}\" -H 'Content-Type: application/json' -d @- <<'JSON'\n"
            f"{json.dumps(body, indent=2)}\nJSON"
            for method, path, body in requests
        )

    def view(self, sink: str, settings: StoreSettings) -> View:
        from logsync.stores.opensearch.view import OpenSearchView

        return OpenSearchView(lambda: self._connect(sink, settings))

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        from logsync.stores.opensearch.inspect import inspect

        return inspect(lambda: self._connect(sink, settings))

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """The connection; all requests inside share one bound in time."""
        if self._connection is None:
            raise ConfigError("the OpenSearch store is not open", fix="call open() first")
        with self._connection.client.bound():
            yield self._connection

    def __repr__(self) -> str:
        return f"OpenSearch(indices={sorted(self._declared)})"
