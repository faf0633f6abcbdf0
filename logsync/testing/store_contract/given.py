"""What the author of a store gives to the kit, and what the kit's claims say in one word."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol

import pytest

from logsync.core.position import Position
from logsync.core.store import Store, StoreSettings, Traits
from logsync.core.write import Write
from logsync.testing.store_contract.making import first_book
from logsync.writes.content import Content


@dataclass(frozen=True)
class Meant:
    """A write whose class cannot say what it means, such as a statement of SQL, and writes that mean the same."""

    write: Write
    as_if: Sequence[Write]


class Sample(Protocol):
    """Makes a write to this key with this number. Samples of different classes meet at one target for one key."""

    def __call__(self, key: str, n: int, /) -> Write | Meant: ...


@dataclass(frozen=True)
class Limits:
    """Settings that say how long a call may take, and ask others for addresses."""

    store_timeout: float = 30.0
    others: StoreSettings | None = None

    def address(self, kind: str) -> str:
        if self.others is None:
            raise LookupError(f"the store asked for the address of {kind}: override settings() and give it")
        return self.others.address(kind)


class Given:
    """The author's part. What raises NotImplementedError must be given; the rest may be."""

    puts: type[Write]
    """The class in ``writes`` that overwrites: its sample with (key, 1), then (key, 2), leaves what (key, 2) leaves."""
    adds: type[Write]
    """The class in ``writes`` that adds: carried out twice it shows, so a plan that is applied twice shows."""
    deletes: type[Write]
    """The class in ``writes`` that takes away what ``puts`` has made of the same key."""
    creates: Sequence[str]
    """Names of what ``open`` creates on the server; ``schema`` tells each of them. Empty: it creates nothing."""
    outlives_the_process: ClassVar[bool] = True
    """False for a store that keeps everything in this process: no other version of logsync ever reads what it keeps."""
    must_prove: ClassVar[bool] = False
    """True: a claim that a missing hook leaves open is a failure. Say so once ``kill``, ``pause`` and ``restart`` are
    there, so that nobody takes one of them away unnoticed."""

    def make_store(self, sink: str) -> Store:
        """Another client of the content of ``sink``, not opened. Sinks share the server and no content."""
        raise NotImplementedError("make_store(self, sink): return a store that is not open yet")

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        """A sample of every class that the store accepts. Keys are short texts, numbers are 0 to 99."""
        raise NotImplementedError("writes(self, sink): return a sample of every write class that the store accepts")

    def content(self, sink: str) -> Content:
        """All that the writes to ``sink`` made, read without the code of the store: Content.of(tables={...})."""
        raise NotImplementedError("content(self, sink): return Content.of(...), read without the store's own code")

    def refused(self, sink: str) -> Write:
        """A write that the store itself refuses: against a constraint, of a wrong type."""
        raise NotImplementedError("refused(self, sink): return a write that the store refuses; every store has one")

    def settings(self) -> StoreSettings:
        """What ``open`` is given. Where the kit waits for ``store_timeout`` it makes it short."""
        return Limits()

    # Hooks. Without them durability and bounds are not proven, and the run says so.

    def pause(self) -> None:
        """The server hangs from now on: connections stay open, nothing answers. Until ``restart``."""
        raise NotImplementedError

    def kill(self) -> None:
        """The server is gone, at once, as by kill -9. May be called from another thread while a store applies."""
        raise NotImplementedError

    def restart(self) -> None:
        """Return when the server answers again, after ``pause`` or ``kill``."""
        raise NotImplementedError

    # What claims are written with

    def setup_method(self) -> None:
        """Each claim has two sinks of its own."""
        name = "kit" + uuid.uuid4().hex[:10]
        self.sink, self.other = name + "a", name + "b"
        self._clients: list[Store] = []

    def teardown_method(self) -> None:
        for store in self._clients:
            store.close()

    def client(self, sink: str = "") -> Store:
        """A store, opened: another worker, or another sink. It is closed after the claim."""
        sink = sink or self.sink
        store = self.make_store(sink)
        self._clients.append(store)
        store.open(sink, self.settings())
        return store

    @property
    def traits(self) -> Traits:
        return self.make_store(self.sink).traits

    @property
    def partitions(self) -> int:
        """How many partitions a claim may use: 2 where the store tells them apart."""
        most = self.traits.most_partitions
        return 2 if most is None else min(2, most)

    def begin(self, store: Store, sink: str = "", *, partitions: int = 1) -> None:
        """Write what a worker writes first: the book, and positions at the first event."""
        book = first_book(sink or self.sink, partitions=partitions)
        store.write_book(book, positions=[Position(number, 0) for number in range(partitions)])

    def brief(self, bound: float) -> StoreSettings:
        """The settings with this ``store_timeout``, in seconds."""
        return Limits(bound, self.settings())

    def begun(self, sink: str = "", *, partitions: int = 1) -> Store:
        """A store whose sink begins at the first event of a log."""
        store = self.client(sink)
        self.begin(store, sink, partitions=partitions)
        return store

    def put(self, key: str, n: int, sink: str = "") -> Write:
        return self._sample(self.puts, key, n, sink)

    def add(self, key: str, n: int, sink: str = "") -> Write:
        return self._sample(self.adds, key, n, sink)

    def delete(self, key: str, sink: str = "") -> Write:
        return self._sample(self.deletes, key, 0, sink)

    def _sample(self, kind: type[Write], key: str, n: int, sink: str) -> Write:
        made = self.writes(sink or self.sink)[kind](key, n)
        assert isinstance(made, Write), f"puts, adds and deletes need a law of their own, and {kind.__name__} has none"
        return made

    def holds(self, *writes: Write, sink: str = "") -> None:
        """The content is what these writes come to by their laws, and nothing besides."""
        assert self.content(sink or self.sink).plain() == Content().after(writes).plain()

    def needs(self, *hooks: str) -> None:
        """End this claim as "not proven" unless the author gave these hooks."""
        missing = [hook for hook in hooks if getattr(type(self), hook) is getattr(Given, hook)]
        if missing:
            hooks_are = "the hook {} is" if len(missing) == 1 else "the hooks {} are"
            self._not_proven(f"{hooks_are.format(', '.join(missing))} not given")

    def _not_proven(self, why: str) -> NoReturn:
        if self.must_prove:
            pytest.fail(f"must be proven, and {why}")
        pytest.xfail(f"not proven: {why}")
