"""OpenSearch in the contract suite: documents read back by plain HTTP, through the alias that readers use."""

from __future__ import annotations

import httpx

from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc
from tests.contract.adapters import Content

BODY = {"mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}}}}


class OpenSearchAdapter:
    atomic = False

    def __init__(self, settings: Settings, unique: str) -> None:
        self.settings, self.sink = settings, unique
        self.url = settings.opensearch.get_secret_value()
        self.puts, self.adds = f"{unique}-puts", f"{unique}-adds"

    def client(self) -> OpenSearch:
        store = OpenSearch(indices={self.puts: BODY, self.adds: BODY})
        store.open(self.sink, self.settings)
        return store

    def put(self, key: str, n: int) -> Write:
        return IndexDoc(self.puts, key, {"n": n})

    def add(self, key: str, n: int) -> Write:
        return UpdateDoc(self.adds, key, add={"n": n})

    def delete(self, key: str) -> Write:
        return DeleteDoc(self.puts, key)

    def refused(self) -> Write:
        return IndexDoc(self.puts, "refused", {"n": "not a number"})

    def content(self) -> Content:
        return {"put": self._read(self.puts), "add": self._read(self.adds)}

    def _read(self, alias: str) -> dict[str, int]:
        httpx.post(f"{self.url}/{alias}/_refresh").raise_for_status()
        answer = httpx.get(f"{self.url}/{alias}/_search", params={"size": 10_000}).raise_for_status().json()
        return {hit["_id"]: hit["_source"]["n"] for hit in answer["hits"]["hits"]}


def make(settings: Settings, unique: str) -> OpenSearchAdapter:
    return OpenSearchAdapter(settings, unique)
