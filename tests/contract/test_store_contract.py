"""One suite for every store: the promises of logsync/stores/base.py, each a test that a broken store fails."""

from __future__ import annotations

import datetime
import importlib
import random
from collections.abc import Iterator

import pytest

from logsync.core.book import Book, Skip
from logsync.core.offsets import Offsets
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.store import Store
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from tests.contract.adapters import Adapter, Content, MemoryAdapter

LOG = LogIdentity("cluster", "topic", "id", 1)


def book(adapter: Adapter, **changes: object) -> Book:
    return Book(sink=adapter.sink, environment="test", log=LOG, handled=frozenset({"a"})).model_copy(update=changes)


REAL = [pytest.param(kind, marks=pytest.mark.servers(kind)) for kind in ("postgres", "redis", "opensearch")]


@pytest.fixture(params=["memory", *REAL])
def adapter(request: pytest.FixtureRequest, unique: str) -> Adapter:
    if request.param == "memory":
        return MemoryAdapter()
    settings = request.getfixturevalue("settings")
    module = importlib.import_module(f"tests.contract.adapter_{request.param}")
    made: Adapter = module.make(settings, unique)
    return made


@pytest.fixture
def store(adapter: Adapter) -> Iterator[Store]:
    store = adapter.client()
    store.write_book(book(adapter), positions=[Position(0, 0)])
    yield store
    store.close()


def make(start: Position, *steps: list[Write]) -> Plan:
    """A plan with one event per step, at the offsets that follow ``start``."""
    writes, offsets = [], []
    for offset, step in enumerate(steps, start.next_offset):
        writes += step
        offsets += [offset] * len(step)
    stop = start.next_offset + len(steps)
    end = start._replace(next_offset=stop, releases=0, last_offset=stop - 1, last_id=f"id-{stop - 1}")
    return Plan(start, end, writes, offsets)


def test_a_store_that_never_saw_the_sink_has_no_book_no_position_and_no_data(adapter: Adapter) -> None:
    store = adapter.client()
    assert store.read_book() is None
    assert store.positions() == {}
    assert not store.holds_data()
    store.close()


def test_the_book_and_the_positions_come_back_as_they_were_written(store: Store, adapter: Adapter) -> None:
    found = store.read_book()
    assert found == book(adapter)
    assert store.positions() == {0: Position(0, 0)}


def test_the_book_is_replaced_only_on_top_of_the_revision_it_was_made_from(store: Store, adapter: Adapter) -> None:
    first = store.read_book()
    assert first
    skip = Skip(partition=0, offsets=Offsets([3]), reason="bad", at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    second = first.next(skips=(skip,), skipped=frozenset({"b"}))
    store.write_book(second)
    rival = adapter.client()
    assert rival.read_book() == second
    with pytest.raises(PositionConflict):
        rival.write_book(first.next())
    assert store.read_book() == second
    rival.close()


def test_a_book_cannot_be_claimed_twice(store: Store, adapter: Adapter) -> None:
    rival = adapter.client()
    with pytest.raises(PositionConflict):
        rival.write_book(book(adapter), positions=[Position(0, 0)])
    rival.close()


def test_apply_makes_writes_and_position_visible_to_everyone(store: Store, adapter: Adapter) -> None:
    plan = make(Position(0, 0), [adapter.put("a", 1), adapter.add("a", 5)], [adapter.put("b", 2)], [])
    store.apply(plan)
    assert adapter.content() == {"put": {"a": 1, "b": 2}, "add": {"a": 5}}
    other = adapter.client()
    assert other.positions() == {0: plan.end}
    assert other.holds_data()
    other.close()


def test_a_plan_without_writes_moves_the_position(store: Store, adapter: Adapter) -> None:
    store.apply(Plan(Position(0, 0), Position(0, 7)))
    assert store.positions()[0].next_offset == 7
    assert adapter.content() == {"put": {}, "add": {}}


def test_applying_a_plan_twice_counts_once(store: Store, adapter: Adapter) -> None:
    plan = make(Position(0, 0), [adapter.add("a", 5)], [adapter.add("a", 2)])
    store.apply(plan)
    with pytest.raises(PositionConflict):
        store.apply(plan)
    assert adapter.content()["add"] == {"a": 7}


def test_a_stale_worker_changes_nothing(store: Store, adapter: Adapter) -> None:
    zombie = adapter.client()
    stale = make(Position(0, 0), [adapter.put("a", 1), adapter.add("a", 1)])
    store.apply(make(Position(0, 0), [adapter.put("a", 1), adapter.add("a", 1)], [adapter.put("a", 9)]))
    with pytest.raises(PositionConflict):
        zombie.apply(stale)
    assert adapter.content() == {"put": {"a": 9}, "add": {"a": 1}}
    assert store.positions()[0].next_offset == 2
    zombie.close()


def test_a_plan_of_an_earlier_epoch_is_refused(store: Store, adapter: Adapter) -> None:
    old = store.read_book()
    assert old
    zombie = adapter.client()
    zombie.positions()
    wiping = old.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    with pytest.raises(PositionConflict):
        zombie.apply(make(Position(0, 0, 1), [adapter.put("z", 1), adapter.add("z", 1)]))
    store.apply(make(Position(0, 0, 2), [adapter.add("a", 1)]))
    assert adapter.content() == {"put": {}, "add": {"a": 1}}
    zombie.close()


def test_a_missing_position_is_a_conflict_and_never_a_start(store: Store, adapter: Adapter) -> None:
    current = store.read_book()
    assert current
    store.write_book(current.next(), positions=[])
    assert store.positions() == {}
    with pytest.raises(PositionConflict):
        store.apply(make(Position(0, 0), [adapter.add("a", 1)]))
    assert adapter.content() == {"put": {}, "add": {}}


def test_wipe_removes_all_content_and_can_be_repeated(store: Store, adapter: Adapter) -> None:
    store.apply(make(Position(0, 0), [adapter.put("a", 1), adapter.add("b", 1)]))
    current = store.read_book()
    assert current
    wiping = current.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.wipe(wiping)
    assert not store.holds_data()
    assert adapter.content() == {"put": {}, "add": {}}


def test_writes_of_one_key_take_effect_in_log_order(store: Store, adapter: Adapter) -> None:
    store.apply(
        make(
            Position(0, 0),
            [adapter.put("a", 1)],
            [adapter.delete("a")],
            [adapter.put("a", 2)],
            [adapter.put("b", 1)],
            [adapter.delete("b")],
            [adapter.delete("missing")],
        )
    )
    assert adapter.content()["put"] == {"a": 2}


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_into_plans_gives_the_same_content(store: Store, adapter: Adapter, seed: int) -> None:
    rng = random.Random(seed)
    expected: Content = {"put": {}, "add": {}}
    steps: list[list[Write]] = []
    for n in range(60):
        key = rng.choice("abcdef")
        match rng.choice(["put", "add", "delete"]):
            case "put":
                steps.append([adapter.put(key, n)])
                expected["put"][key] = n
            case "add":
                steps.append([adapter.add(key, n)])
                expected["add"][key] = expected["add"].get(key, 0) + n
            case _:
                steps.append([adapter.delete(key)])
                expected["put"].pop(key, None)
    position = Position(0, 0)
    while steps:
        size = rng.randint(1, 25)
        plan = make(position, *steps[:size])
        store.apply(plan)
        steps, position = steps[size:], plan.end
    assert adapter.content() == expected


def test_a_refused_write_names_its_event_and_the_events_before_it_still_apply(store: Store, adapter: Adapter) -> None:
    bad = adapter.refused()
    if bad is None:
        pytest.fail(f"{adapter!r} has no write that it refuses: say which one, every store has one")
    before = [[adapter.put("a", 1)], [adapter.add("a", 1)]]
    with pytest.raises(WriteRejected) as caught:
        store.apply(make(Position(0, 0), *before, [bad], [adapter.add("a", 1)]))
    assert caught.value.offset == 2
    assert store.positions()[0].next_offset == 0
    if adapter.atomic:
        assert adapter.content() == {"put": {}, "add": {}}
    store.apply(make(Position(0, 0), *before))
    assert store.positions()[0].next_offset == 2
    if adapter.atomic:
        assert adapter.content() == {"put": {"a": 1}, "add": {"a": 1}}


def test_a_store_can_be_opened_again_and_closed_twice(store: Store, adapter: Adapter) -> None:
    store.apply(make(Position(0, 0), [adapter.add("a", 1)]))
    again = adapter.client()
    again.close()
    again.close()
    assert store.positions()[0].next_offset == 1


def test_a_large_plan_is_applied_whole(store: Store, adapter: Adapter) -> None:
    plan = make(Position(0, 0), *[[adapter.put(f"k{n}", n), adapter.add(f"k{n % 7}", 1)] for n in range(3000)])
    store.apply(plan)
    content = adapter.content()
    assert content["put"] == {f"k{n}": n for n in range(3000)}
    assert sum(content["add"].values()) == 3000
