"""The book of a sink, one document in the index of books, and how it and the positions are written after each other."""

from __future__ import annotations

import json
from collections.abc import Sequence

from logsync.core.book import Book, book_conflict
from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.documents import Documents
from logsync.stores.opensearch.indices import Indices
from logsync.stores.opensearch.layout import Layout


class Books:
    """The book of one sink. ``read`` and ``write`` are called within the client's bound."""

    def __init__(self, client: OpenSearchClient, layout: Layout, indices: Indices, documents: Documents) -> None:
        self._client, self._layout, self._indices, self._documents = client, layout, indices, documents

    def write(self, book: Book, positions: Sequence[Position] | None = None) -> None:
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
        if "error" in self._client.request("PUT", path, source, params=params, ignore=(404,), writing=True):
            raise ConfigError(
                f"the index of books, {layout.books_index}, was deleted", fix="start again: opening makes it"
            )

    def _stored_before(self, book: Book) -> tuple[Book | None, int | None, int | None]:
        stored, seq_no, term = self.read()
        found = stored.revision if stored else 0
        if found != book.revision - 1:
            raise book_conflict(self._layout.sink, book.revision - 1, found)
        return stored, seq_no, term

    def read(self) -> tuple[Book | None, int | None, int | None]:
        """The book, and what a compare-and-set on it needs; Nones if there is none."""
        layout = self._layout
        answer = self._client.request("GET", f"/{layout.books}/_doc/{layout.sink}", ignore=(404,))
        if not answer.get("found"):
            return None, None, None
        book = Book.read(
            json.dumps(answer.get("_source", {}).get("book")), f"sink {layout.sink}: index {layout.books_index}"
        )
        return book, answer["_seq_no"], answer["_primary_term"]
