"""A plan as documents: which are sent, at which versions, and which event is at fault if one is refused.

Documents first, then the position of each index, as ``store`` says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace

from logsync.core.plan import Plan
from logsync.errors import WriteRejected
from logsync.stores.opensearch import fold
from logsync.stores.opensearch.documents import Documents, compare
from logsync.stores.opensearch.fold import ABSENT, Doc, DocKey, Era, Step, StoredDoc
from logsync.stores.opensearch.layout import Layout
from logsync.stores.opensearch.parking import ParkedDocuments


class DocumentWriter:
    """Carries out the plans of one sink."""

    def __init__(self, layout: Layout, documents: Documents) -> None:
        self._layout, self._documents = layout, documents
        self._parking = ParkedDocuments(layout, documents)

    def apply(self, plan: Plan) -> None:
        """See OpenSearch.apply."""
        if plan.released or plan.still_parked:
            self._parking.apply(plan)
        else:
            for part in within_reach(plan):
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
        found: Mapping[DocKey, StoredDoc],
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

    def _at_fault(self, key: DocKey, steps: list[Step], why: str, found: StoredDoc, era: Era) -> WriteRejected | None:
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


def within_reach(plan: Plan) -> Iterator[Plan]:
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
    found: Mapping[DocKey, StoredDoc],
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
