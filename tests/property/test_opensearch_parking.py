"""Parking in a store without transactions: crashes, late requests and other workers between any two requests.

Every event of a log adds to documents of its key and to one that all keys share, in two indices, so a release that
counts twice, not at all or over something newer shows. Some events fail in their handler and some are refused by the
server, until both are mended; then everything is retried. In the end the content is the fold of the log.
# I3 I7 I8 K1 K2 O4
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.core.book import Request
from logsync.core.parked import Parking
from logsync.errors import ConfigError, LogsyncError
from logsync.settings import Settings
from logsync.stores.opensearch import DeleteDoc, IndexDoc, UpdateDoc
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.property.opensearch_model import A, B, Died, Server, Simulated, Weather
from tests.unit.test_worker import Clock

NOON = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]
log = Log("happenings")


@log.event("happened", key="key")
class Happened(BaseModel):
    key: str
    n: int
    kind: Literal["plain", "gone", "poison", "bad"] = "plain"


class World:
    def __init__(self, seed: int, *, rate: float) -> None:
        self.chance = random.Random(seed)
        self.server, self.source = Server(), MemoryLog(log)
        self.weather = Weather(self.server, self.chance, rate)
        self.weather.meanwhile = self.other
        self.healed = False
        self.snapshots: list[dict[str, Any]] = []

    def append(self, count: int) -> None:
        kinds: list[Any] = ["plain"] * 7 + ["gone", "poison", "bad"]
        for _ in range(count):
            self.source.append(
                Happened(key=self.chance.choice("abc"), n=self.chance.randint(1, 10**9), kind=self.chance.choice(kinds))
            )

    def worker(self) -> Worker:
        sink = Sink("search", log, Simulated(self.weather), on_error="park", parking=Parking())

        @sink.on(Happened)
        def happened(event: Event[Happened]) -> list[UpdateDoc | IndexDoc | DeleteDoc]:
            if event.data.kind == "poison" and not self.healed:
                raise ValueError("poison")
            return writes(event.data)

        reader = MemoryReader(self.source, at_most=self.chance.randint(1, 9))
        return Worker(sink, reader, SETTINGS, clock=Clock(), chance=lambda: 0.5)  # nothing but the seed decides

    def other(self) -> None:
        """Another worker that believes it owns the partition, for some turns."""
        made = self.worker()
        try:
            for _ in range(self.chance.randint(1, 12)):
                try:
                    made.step()
                except LogsyncError as error:
                    made._obey(error)
        except (Died, ConfigError):
            pass

    def ask(self) -> None:
        calm, self.weather.calm = self.weather.calm, True
        store = self.worker().sink.store
        store.open("search", SETTINGS)
        book = store.read_book()
        assert book
        if not book.requests:
            store.write_book(book.next(requests=(Request(id=str(book.revision), partitions=(0,), at=NOON),)))
        self.weather.calm = calm

    def run(self, *, released: bool) -> None:
        """Workers, one after another, until the log is applied (and what was asked for is done)."""
        end = len(self.source.records[0])
        rate = self.weather.rate
        for attempt in range(100):
            self.weather.rate = rate * max(0.0, 1 - attempt / 50)  # it clears up at last, or nobody gets through
            made, turns = self.worker(), iter(range(400))

            def done(_: object, made: Worker = made, turns: Any = turns) -> bool:
                if next(turns, None) is None:
                    raise Died
                calm, self.weather.calm = self.weather.calm, True
                book = made.sink.store.read_book() if made._opened else None
                self.weather.calm = calm
                at_end = bool(made._read) and made._read[0].stored.next_offset == end
                return at_end and book is not None and not (released and book.requests)

            try:
                made.run(done)
            except Died:
                continue
            except ConfigError as error:
                if "two programs" in error.message:  # P3; somebody starts it again
                    continue
                raise
            self.weather.rate = rate
            return
        raise AssertionError("no worker gets through")

    def settle_down(self) -> None:
        while self.weather.late:
            self.weather.arrive()

    def restore(self) -> None:
        """One of the two indices goes back to an earlier time, with what was parked in it. # O2

        Its workers are stopped before: what would arrive in the older index, it could not tell from its own. DESIGN.md
        says why no protocol mends that.
        """
        self.settle_down()
        name, index = self.chance.choice(sorted(self.chance.choice(self.snapshots).items()))
        self.server.indices[name] = dict(index)

    def expected(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for record in self.source.records[0]:
            assert record.value
            for write in writes(Happened.model_validate_json(record.value)):
                if write.index != name:
                    continue
                if isinstance(write, IndexDoc):
                    found[write.id] = dict(write.doc)
                elif isinstance(write, DeleteDoc):
                    found.pop(write.id, None)
                else:
                    doc = found.setdefault(write.id, {})
                    for field, by in write.add.items():
                        doc[field] = doc.get(field, 0) + by
        return found

    def check(self) -> None:
        for name in (A, B):
            assert self.server.content(name) == self.expected(name)


def writes(data: Happened) -> list[UpdateDoc | IndexDoc | DeleteDoc]:
    if data.kind == "gone":
        return [DeleteDoc(B, data.key), UpdateDoc(A, "total", add={"gone": 1})]
    made: list[UpdateDoc | IndexDoc | DeleteDoc] = [
        UpdateDoc(A, data.key, add={"n": data.n, "events": 1}),
        UpdateDoc(A, "total", add={"n": data.n}),
        UpdateDoc(B, data.key, add={"n": data.n}),
        IndexDoc(B, f"last-{data.key}", {"n": data.n}),
        UpdateDoc(B, "total", add={"n": data.n}),
    ]
    return [*made, IndexDoc(A, f"bad-{data.key}", {"bad": data.n})] if data.kind == "bad" else made


# Each of these is wrong without one guard that no smaller seed misses: the reading of all documents in a new
# generation, the ticket, the seals, generations shared by all indices, and a batch behind a restored index. `make
# mutants` tells if that is no longer so; other seeds are then found by trying thousands with the guard taken out.
TOLD = (115, 154, 214, 221, 1354)


@pytest.mark.parametrize("seed", [*range(80), *TOLD])
def test_whatever_comes_between_any_two_requests_the_content_is_the_fold(seed: int) -> None:
    world = World(seed, rate=(0.0, 0.05, 0.15, 0.3)[seed % 4])
    for _ in range(world.chance.randint(1, 3)):
        world.append(world.chance.randint(1, 12))
        world.run(released=False)
        world.snapshots.append({name: dict(index) for name, index in world.server.indices.items()})
        if world.chance.random() < 0.5:  # nothing is mended yet: they fail again, some of them midway
            world.ask()
            world.run(released=True)
        if world.chance.random() < 0.3:
            world.restore()
    world.settle_down()  # what is late from before the mending could park events that are applied by then
    world.healed = world.server.mended = True
    world.ask()
    world.run(released=True)
    world.append(world.chance.randint(0, 5))
    world.run(released=False)
    world.weather.calm = True
    world.ask()
    world.run(released=True)
    world.check()
    world.settle_down()
    world.check()
    store = world.worker().sink.store
    store.open("search", SETTINGS)
    assert store.sequences(0) == {}
