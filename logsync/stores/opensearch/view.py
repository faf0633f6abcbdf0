"""One look at a sink in OpenSearch. There are no snapshots, so what is asked later is what changes later.

Parked events and skips are on disk before the position moves past them. So the positions are read first; then, for
events below them, whether they are parked, and the book. A released event leaves a tombstone: where one is met, the
event has left by then, and only a book read after that tells whether it was applied or given up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from logsync.core.parked import Parked
from logsync.core.view import NO_RETRIES, Place, Retried, Sight
from logsync.errors import PositionConflict, StoreUnavailable
from logsync.stores.opensearch import waiting
from logsync.stores.opensearch.connection import Connection
from logsync.stores.opensearch.documents import lowest
from logsync.stores.opensearch.fold import POSITION
from logsync.stores.opensearch.indices import checked, whole

_LOOKS = 5
"""So often is a look begun anew because a rebuild changed the epoch in the middle of it."""


class OpenSearchView:
    """See ``logsync.core.view.View`` and ``Searches``. Everything is read by id, from primaries, as it is now."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._epoch: int | None = None
        """Of the last look: the next one asks there, and the book, read in the end, says whether that was right."""

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        here = self._here
        with here.client.bound():
            for _ in range(_LOOKS):
                if self._epoch is None and (book := here.books.read()[0]) is not None:
                    self._epoch = book.epoch
                if (epoch := self._epoch) is None:
                    return Sight(None, {}, {})
                positions = lowest(here.documents.marks(epoch))
                passed = [
                    place for place in asked if place[0] in positions and place[1] < positions[place[0]].next_offset
                ]
                parked: dict[Place, str] | None = self._parked(here, epoch, passed) if passed else {}
                if parked is not None:
                    again = {place: retried[place] for place in passed if place in retried and place not in parked}
                    parked.update(self._originals(here, epoch, again))
                book = here.books.read()[0]
                self._epoch = book.epoch if book is not None else None
                if parked is not None and book is not None and book.epoch == epoch:
                    return Sight(book, positions, parked)
        raise StoreUnavailable("OpenSearch: rebuilds follow each other faster than a look takes")

    def _parked(self, here: Connection, epoch: int, places: Collection[Place]) -> dict[Place, str] | None:
        """Those that wait, with the reason. None: the indices of this epoch are gone."""
        asked = [(name, place) for place in places for name in here.layout.names]
        wanted = [{"_index": here.layout.writer(name, epoch), "_id": waiting.doc_id(*place)} for name, place in asked]
        found = {}
        try:
            for (_, place), answer in zip(asked, here.documents.mget(wanted), strict=True):
                if checked(answer).get("found") and waiting.waits(answer["_source"]):
                    found[place] = Parked.from_json(answer["_source"][POSITION]["parked"]).reason
        except PositionConflict:
            return None
        return found

    def _originals(self, here: Connection, epoch: int, retried: Mapping[Place, Retried]) -> dict[Place, str]:
        """Of which of the retried appends another attempt waits. It costs a refresh and a search for each."""
        found = {}
        for place, (event_id, since) in retried.items():
            for entry in here.waiting.between(epoch, place[0], since, place[1]):
                if entry.event_id == event_id:
                    found[place] = entry.reason
        return found

    def refresh(self) -> None:
        """See ``logsync.core.view.Searches``: of all indices of the sink, on every copy of every shard."""
        here = self._here
        with here.client.bound():
            book = here.books.read()[0]
            if book is None:
                return
            names = ",".join(here.layout.writer(name, book.epoch) for name in here.layout.names)
            whole(here.client.request("POST", f"/{names}/_refresh"), "refresh")

    def close(self) -> None:
        here, self._connection = self._connection, None
        if here is not None:
            here.close()

    @property
    def _here(self) -> Connection:
        self._connection = self._connection or self._connect()
        return self._connection
