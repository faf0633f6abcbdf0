"""The OpenSearch store's requests, one trouble at a time, over the server of ``opensearch_model``."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from logsync.core.book import Book
from logsync.core.codec import Decoder
from logsync.core.event import Record
from logsync.core.parked import Parked, Parking, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.planning import ParkingPlanner
from logsync.core.planning import plan as plan_events
from logsync.core.position import LogIdentity, Position
from logsync.core.write import Write
from logsync.errors import WriteRejected
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.stores.opensearch import DeleteDoc, IndexDoc, UpdateDoc
from logsync.stores.opensearch.errors import TooLarge
from tests.property.opensearch_model import A, B, Died, Server, Simulated, Weather
from tests.unit.shop import log, make_sink
from tests.unit.test_parking import NOON, poisoned

SETTINGS = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]
LOG = LogIdentity("cluster", "topic", "id", 1)


class Calm(Weather):
    """``around`` sees each request before it is answered."""

    def __init__(self) -> None:
        super().__init__(Server(), random.Random(0), 0.0)
        self.around: Callable[[str, Any], None] = lambda path, body: None

    def request(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.around(path, body)
        return super().request(method, path, body)


@pytest.fixture
def weather() -> Calm:
    return Calm()


@pytest.fixture
def store(weather: Calm) -> Simulated:
    store = Simulated(weather)
    store.open("search", SETTINGS)
    store.write_book(Book(sink="search", environment="test", log=LOG), positions=[Position(0, 0)])
    return store


def plan(start: int, *events: list[Write]) -> Plan:
    offsets = [offset for offset, event in enumerate(events, start) for _ in event]
    writes = [write for event in events for write in event]
    return Plan(Position(0, start), Position(0, start + len(events)), writes, offsets)


def parked(*offsets: int) -> list[Parked]:
    return [
        Parked(0, at, "key", "id", "type", "HandlerError", "no", NOON, NOON, 1, Record(0, at, b"key", b"", [], None, 0))
        for at in offsets
    ]


def test_an_index_that_is_ahead_goes_on_from_what_it_holds(weather: Calm, store: Simulated) -> None:
    """As after a restore of the other index: what this one has seen of a batch may include the write that replaces."""
    first = plan(0, [DeleteDoc(B, "x")], [UpdateDoc(B, "x", add={"n": 1})])
    before = dict(weather.server.indices[f"{A}--e1-write"])
    store.apply(first)
    weather.server.indices[f"{A}--e1-write"] = before
    store.apply(plan(0, [DeleteDoc(B, "x")], [UpdateDoc(B, "x", add={"n": 1})], [UpdateDoc(B, "x", add={"n": 5})]))
    assert weather.server.content(B) == {"x": {"n": 6}}


def test_a_request_that_is_too_large_is_cut_until_one_document_is_alone(weather: Calm, store: Simulated) -> None:
    sizes = []

    def small(path: str, body: Any) -> None:
        if path == "/_bulk" and len(body) > 1_000:
            raise TooLarge("HTTP 413")
        if path == "/_bulk":
            sizes.append(len(body))

    weather.around = small
    many: list[list[Write]] = [[IndexDoc(A, str(n), {"t": "x" * 200})] for n in range(20)]
    store.apply(plan(0, *many))
    assert len(weather.server.content(A)) == 20
    assert len(sizes) > 5
    with pytest.raises(WriteRejected, match="413") as caught:
        store.apply(plan(20, [IndexDoc(A, "y", {})], [IndexDoc(A, "z", {"t": "x" * 2_000})], [IndexDoc(A, "w", {})]))
    assert caught.value.offset == 21
    assert store.positions()[0].next_offset == 20


def test_a_page_whose_events_were_all_released_meanwhile_is_not_the_end(weather: Calm, store: Simulated) -> None:
    store.apply(replace(plan(0, [], [], [], []), parked=parked(0, 1, 2, 3)))

    def release(path: str, body: Any) -> None:
        if path == "/_mget" and b"logsync-parked" in body:  # the search is over
            weather.around = lambda path, body: None
            for offset in (0, 1):
                at = store.positions()[0]
                other.apply(Plan(at, at.released(), released=[offset]))

    other = Simulated(weather)
    other.open("search", SETTINGS)
    weather.around = release
    assert [entry.offset for entry in store.parked(0, limit=2)] == [2, 3]


def test_what_a_crash_left_parked_ahead_of_the_position_is_not_counted_yet(weather: Calm, store: Simulated) -> None:
    store.apply(replace(plan(0, [], []), parked=parked(0)))

    def die(path: str, body: Any) -> None:
        if path == "/_bulk" and b"logsync-position" in body:
            raise Died

    weather.around = die
    with pytest.raises(Died):
        store.apply(replace(plan(2, [], []), parked=parked(2, 3)))
    weather.around = lambda path, body: None
    waiting = store.sequences(0)["key"]
    assert (waiting.first, waiting.events) == (0, 1)
    store.apply(replace(plan(2, [], []), parked=parked(2, 3)))
    assert store.sequences(0)["key"].events == 3


def test_what_is_met_again_after_a_crash_is_within_the_limits_that_it_was_within_before() -> None:
    sink = make_sink(Memory(), on_error="park", parking=Parking(sequences=1, events=3))
    source = poisoned()
    decode = Decoder(log, sink.handled)
    events = [decode(record) for record in source.records[0]]
    fresh = ParkingPlanner(sink, {}, source.records[0].__getitem__, NOON)
    made = plan_events(sink, events, Position(0, 0), aside=fresh)
    assert [entry.offset for entry in made.parked] == [1, 2, 4]
    waiting = {made.parked[0].sequence: SequenceSummary(1, 0, NOON, "HandlerError")}
    again = ParkingPlanner(sink, waiting, source.records[0].__getitem__, NOON)
    made = plan_events(sink, events, Position(0, 0), aside=again)
    assert made.failure is None
    assert [entry.offset for entry in made.parked] == [1, 2, 4]
