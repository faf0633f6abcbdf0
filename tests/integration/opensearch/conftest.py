"""A sink over two indices on the real server, read back by plain HTTP, and a way to stop a store midway."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from logsync.core.book import Book
from logsync.core.inspection import Inspection
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.settings import Settings
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.connection import Connection

LOG = LogIdentity("cluster", "topic", "id", 1)
Event = list[IndexDoc | UpdateDoc | DeleteDoc]
A, B = "products", "brands"
LONG = {"mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}, "t": {"type": "keyword"}}}}


class Died(Exception):
    """Stands for kill -9: no code of the store may catch it."""


class Shop:
    """One sink, under a prefix that nobody else uses."""

    def __init__(self, settings: Settings, unique: str, indices: dict[str, Any] | None = None) -> None:
        self.plain = settings.opensearch.get_secret_value()
        self.prefix, self.sink = f"{unique}-", unique
        self.settings = settings.model_copy(update={"store_timeout": 10.0})
        self.indices = indices or {A: LONG, B: LONG}
        self.http = httpx.Client(base_url=self.plain, timeout=30)
        self.stores: list[OpenSearch] = []

    def client(self, **changes: Any) -> OpenSearch:
        store = OpenSearch(f"{self.plain}?prefix={self.prefix}", indices=self.indices)
        store.open(self.sink, self.settings.model_copy(update=changes))
        self.stores.append(store)
        return store

    def claimed(self) -> OpenSearch:
        store = self.client()
        book = Book(sink=self.sink, environment="test", log=LOG)
        store.write_book(book, positions=[Position(0, 0)])
        return store

    def rebuild(self) -> OpenSearch:
        store = self.client()
        book = store.read_book()
        assert book
        wiping = book.next(state="wiping", epoch=book.epoch + 1)
        store.write_book(wiping, positions=[])
        store.wipe(wiping)
        store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, wiping.epoch)])
        return store

    def ask(self, method: str, path: str, json: Any = None) -> Any:
        answer = self.http.request(method, f"/{path}", json=json)
        assert answer.status_code < 400, answer.text
        return answer.json()

    def looked_at(self) -> Inspection:
        store = OpenSearch(f"{self.plain}?prefix={self.prefix}", indices=self.indices)
        return store.inspect(self.sink, self.settings)

    def run(self, command: str) -> None:
        """A command that a message names, in a shell."""
        done = subprocess.run(
            ["sh", "-ec", command],
            env={**os.environ, "LOGSYNC_OPENSEARCH": self.plain},
            capture_output=True,
            text=True,
            check=True,
        )
        assert '"acknowledged":true' in done.stdout, done.stdout

    def content(self, name: str) -> dict[str, Any]:
        alias = self.prefix + name
        self.ask("POST", f"{alias}/_refresh")
        hits = self.ask("GET", f"{alias}/_search?size=1000")["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}

    def names(self) -> set[str]:
        return set(self.ask("GET", f"{self.prefix}*?expand_wildcards=all"))

    def close(self) -> None:
        for store in self.stores:
            store.close()
        for name in self.names():
            self.ask("DELETE", name)
        self.http.close()


def plan(start: int, *events: Event, epoch: int = 1) -> Plan:
    offsets = [offset for offset, event in enumerate(events, start) for _ in event]
    end = start + len(events)
    last = Position(0, end, epoch, end - 1, f"id-{end - 1}")
    return Plan(Position(0, start, epoch), last, [write for event in events for write in event], offsets)


def add(key: str, n: int = 1, index: str = A) -> UpdateDoc:
    return UpdateDoc(index, key, add={"n": n})


def put(key: str, n: Any, index: str = A) -> IndexDoc:
    return IndexDoc(index, key, {"n": n})


Around = Callable[[str], None]


def connected(store: OpenSearch) -> Connection:
    assert store._connection is not None
    return store._connection


def interpose(store: OpenSearch, path: str, *, nth: int = 1, before: Any = None, after: Any = None) -> None:
    """Run something just before or after the store's ``nth`` request to ``path`` from now on."""
    client = connected(store).client
    seen = 0

    def request(method: str, where: str, *args: Any, **options: Any) -> Any:
        nonlocal seen
        seen += where == path
        mine = where == path and seen == nth
        if mine and before:
            before()
        answer = OpenSearchClient.request(client, method, where, *args, **options)
        if mine and after:
            after()
        return answer

    client.request = request  # type: ignore[method-assign]


def die() -> None:
    raise Died


@pytest.fixture
def shop(settings: Settings, unique: str) -> Iterator[Shop]:
    shop = Shop(settings, unique)
    yield shop
    shop.close()
