"""Parked events on a real server: many, large and odd ones, and what a kill, full memory or a rival leaves of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from logsync.stores.redis import Incr, SAdd, Set
from logsync.stores.redis.client import RedisClient, Script
from tests.integration.redis.conftest import BOOK, Server, plan

from .parking import NAMES, NOON, ODD, START, as_the_memory_store_sees_it, entry, park, release, state


def test_sequences_of_any_name_keep_apart(server: Server) -> None:
    store = server.begun()
    entries = [entry(n, ODD[n % len(ODD)]) for n in range(3 * len(ODD))]
    random.Random(1).shuffle(entries[: len(ODD)])
    store.apply(park(START, *entries, to=len(entries)))
    assert store.sequences(0) == as_the_memory_store_sees_it(entries)
    for name in ODD:
        mine = [one for one in entries if one.sequence == name]
        assert store.parked(0, sequence=name) == mine
        assert store.parked(0, sequence=name, after=mine[0].offset, limit=1) == mine[1:2]
    assert store.parked(0, limit=len(entries)) == entries
    now = store.positions()[0]
    for name in ODD:
        store.apply(release(now, *[one.offset for one in entries if one.sequence == name]))
        now = now.released()
    assert not server.plain.exists(*NAMES)


def test_partitions_keep_apart(server: Server) -> None:
    store = server.store()
    numbers = (0, 1, 10, 100)
    store.write_book(BOOK, positions=[Position(number, 0) for number in numbers])
    for number in numbers:
        mine = entry(number, f"in {number}")
        mine = mine._replace(partition=number, record=mine.record._replace(partition=number))
        store.apply(park(Position(number, 0), mine, to=number + 1))
    for number in numbers:
        assert [one.offset for one in store.parked(number)] == [number]
        assert store.sequences(number).keys() == {f"in {number}"}
    store.apply(release(store.positions()[10], 10))
    assert [len(store.parked(number)) for number in numbers] == [1, 1, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_any_history_of_parking_and_releasing_leaves_what_a_list_would(server: Server, seed: int) -> None:
    rng = random.Random(seed)
    store = server.begun()
    expected: dict[int, Parked] = {}
    at = START
    for _ in range(60):
        if rng.random() < 0.5 or not expected:
            new = [entry(at.next_offset + n, rng.choice(ODD[:8])) for n in range(rng.randint(1, 5))]
            again = [expected[o]._replace(message="again") for o in rng.sample(sorted(expected), min(2, len(expected)))]
            made = park(at, *again, *new, to=at.next_offset + len(new))
            expected.update({one.offset: one for one in new})  # what is there stays as it is  # K2
        else:
            some = rng.sample(sorted(expected), rng.randint(1, min(6, len(expected))))
            tried = [expected[o]._replace(error="Other", attempts=2) for o in some[: rng.randint(0, 1)]]
            made = release(at, *some[len(tried) :], still_parked=tuple(tried))
            for offset in some[len(tried) :]:
                del expected[offset]
            expected.update({one.offset: one for one in tried})
        store.apply(made)
        at = made.end
        entries = [expected[offset] for offset in sorted(expected)]
        assert store.parked(0, limit=1000) == entries
        assert store.sequences(0) == as_the_memory_store_sees_it(entries)


def test_a_hundred_thousand_sequences_are_parked_and_read_in_bulk(server: Server) -> None:
    store = server.begun(timeout=5)
    at, total = START, 100_000
    for begin in range(0, total, 5_000):
        made = park(at, *(entry(n, f"customer-{n}") for n in range(begin, begin + 5_000)), to=begin + 5_000)
        store.apply(made)
        at = made.end
    calls = 0
    real = store._here.client._exchange

    def counted(packed: bytes, *, writes: bool) -> object:
        nonlocal calls
        calls += 1
        return real(packed, writes=writes)

    store._here.client._exchange = counted  # type: ignore[method-assign]
    found = store.sequences(0)
    assert len(found) == total
    assert found["customer-77777"] == SequenceSummary(77_777, 1, NOON + timedelta(seconds=77_777), "HandlerError")
    assert calls <= total / 1000 + 1
    calls = 0
    assert [one.offset for one in store.parked(0, sequence="customer-4711")] == [4711]
    assert calls == 1
    assert [one.offset for one in store.parked(0, after=49_999, limit=3_000)] == list(range(50_000, 53_000))
    assert calls <= 5


def test_many_events_of_one_sequence_and_large_ones_come_back(server: Server) -> None:
    store = server.begun()
    many = [entry(n) for n in range(5_000)]
    large = [entry(n, "large", size=900_000) for n in range(5_000, 5_030)]
    store.apply(park(START, *many, to=5_000))
    store.apply(park(store.positions()[0], *large, to=5_030))
    assert store.parked(0, sequence="large") == large
    assert store.parked(0, limit=6_000) == many + large
    assert store.parked(0, after=4_990, limit=12) == many[4_991:] + large[:3]
    assert store.sequences(0)["k"].events == 5_000
    store.apply(release(store.positions()[0], *range(5_000)))
    assert store.parked(0) == large


def test_one_call_ends_with_the_event_that_is_enough_for_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the server nor the worker must hold a gigabyte at a time, however much is asked for."""
    store, ask, answers = server.begun(), RedisClient.ask, list[Sequence[object]]()

    def asked(client: RedisClient, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        answers.append(ask(client, script, keys, args))
        return answers[-1]

    large = [entry(n, size=400_000) for n in range(60)]
    store.apply(park(START, *large, to=60))
    monkeypatch.setattr(RedisClient, "ask", asked)
    assert store.parked(0) == large
    most = 8_000_000 + max(len(one.to_json()) for one in large)
    assert len(answers) > 1
    assert all(sum(len(value) for value in values if isinstance(value, bytes)) <= most for values in answers)


def test_a_refused_plan_parks_nothing_and_names_its_event(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, [Set("k", 1)]))
    before = state(server)
    made = plan(Position(0, 1), [Incr("n")], [SAdd("k", ("x",))], [])
    bad = Plan(made.start, made.end, made.writes, made.offsets, parked=[entry(3)])
    with pytest.raises(WriteRejected) as caught:
        store.apply(bad)
    assert caught.value.offset == 2
    assert state(server) == before


def test_what_is_only_parked_is_data(server: Server) -> None:
    store = server.begun()
    assert not store.holds_data()
    store.apply(park(START, entry(0), to=1))
    assert server.content() == {}
    assert store.holds_data()


def test_a_rebuild_that_is_overtaken_in_the_middle_of_its_wipe_stops_there(server: Server) -> None:
    """What the other one has replayed and parked since, and evictions that it must know of."""
    store = server.begun()
    store.apply(plan(START, *[[Set(f"k{n}", n)] for n in range(5_000)]))
    mine = BOOK.next(state="wiping", epoch=2)
    store.write_book(mine, positions=[])
    other = server.store()
    theirs = mine.next(state="wiping", epoch=3)
    real, steps = store._here.client.ask, []

    def book_conflict(script: object, keys: object, args: object) -> object:
        steps.append(script)
        if len(steps) == 3:
            other.write_book(theirs, positions=[])
            other.wipe(theirs)
            other.write_book(theirs.next(state="ready"), positions=[Position(0, 0, 3)])
            made = park(Position(0, 0, 3), entry(1), to=5_000)
            writes: list[Write] = [Set(f"k{n}", "new") for n in range(5_000)]
            other.apply(Plan(made.start, made.end, writes, list(range(5_000)), parked=[entry(1)]))
            server.plain.set("logsync:cache:evicted", "theirs 0")
        return real(script, keys, args)  # type: ignore[arg-type]

    store._here.client.ask = book_conflict  # type: ignore[method-assign]
    with pytest.raises(PositionConflict, match="expected revision 2, found 4"):
        store.wipe(mine)
    assert len(steps) == 3
    with pytest.raises(PositionConflict):
        store.wipe(mine)
    content = server.content()
    assert content == {b"k%d" % n: b"new" for n in range(5_000)}
    assert other.parked(0) == [entry(1)]
    assert server.plain.get("logsync:cache:evicted") == b"theirs 0"


def test_a_wipe_of_an_empty_sink_looks_at_the_book_too(server: Server) -> None:
    store = server.begun()
    server.plain.set("logsync:cache:evicted", "theirs 0")
    with pytest.raises(PositionConflict):
        store.wipe(BOOK.next())
    server.plain.delete("logsync:cache:book")
    with pytest.raises(PositionConflict, match="found 0"):
        store.wipe(BOOK)
    assert server.plain.get("logsync:cache:evicted") == b"theirs 0"


def test_a_plan_that_parks_nothing_names_no_key_of_parking_and_asks_nothing_more(server: Server) -> None:
    store = server.begun()
    store.apply(park(START, entry(0), to=1))
    for name in NAMES:
        server.plain.delete(name)
        server.plain.set(name, "anything")
    made = plan(Position(0, 1), [Incr("n")])
    sent: list[bytes] = []
    real = store._here.client._exchange

    def kept(packed: bytes, *, writes: bool) -> object:
        sent.append(packed)
        return real(packed, writes=writes)

    store._here.client._exchange = kept  # type: ignore[method-assign]
    store.apply(made)
    scripts = [packed for packed in sent if b"EVALSHA" in packed]
    assert len(scripts) == 1
    assert b"parked" not in scripts[0]
