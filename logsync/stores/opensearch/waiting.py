"""Parked events as documents: hidden from readers, in every data index that is not past them, found by a search.

Each index has its own, because each is a fold of its own: restored from a snapshot, it brings back both its content and
the events that this content lacks. What a search needs stands in the one field that is indexed; the body does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice, takewhile
from typing import Any, NamedTuple

from logsync.core.parked import Parked, SequenceSummary
from logsync.stores.opensearch import fold
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.conditions import PAGE
from logsync.stores.opensearch.documents import Documents, lowest
from logsync.stores.opensearch.errors import Verdict, raised
from logsync.stores.opensearch.fold import HIDDEN, PARKED_ID, POSITION, Source
from logsync.stores.opensearch.indices import Indices, checked, whole
from logsync.stores.opensearch.layout import Layout

_BODIES = 25  # parked records per request: they may have a megabyte each
_NAME = 1_000  # characters of a sequence's name that are indexed; a keyword has a limit
ANY: Source = {"prefix": {HIDDEN: "parked:"}}
ABSENT: Source = dict(fold.TOMBSTONE)
"""What stays of a parked event that was released: a late request to park it again must find the place taken."""


def doc_id(partition: int, offset: int) -> str:
    return f"{PARKED_ID}{partition}-{offset}"


def source(entry: Parked, done: Sequence[str] = ()) -> Source:
    """``done``: ids of the documents of this index that hold the event already."""
    head = f"{_place(entry.partition, entry.offset)} {entry.first_at.isoformat()} {entry.error}"
    return {HIDDEN: [head, _token(entry.sequence)], POSITION: {"parked": entry.to_json(), "done": sorted(done)}}


def done(stored: Source) -> set[str]:
    return set(stored[POSITION]["done"])


def waits(stored: Source) -> bool:
    return POSITION in stored


def _place(partition: int, offset: int) -> str:
    return f"parked:{partition}:{offset:013}"


def _token(sequence: str) -> str:
    text = json.dumps(sequence)  # ASCII, whatever the name is made of
    return f"sequence={text}" if len(text) <= _NAME else f"sequence#{hashlib.sha256(text.encode()).hexdigest()}"


class _Hit(NamedTuple):
    where: str  # the index
    id: str
    offset: int
    since: datetime
    error: str
    token: str


class ParkedReader:
    """Reads what is parked, over all indices of the sink."""

    def __init__(self, client: OpenSearchClient, layout: Layout, documents: Documents, indices: Indices) -> None:
        self._client, self._layout, self._documents, self._indices = client, layout, documents, indices

    def sequences(self, epoch: int, partition: int) -> dict[str, SequenceSummary]:
        marks = self._documents.marks(epoch)
        begun = {mark.releasing.offset for mark in marks.values() if mark and mark.releasing}
        position = lowest(marks).get(partition)
        found: dict[str, SequenceSummary] = {}
        names: dict[str, str] = {}
        for hit in self._scan(epoch, partition):
            name = names.get(hit.token)
            if name is None:
                short = hit.token.startswith("sequence=")
                name = json.loads(hit.token[9:]) if short else self._bodies([hit])[0].sequence
                names[hit.token] = name
            known = found.get(name, SequenceSummary(hit.offset, 0, hit.since, hit.error))
            unfinished = known.unfinished or hit.offset in begun
            # One at or after the position was parked just before a crash. The worker meets and counts it again.
            met = position is not None and hit.offset < position.next_offset
            found[name] = known._replace(events=known.events + met, unfinished=unfinished)
        return found

    def parked(self, epoch: int, partition: int, sequence: str | None, after: int, limit: int) -> list[Parked]:
        while True:
            hits = list(islice(self._scan(epoch, partition, sequence, after, limit), limit))
            found = [
                entry for start in range(0, len(hits), _BODIES) for entry in self._bodies(hits[start : start + _BODIES])
            ]
            if found or len(hits) < limit:
                return found
            after = hits[-1].offset  # all of them were released since the search: an empty page is not yet the end

    def between(self, epoch: int, partition: int, first: int, end: int) -> Iterator[Parked]:
        """Every parked event at an offset in [first, end)."""
        hits = takewhile(lambda hit: hit.offset < end, self._scan(epoch, partition, after=first - 1))
        while some := list(islice(hits, _BODIES)):
            yield from self._bodies(some)

    def _bodies(self, hits: Sequence[_Hit]) -> list[Parked]:
        answers = self._documents.mget([{"_index": hit.where, "_id": hit.id} for hit in hits])
        stored = [answer["_source"] for answer in answers if checked(answer).get("found")]
        # Released since the search: it no longer waits.
        return [Parked.from_json(found[POSITION]["parked"]) for found in stored if waits(found)]

    def _scan(
        self, epoch: int, partition: int, sequence: str | None = None, after: int = -1, limit: int = PAGE
    ) -> Iterator[_Hit]:
        """Every parked event once, in log order, of whichever index has it."""
        names = ",".join(self._layout.writer(name, epoch) for name in self._layout.names)
        some = {"ignore_unavailable": "true"}  # reading the positions reports an index that is missing
        whole(self._client.request("POST", f"/{names}/_refresh", params=some), "refresh")
        params = {
            **some,
            **self._indices.searching,
            "allow_partial_search_results": "false",
            "preference": "_primary",  # a copy that missed the refresh would free a key that still waits
            "filter_path": "timed_out,hits.hits._index,hits.hits._id,hits.hits.fields,hits.hits.sort",
        }
        window = {"gte": _place(partition, after + 1), "lt": f"parked:{partition};"}  # ";" follows ":"
        matching: list[Source] = [{"range": {HIDDEN: window}}]
        if sequence is not None:
            matching.append({"term": {HIDDEN: _token(sequence)}})
        body: dict[str, Any] = {
            "size": min(PAGE, limit * len(self._layout.names)),
            "_source": False,
            "track_total_hits": False,
            "query": {"bool": {"filter": matching}},
            "sort": [{HIDDEN: {"order": "asc", "mode": "min"}}],
            "docvalue_fields": [HIDDEN],
        }
        last = -1
        while True:
            answer = self._client.request("POST", f"/{names}/_search", body, params=params)
            if answer.get("timed_out"):
                raise raised(Verdict.UNAVAILABLE, "a search for parked events was cut off")
            hits = answer.get("hits", {}).get("hits", [])
            for hit in hits:
                head, token = hit["fields"][HIDDEN]
                place, since, error = head.split(" ", 2)
                offset = int(place.rpartition(":")[2])
                if offset != last:
                    yield _Hit(hit["_index"], hit["_id"], offset, datetime.fromisoformat(since), error, token)
                last = offset
            if len(hits) < body["size"]:
                return
            body["search_after"] = hits[-1]["sort"]
