"""What the contract suite needs to know of a store: three plain operations and a way to read them back.

``put(key, n)`` overwrites, ``add(key, n)`` counts (not idempotent, so a double application shows), ``delete(key)``
removes. ``content()`` is what the store holds, as {key: n}, put and add apart, read without the store's own code.
An adapter of a real store lives in ``tests/contract/adapter_<store>.py``.
"""

from __future__ import annotations

from typing import Protocol

from logsync.core.store import Store
from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.writes.rows import Delete, Increment, Upsert

Content = dict[str, dict[str, int]]  # {"put": {key: n}, "add": {key: n}}


class Adapter(Protocol):
    """One store, under names that no other test uses."""

    sink: str
    atomic: bool

    def client(self) -> Store:
        """Another client of the same content, opened: a second worker."""

    def put(self, key: str, n: int) -> Write: ...
    def add(self, key: str, n: int) -> Write: ...
    def delete(self, key: str) -> Write:
        """Remove what put made."""

    def refused(self) -> Write | None:
        """A write that the store itself refuses, or None if it has no such thing."""

    def content(self) -> Content: ...


class MemoryAdapter:
    sink = "contract"
    atomic = True

    def __init__(self, settings: Settings | None = None, unique: str = "") -> None:
        self.server = Server()

    def client(self) -> Memory:
        store = Memory(self.server)
        store.open(self.sink)
        return store

    def put(self, key: str, n: int) -> Write:
        return Upsert("puts", {"k": key}, {"n": n})

    def add(self, key: str, n: int) -> Write:
        return Increment("adds", {"k": key}, {"n": n})

    def delete(self, key: str) -> Write:
        return Delete("puts", {"k": key})

    def refused(self) -> Write | None:
        return Increment("adds", {"k": "x"}, {"n": 0.5})  # type: ignore[dict-item]

    def content(self) -> Content:
        tables = self.client().content.tables
        return {
            "put": {row["k"]: row["n"] for row in tables.get("puts", [])},
            "add": {row["k"]: row["n"] for row in tables.get("adds", [])},
        }
