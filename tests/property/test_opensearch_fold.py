"""Any cut of any log, any crash, any late request: a document at version v is the fold of its events up to v."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logsync.stores.opensearch import DeleteDoc, IndexDoc, UpdateDoc, fold
from logsync.stores.opensearch.fold import ABSENT, Doc, DocKey, Era, StoredDoc

EPOCH = 3
Write = IndexDoc | UpdateDoc | DeleteDoc
ids = st.sampled_from("ab")
numbers = st.integers(-5, 5)
writes = st.one_of(
    st.builds(lambda i, n: IndexDoc("x", i, {"n": n}), ids, numbers),
    st.builds(lambda i, n: UpdateDoc("x", i, set={"s": n}), ids, numbers),
    st.builds(lambda i, n: UpdateDoc("x", i, add={"n": n}), ids, numbers),
    st.builds(lambda i: DeleteDoc("x", i), ids),
)
logs = st.lists(st.lists(writes, max_size=3), min_size=1, max_size=12)  # an event is the list of its writes


def expected(log: list[list[Write]], doc_id: str, upto: int) -> dict[str, Any] | None:
    """The document after the events up to offset ``upto``, by the plainest means."""
    doc: dict[str, Any] | None = None
    for event in log[: upto + 1]:
        for write in event:
            if write.id != doc_id:
                continue
            if isinstance(write, IndexDoc):
                doc = dict(write.doc)
            elif isinstance(write, DeleteDoc):
                doc = None
            else:
                doc = {**(doc or {}), **write.set}
                for name, by in write.add.items():
                    doc[name] = doc.get(name, 0) + by
    return doc


class Server:
    """What OpenSearch does with external versions, and nothing else."""

    def __init__(self) -> None:
        self.docs: dict[DocKey, StoredDoc] = {}

    def index(self, doc: Doc) -> None:
        if doc.version > self.docs.get(doc.key, ABSENT).version:
            source = json.loads(doc.body)
            self.docs[doc.key] = StoredDoc(doc.version, None if fold.HIDDEN in source else source)

    def plan(self, log: list[list[Write]], start: int, end: int) -> list[Doc]:
        offsets = [offset for offset in range(start, end) for _ in log[offset]]
        chains, rejected = fold.gather(offsets, [write for event in log[start:end] for write in event], {"x"})
        assert rejected is None
        found = {key: self.docs[key] for key, chain in chains.items() if fold.reads(chain) and key in self.docs}
        docs = [fold.render(key, chain, found.get(key, ABSENT), Era(EPOCH)) for key, chain in chains.items()]
        return [doc for doc in docs if doc is not None]

    def check(self, log: list[list[Write]]) -> None:
        for (_, doc_id), found in self.docs.items():
            offset = (found.version >> 12) & fold.MAX_OFFSET
            assert found.source == expected(log, doc_id, offset)  # O3


@given(logs, st.data())
def test_every_document_is_the_fold_up_to_its_version_whatever_is_cut_lost_repeated_or_late(
    log: list[list[Write]], data: st.DataObject
) -> None:
    server, late = Server(), list[Doc]()
    position = 0
    while position < len(log):
        end = data.draw(st.integers(position + 1, len(log)))
        docs = server.plan(log, position, end)
        arrive = data.draw(st.permutations(docs))
        crash = data.draw(st.booleans()) and data.draw(st.integers(0, len(docs)))
        for doc in arrive if crash is False else arrive[:crash]:
            server.index(doc)
        late += docs  # a request that was thought lost, or another worker's
        if late and data.draw(st.booleans()):
            server.index(data.draw(st.sampled_from(late)))
        server.check(log)
        if crash is False:
            position = end
        elif data.draw(st.booleans()):
            break  # enough crashes; finish in one go
    for doc in [*server.plan(log, position, len(log)), *late]:
        server.index(doc)
    for doc_id in "ab":
        source = server.docs.get(("x", doc_id), ABSENT).source
        assert source == expected(log, doc_id, len(log))


@given(st.integers(1, fold.MAX_EPOCH), st.integers(0, fold.MAX_OFFSET), st.integers(0, 4095))
def test_versions_order_by_epoch_then_offset_then_sub_and_fit_63_bits(epoch: int, offset: int, sub: int) -> None:
    version = fold.version(epoch, offset, sub)
    assert 0 < version < 2**63
    assert (version >> 52, (version >> 12) & fold.MAX_OFFSET, version & 4095) == (epoch, offset, sub)


@given(st.integers(0, 8_000_000), st.integers(-3000, 1000), st.integers(0, 1 << 38))
def test_a_version_tells_the_generation_and_the_offset_it_was_made_of(generation: int, other: int, offset: int) -> None:
    writer = Era(EPOCH, max(0, generation + other))
    if offset + writer.generation * fold.REACH <= fold.MAX_OFFSET:
        found = StoredDoc(writer.version(offset))
        assert Era(EPOCH, generation).stamp(found) == (writer.generation, offset)
        assert Era(EPOCH + 1, generation).stamp(found) == (-1, -1)


@given(st.integers(0, 1000), st.integers(0, 1 << 30), st.integers(0, fold.REACH - 2))
def test_nothing_of_one_generation_reaches_what_was_sealed_in_the_next(generation: int, start: int, ahead: int) -> None:
    era = Era(EPOCH, generation)
    for found in (ABSENT, StoredDoc(era.version(start), {"n": 1})):
        sealed = fold.late(("x", "a"), [], found, era.next, start)
        assert sealed.version > era.version(start + ahead)
        assert era.next.stamp(StoredDoc(sealed.version))[1] < start + 1


@given(logs, st.integers(0, 12))
def test_a_document_of_an_older_epoch_counts_as_absent(log: list[list[Write]], at: int) -> None:
    server = Server()
    for doc_id in "ab":
        server.docs["x", doc_id] = StoredDoc(fold.version(EPOCH - 1, at), {"n": 1000, "old": True})
    for doc in server.plan(log, 0, len(log)):
        server.index(doc)
    for doc_id in "ab":
        found = server.docs["x", doc_id]
        if found.version >> 52 == EPOCH:
            assert found.source == expected(log, doc_id, len(log))
