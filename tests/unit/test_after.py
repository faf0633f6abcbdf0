"""A sink that comes after others applies an event only when their stores are past it. # V1"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from logsync import ConfigError, Log, Sink
from logsync.core.position import LogIdentity, Position
from logsync.errors import StoreUnavailable
from logsync.observe.health import ready
from logsync.ops import parked
from logsync.reading.predecessors import Predecessors
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from logsync.writes.rows import Upsert
from tests.unit.shop import OrderPlaced, log, make_sink, order_placed
from tests.unit.working import Clock, finish, rebuilt, settings, worker


def sink_of(store: Memory, name: str, *after: Sink) -> Sink:
    made = Sink(name, log, store, after=after)
    made.on(OrderPlaced)(order_placed)  # type: ignore[type-var]
    return made


class Pair:
    """Two sinks of one log: search comes after db."""

    def __init__(self, *, partitions: int = 1) -> None:
        self.source = MemoryLog(log, partitions=partitions)
        self.db, self.search = Memory(Server()), Memory(Server())
        self.first = sink_of(self.db, "db")
        self.second = sink_of(self.search, "search", self.first)

    def place(self, count: int, partition: int = 0) -> None:
        for n in range(count):
            self.source.append(OrderPlaced(order=f"{partition}-{n}", cents=1), partition=partition)

    def at(self, store: Memory, sink: str) -> int:
        found = store.server.positions.get(sink, {}).get(0)
        return found.next_offset if found else -1

    def run_db(self, until: int) -> None:
        """The first sink's worker, stopped at this offset."""
        reader = MemoryReader(self.source, at_most=1)
        made = Worker(self.first, reader, settings(), clock=Clock(), chance=lambda: 0.5)
        made.run(lambda _: self.at(self.db, "db") >= until)

    def searcher(self) -> Worker:
        made = worker(self.source, sink=self.second)
        made._following.first._pause = lambda _: None
        return made


def turn(made: Worker, times: int = 30) -> None:
    turns = iter(range(times))
    made.run(lambda _: next(turns, None) is None)


def test_it_stops_where_the_other_store_is_and_goes_on_with_it() -> None:
    pair = Pair()
    pair.place(10)
    pair.run_db(4)
    made = pair.searcher()
    turn(made)
    assert pair.at(pair.search, "search") == 4
    assert pair.search.server.contents["search"].row("orders", order="0-3")
    assert pair.search.server.contents["search"].row("orders", order="0-4") is None
    assert ready(made.status, 0.0) == (False, "waits for sink db, which goes first")
    pair.run_db(10)
    finish(made, pair.source)
    assert pair.at(pair.search, "search") == 10
    assert made.status.waits_for == ""


def test_it_begins_only_when_the_other_has_begun() -> None:
    pair = Pair()
    pair.place(3)
    made = pair.searcher()
    turn(made)
    assert pair.at(pair.search, "search") == 0
    assert made.status.waits_for == "db"
    pair.run_db(3)
    finish(made, pair.source)
    assert pair.at(pair.search, "search") == 3


def test_it_waits_while_the_other_is_rebuilt() -> None:
    pair = Pair()
    pair.place(5)
    pair.run_db(5)
    made = pair.searcher()
    finish(made, pair.source)
    pair.place(5)
    rebuilt(pair.db, 2)
    turn(made)
    assert pair.at(pair.search, "search") == 5
    pair.run_db(8)
    turn(made)
    assert pair.at(pair.search, "search") == 8


def test_each_partition_waits_for_its_own() -> None:
    pair = Pair(partitions=2)
    pair.second.order = pair.first.order = "per-key"
    pair.place(4, partition=0)
    pair.place(4, partition=1)
    reader = MemoryReader(pair.source)
    reader.assign(1)
    Worker(pair.first, reader, settings(), clock=Clock(), chance=lambda: 0.5).run(
        lambda _: pair.db.server.positions.get("db", {}).get(1, Position(1, 0)).next_offset == 4
    )
    turn(pair.searcher())
    assert {n: at.next_offset for n, at in pair.search.server.positions["search"].items()} == {0: 0, 1: 4}


def test_a_parked_event_is_tried_again_only_when_the_other_is_past_it() -> None:
    pair = Pair()
    pair.second.on_error = pair.first.on_error = "park"
    pair.source.append(OrderPlaced(order="bad", cents=-1))
    pair.run_db(1)
    finish(pair.searcher(), pair.source)
    pair.second.handlers[OrderPlaced] = lambda event: Upsert("orders", {"order": event.data.order}, {"cents": 0})
    rebuilt(pair.db, 2)
    everything = parked.Selection()
    found = parked.find(pair.search, everything)
    parked.retry(pair.search, found, everything, sink="search", now=datetime(2026, 3, 1, tzinfo=UTC))
    made = pair.searcher()
    turn(made)
    assert [entry.offset for entry in pair.search.parked(0)] == [0]
    pair.run_db(1)
    turn(made)
    assert pair.search.parked(0) == []


def test_sinks_of_other_logs_and_circles_are_refused() -> None:
    other = Sink("other", Log("other.topic"), Memory())
    with pytest.raises(ConfigError, match="follows topic other"):
        Sink("search", log, Memory(), after=[other])
    a = Sink("a", log, Memory())
    b = Sink("b", log, Memory(), after=[a])
    with pytest.raises(ConfigError, match="a after b after a"):
        Sink("a", log, Memory(), after=[b])
    with pytest.raises(ConfigError, match="a after a"):
        Sink("a", log, Memory(), after=[a])
    Sink("c", log, Memory(), after=[a, b])


def test_a_store_that_nobody_can_look_at_cannot_go_first() -> None:
    class Blind:
        kind = "blind"

    blind = Sink("db", log, Blind())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a store of kind blind cannot be looked at"):
        Predecessors(Sink("search", log, Memory(), after=[blind]), settings())


LOG = LogIdentity("c", "t", "i", 1)


def test_the_other_has_to_be_in_the_same_log_and_environment() -> None:
    pair = Pair()
    pair.place(1)
    pair.run_db(1)
    first = Predecessors(pair.second, settings())
    assert first.look(pair.source.identity) == {0: 1}
    with pytest.raises(StoreUnavailable, match="waits for sink db: its position belongs to another log"):
        first.look(LOG)
    with pytest.raises(ConfigError, match="environment 'test'"):
        Predecessors(pair.second, Settings(_env_file=None)).look(pair.source.identity)


def test_the_slowest_of_several_decides() -> None:
    pair = Pair()
    pair.place(5)
    pair.run_db(5)
    slow = Memory(Server())
    third = sink_of(slow, "third")
    second = sink_of(Memory(), "search", pair.first, third)
    reader = MemoryReader(pair.source, at_most=1)
    Worker(third, reader, settings(), clock=Clock(), chance=lambda: 0.5).run(lambda _: pair.at(slow, "third") >= 2)
    assert Predecessors(second, settings()).look(pair.source.identity) == {0: 2}


def test_without_a_word_nothing_is_asked() -> None:
    first = Predecessors(make_sink(), settings())
    assert list(first.released(0, [], LOG, turned=lambda: None, stopping=lambda: False)) == [0]
    assert first.reached(Position(0, 5), LOG)
