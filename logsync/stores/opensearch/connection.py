"""One server and one sink: the parts of the store that talk to it, made together and closed together."""

from __future__ import annotations

import logging

from logsync.core.position import Position
from logsync.stores.opensearch import waiting
from logsync.stores.opensearch.books import Books
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.documents import Documents, lowest
from logsync.stores.opensearch.indices import Indices
from logsync.stores.opensearch.layout import FILTER, Layout
from logsync.stores.opensearch.write import DocumentWriter

log = logging.getLogger("logsync.stores.opensearch")


class Connection:
    """What the store and ``inspect`` share. Opens nothing by itself; everything is asked within ``client.bound()``."""

    def __init__(self, client: OpenSearchClient, layout: Layout) -> None:
        self.client, self.layout = client, layout
        self.indices = Indices(client, layout)
        self.documents = Documents(client, layout)
        self.books = Books(client, layout, self.indices, self.documents)
        self.writer = DocumentWriter(layout, self.documents)
        self.waiting = waiting.ParkedReader(client, layout, self.documents, self.indices)

    def close(self) -> None:
        self.client.close()

    def positions(self) -> dict[int, Position]:
        """The lowest position over the sink's indices; none, if one index has none: it lacks events. # O2"""
        book = self.books.read()[0]
        if book is None:
            return {}
        marks = self.documents.marks(book.epoch)
        lost = sorted(name for name, mark in marks.items() if mark is None or not mark.positions)
        if lost and len(lost) < len(marks):
            log.warning("position is missing", extra={"sink": self.layout.sink, "indices": lost})
        return lowest(marks)

    def holds_data(self) -> bool:
        """True if a reader could see a document in any index of the sink, or an event is parked there. # P1

        Tombstones and positions are no data.
        """
        owned = sorted(self.indices.owned())
        return self.indices.count(owned, {"bool": {"should": [FILTER, waiting.ANY]}}) > 0
