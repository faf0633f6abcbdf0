"""OpenSearch keeps the contract. Its documents are read back by plain HTTP, through the alias that readers use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import pytest

from logsync.core.write import Write
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc
from logsync.testing.store_contract import Content, Sample
from tests.contract import samples
from tests.contract.on_stack import OnStack

FIELDS = {name: {"type": "long"} for name in ("n", "last", "times")}
BODY = {"mappings": {"dynamic": "strict", "properties": FIELDS}}


@pytest.mark.servers("opensearch")
class TestOpenSearch(OnStack):
    server = "opensearch"
    puts, adds, deletes = IndexDoc, UpdateDoc, DeleteDoc
    creates = ("logsync-books", "-things")

    @pytest.fixture(autouse=True)
    def _no_indices_left(self, _stack: None) -> Iterator[None]:
        """What one claim leaves on a server must not fill it: OpenSearch takes 1,000 shards and no more."""
        yield
        for sink in (self.sink, self.other):
            for name in httpx.get(f"{self.address}/{sink}-*").raise_for_status().json():
                httpx.delete(f"{self.address}/{name}").raise_for_status()

    def make_store(self, sink: str) -> OpenSearch:
        return OpenSearch(indices={f"{sink}-things": BODY})

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        return samples.of_docs(f"{sink}-things")

    def content(self, sink: str) -> Content:
        index = f"{sink}-things"
        httpx.post(f"{self.address}/{index}/_refresh").raise_for_status()
        answer = httpx.get(f"{self.address}/{index}/_search", params={"size": 10_000}).raise_for_status().json()
        return Content.of(docs={index: {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}})

    def refused(self, sink: str) -> Write:
        return IndexDoc(f"{sink}-things", "refused", {"n": "not a number"})
