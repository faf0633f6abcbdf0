"""Events parked and released in a store that has no transactions.

A plan parks before it writes documents, so that a crash leaves an event parked and not applied. It releases in steps.
After each of them a crash or another worker may come:

1. claim: the index's mark names the event and its documents and begins a new generation (compare-and-set);
2. the documents are written in this generation, so one that shows it holds the event and is not written again;
3. a tombstone replaces the parked event (compare-and-set);
4. the mark moves on (compare-and-set).

Before 3 the event is still parked, and ``settle`` finds out from the claim how far 2 came. Late requests of any of
these steps lose a compare-and-set or meet a newer generation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import PositionConflict, StoreUnavailable, WriteRejected
from logsync.stores.opensearch import fold, waiting
from logsync.stores.opensearch.documents import Documents, Mark, Releasing, Stored, compare
from logsync.stores.opensearch.fold import ABSENT, Doc, DocKey, Era, StoredDoc
from logsync.stores.opensearch.indices import checked
from logsync.stores.opensearch.layout import Layout

log = logging.getLogger("logsync.stores.opensearch")


class ParkedDocuments:
    """Carries out what a plan says about parked events. One partition only (O5)."""

    def __init__(self, layout: Layout, documents: Documents) -> None:
        self._layout, self._documents = layout, documents

    def targets(self, plan: Plan) -> dict[DocKey, list[int]]:
        """The documents that the plan's parked events would write, and the offsets of these events."""
        offsets: dict[DocKey, list[int]] = {}
        for offset, writes in sorted(plan.refused.items()):
            for key in fold.gather([offset] * len(writes), writes, self._layout.bodies)[0]:
                offsets.setdefault(key, []).append(offset)
        return offsets

    def generation(self, plan: Plan, marks: Mapping[str, Mark]) -> dict[str, Mark] | None:
        """Begin a generation, if the plan needs one of its own. Returns the marks as they are then.

        # A batch is sent before anybody knows that one of its events is refused. So documents may already hold later
        # events of the same key, and a late worker may still send such a document.
        """
        noted = max(mark.noted for mark in marks.values())
        if any(entry.attempts and entry.offset in plan.refused for entry in plan.parked):
            noted = max(noted, plan.end.next_offset)
        if noted <= plan.start.next_offset:
            return None
        newer = {name: mark._replace(noted=noted) for name, mark in _newer(marks).items()}
        return self._documents.write_marks(plan.start.epoch, newer)

    def park(self, plan: Plan, marks: Mapping[str, Mark], found: Mapping[DocKey, StoredDoc]) -> None:
        """Put the plan's parked events on disk before anything else of it.

        # Documents that hold some of them already are noted with them, and sealed in this generation.
        """
        epoch, partition = plan.start.epoch, plan.start.partition
        since = {name: _next(plan.start, mark) for name, mark in marks.items()}
        done: dict[tuple[str, int], list[str]] = {}
        seals = []
        for key, offsets in self.targets(plan).items():
            (name, written), era, doc = key, Era(epoch, marks[key[0]].generation), found.get(key, ABSENT)
            generation, holds = era.stamp(doc)
            for offset in offsets:
                if offset <= holds:
                    done.setdefault((name, offset), []).append(written)
            if since[name] <= offsets[-1] and max(generation, 0) < era.generation:
                seals.append(fold.late(key, [], doc, era, since[name]))
        places = [(name, entry) for entry in plan.parked for name in marks if since[name] <= entry.offset]
        wanted = [
            {
                "_index": self._layout.writer(name, epoch),
                "_id": waiting.doc_id(partition, entry.offset),
                "_source": False,
            }
            for name, entry in places
        ]
        lines = (
            self._documents.line(
                name, epoch, str(asked["_id"]), waiting.source(entry, done.get((name, entry.offset), ())), None
            )
            for (name, entry), asked, answer in zip(places, wanted, self._documents.mget(wanted), strict=True)
            if not checked(answer).get("found")  # K2; one that appears only now was parked by somebody else: a conflict
        )
        self._documents.put(lines, "parked event")
        self._seal(seals, epoch)

    def apply(self, plan: Plan) -> None:
        """Try one event again, or note that it failed again. Raises WriteRejected, and what else a plan may raise."""
        start, end = plan.start, plan.end
        (offset,) = plan.released or [entry.offset for entry in plan.still_parked]
        chains, rejected = fold.gather(plan.offsets, plan.writes, self._layout.bodies)
        if rejected is not None:
            raise rejected
        marks, found = self._documents.read(start.epoch, chains)
        compare(start, marks)
        if self.settle(start, marks):
            self.apply(plan)  # from its beginning: somebody may have begun the next release meanwhile
            return
        doc_id = waiting.doc_id(start.partition, offset)
        stored = {
            name: held for name, held in self._documents.own(start.epoch, doc_id).items() if waiting.waits(held.source)
        }
        if not stored:
            raise PositionConflict(f"the parked event at offset {offset} was released by somebody else")
        done = {name: waiting.done(held.source) for name, held in stored.items()}
        if plan.still_parked:
            bodies = {name: waiting.source(plan.still_parked[0], list(done[name])) for name in stored}
        else:
            docs = []
            for key, steps in chains.items():
                if key[0] in stored and key[1] not in done[key[0]]:
                    mark = marks[key[0]]
                    docs.append(
                        fold.late(key, steps, found.get(key, ABSENT), _era(start, mark).next, _next(start, mark))
                    )
            marks |= self._claim(start, marks, offset, docs)
            refused = self._documents.post(docs, start.epoch)
            for (name, refused_id), why in refused.items():
                raise WriteRejected(f"document {refused_id!r:.80} of {name}: {why}", offset=offset)
            bodies = dict.fromkeys(stored, waiting.ABSENT)
        self._replace(start, doc_id, stored, bodies)
        moved = {
            name: (mark.at(end) if mark.behind(end) else mark)._replace(releasing=None)
            for name, mark in marks.items()
            if mark.behind(end) or mark.releasing
        }
        self._documents.write_marks(start.epoch, moved)
        held = sorted(f"{name}/{written}" for name, ids in done.items() for written in ids)
        if held and any(entry.discarded is not None for entry in plan.still_parked):
            # Written by a release that was interrupted, or before the event was refused. No write takes that back.
            log.warning(
                "documents hold an event that is given up, until a rebuild",
                extra={"sink": self._layout.sink, "offset": offset, "documents": held},
            )

    def settle(self, start: Position, marks: Mapping[str, Mark]) -> bool:
        """Close what an interrupted release left open, so that it can begin again. True if there was any.

        # The interrupted worker may only be slow, and another one may be settling this as well. So we begin a
        # generation of our own: nothing that they still send can replace what is sealed in it. Documents that hold the
        # event already are noted before they are sealed, and from then on only that note counts. It stays parked.
        """
        level = len({mark.generation for mark in marks.values()}) == 1
        if level and not any(mark.releasing for mark in marks.values()):
            return False
        for name, mark in self._documents.write_marks(start.epoch, _newer(marks)).items():
            releasing, era = mark.releasing, _era(start, mark)
            if releasing is None:
                continue
            doc_id = waiting.doc_id(start.partition, releasing.offset)
            stored = self._documents.own(start.epoch, doc_id).get(name)
            if stored is not None and waiting.waits(stored.source):
                keys = [(name, written) for written in releasing.ids]
                _, found = self._documents.read(start.epoch, keys)
                held = {key[1] for key in keys if era.stamp(found.get(key, ABSENT))[0] == releasing.generation}
                done = sorted(waiting.done(stored.source) | held)
                body = {**stored.source, fold.POSITION: {**stored.source[fold.POSITION], "done": done}}
                self._replace(start, doc_id, {name: stored}, {name: body})
                self._seal(
                    [fold.late(key, [], found.get(key, ABSENT), era, _next(start, mark)) for key in keys], start.epoch
                )
            self._documents.write_marks(start.epoch, {name: mark._replace(releasing=None)})
        return True

    def _claim(self, start: Position, marks: Mapping[str, Mark], offset: int, docs: list[Doc]) -> dict[str, Mark]:
        ids: dict[str, list[str]] = {}
        for doc in docs:
            ids.setdefault(doc.key[0], []).append(doc.key[1])
        claims = _newer(marks)
        for name, written in ids.items():
            claims[name] = claims[name]._replace(releasing=Releasing(offset, tuple(written), claims[name].generation))
        return self._documents.write_marks(start.epoch, claims) if ids else dict(marks)

    def _replace(
        self, start: Position, doc_id: str, stored: Mapping[str, Stored], bodies: Mapping[str, fold.Source]
    ) -> None:
        lines = [
            self._documents.line(name, start.epoch, doc_id, bodies[name], (held.seq_no, held.term))
            for name, held in stored.items()
        ]
        self._documents.put(lines, "parked event")

    def _seal(self, docs: list[Doc], epoch: int) -> None:
        for (name, doc_id), why in self._documents.post(docs, epoch).items():
            # Sent back unchanged as the index holds it: a person has to look at the mapping.
            raise StoreUnavailable(f"OpenSearch: document {doc_id!r:.80} of {name} cannot be written again: {why}")


def _newer(marks: Mapping[str, Mark]) -> dict[str, Mark]:
    top = max(mark.generation for mark in marks.values()) + 1
    return {name: mark._replace(generation=top) for name, mark in marks.items()}


def _era(start: Position, mark: Mark) -> Era:
    return Era(start.epoch, mark.generation)


def _next(start: Position, mark: Mark) -> int:
    return mark.positions[start.partition].next_offset
