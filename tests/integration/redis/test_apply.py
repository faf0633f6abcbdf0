"""The writes on a real server: what they make, what the script refuses, and how much it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import PositionConflict, WriteRejected
from logsync.settings import Settings
from logsync.stores.redis import Del, ExpireAt, HDel, HIncr, HSet, Incr, Redis, SAdd, Set, SRem, ZAdd, ZIncr, ZRem
from tests.integration.redis.conftest import BOOK, SINK, Server, plan
from tests.property.redis_model import plainly
from tests.property.redis_writes import HISTORY
from tests.property.test_redis_compile import beyond_a_plan

START = Position(0, 0)
FUTURE = datetime(2090, 1, 1, tzinfo=UTC)
PAST = datetime(2001, 1, 1, tzinfo=UTC)


def test_every_write_makes_what_its_command_makes(server: Server) -> None:
    server.begun().apply(
        plan(
            START,
            [Set("s", "ü"), Set("b", b"\xff\x00\r\n"), Set("n", 7), Incr("n", 3), Incr("new", -2)],
            [HSet("h", {"a": 1, "b": "x", "gone": ""}), HIncr("h", {"a": 4, "c": 2}), HDel("h", ("gone", "never"))],
            [SAdd("m", ("x", b"\xff", 5)), SRem("m", ("x",)), ZAdd("z", {"a": 1, "b": 2}), ZIncr("z", {"b": -5})],
            [ZRem("z", ("a",)), Set("d", 1), Del("d"), Set("t", "v", FUTURE), ExpireAt("h", FUTURE)],
        )
    )
    assert server.content() == {
        b"s": "ü".encode(),
        b"b": b"\xff\x00\r\n",
        b"n": b"10",
        b"new": b"-2",
        b"h": {b"a": b"5", b"b": b"x", b"c": b"2"},
        b"m": {b"\xff", b"5"},
        b"z": {b"b": -3.0},
        b"t": b"v",
    }
    milliseconds = int(FUTURE.timestamp() * 1000)
    assert server.plain.pexpiretime("shop:t") == server.plain.pexpiretime("shop:h") == milliseconds
    assert server.plain.pexpiretime("shop:s") == -1


def run_plainly(plain: redis.Redis, writes: list[Write]) -> int | None:
    """One command after the other. Returns the index of the first that Redis refuses.

    Scores are the exception: Redis rounds those beyond 2**53, the store refuses them.
    """
    for n, write in enumerate(writes):
        for command, key, args in plainly(write, "plain:"):
            try:
                answer = plain.execute_command(command, key, *args)
            except redis.ResponseError:
                return n
            if command == b"ZINCRBY" and abs(float(answer)) > 2**53:
                return n
    return None


@given(HISTORY, HISTORY)
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_does_what_its_commands_do_one_by_one(server: Server, first: list[Write], second: list[Write]) -> None:
    plain = server.plain
    plain.flushall()
    store = server.begun()
    position = START
    for writes in (first, second):
        before = server.content()
        events = plan(position, *[[write] for write in writes])
        refused = run_plainly(plain, writes)
        if refused is not None or beyond_a_plan(writes):
            if not beyond_a_plan(writes[: None if refused is None else refused]):
                with pytest.raises(WriteRejected) as caught:
                    store.apply(events)
                assert caught.value.offset == position.next_offset + (refused or 0)
                assert server.content() == before
            return
        store.apply(events)
        position = events.end
        assert server.content() == server.content("plain:")
        expiries = {key: plain.pexpiretime(b"shop:" + key) for key in server.content()}
        assert expiries == {key: plain.pexpiretime(b"plain:" + key) for key in server.content()}


def test_an_expiry_in_the_past_leaves_no_key(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, [Set("a", 1), Set("b", 1), HSet("h", {"f": 1})]))
    long_ago = datetime(1969, 1, 1, tzinfo=UTC)  # before 1970: SET PXAT refuses what is not positive
    store.apply(
        plan(Position(0, 1), [Set("a", 2, PAST), Set("b", 2, long_ago), ExpireAt("h", long_ago), Set("c", 1, PAST)])
    )
    assert server.content() == {}
    assert store.positions()[0].next_offset == 2


def test_a_set_without_expiry_takes_the_expiry_away_and_other_writes_keep_it(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, [Set("a", 1, FUTURE), Set("b", 1, FUTURE)]))
    store.apply(plan(Position(0, 1), [Set("a", 2), Incr("b", 1)]))
    assert server.plain.pexpiretime("shop:a") == -1
    assert server.plain.pexpiretime("shop:b") == int(FUTURE.timestamp() * 1000)


REFUSED = {
    "hash on a string": ([Set("k", "x")], HSet("k", {"a": 1})),
    "set on a hash": ([HSet("k", {"a": 1})], SAdd("k", ("x",))),
    "sorted set on a hash": ([HSet("k", {"a": 1})], ZIncr("k", {"x": 1})),
    "counter on a hash": ([HSet("k", {"a": 1})], Incr("k")),
    "removal on another type": ([Set("k", 1)], HDel("k", ("a",))),
    "field counter on a string": ([Set("k", 1)], HIncr("k", {"a": 1})),
    "score counter on a string": ([Set("k", 1)], ZIncr("k", {"a": 1})),
    "counter on text": ([Set("k", "seven")], Incr("k")),
    "counter on a spelling that Redis does not take": ([Set("k", "007")], Incr("k")),
    "field counter on text": ([HSet("k", {"a": "1.5"})], HIncr("k", {"a": 1})),
    "counter beyond 64 bits": ([Set("k", 2**63 - 1)], Incr("k")),
    "counter below 64 bits": ([Set("k", -(2**63))], Incr("k", -1)),
    "field beyond 64 bits": ([HSet("k", {"a": 2**63 - 5})], HIncr("k", {"a": 6})),
    "score beyond 2**53": ([ZAdd("k", {"a": 2**53})], ZIncr("k", {"a": 1})),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("apart", [True, False], ids=["in two plans", "in one plan"])
def test_a_refused_write_is_found_before_the_first_write(server: Server, case: str, apart: bool) -> None:
    before, bad = REFUSED[case]
    store = server.begun()
    events: list[list[Write]] = [
        [Incr("seen")],
        list(before),
        [HIncr("h", {"a": 1}), Set("x", 1)],
        [bad],
        [Set("y", 1)],
    ]
    at = START
    if apart:
        store.apply(plan(at, *events[:2]))
        at, events = Position(0, 2), events[2:]
    content = server.content()
    with pytest.raises(WriteRejected, match=r"shop:k|'k'") as caught:
        store.apply(plan(at, *events))
    assert caught.value.offset == 3
    assert server.content() == content
    assert store.positions()[0].next_offset == at.next_offset


def test_a_counter_may_reach_the_last_64_bit_integer(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, [Set("k", 2**63 - 3), HSet("h", {"a": -(2**63) + 5})]))
    store.apply(plan(Position(0, 1), [Incr("k", 2), HIncr("h", {"a": -5}), ZIncr("z", {"a": 2**53})]))
    assert server.content()[b"k"] == str(2**63 - 1).encode()
    assert server.content()[b"h"] == {b"a": str(-(2**63)).encode()}
    with pytest.raises(WriteRejected):  # up and down again: one by one the first step would fail
        store.apply(plan(Position(0, 2), [Incr("k", 1)], [Incr("k", -1)]))


def test_the_first_fault_in_log_order_is_named_whatever_key_it_is_on(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, [Set("a", "x"), Set("b", "x")]))
    bad = [[Set("ok", n)] for n in range(50)]
    bad[31], bad[17], bad[40] = [Incr("b")], [Incr("a")], [Incr("c", True)]
    with pytest.raises(WriteRejected) as caught:
        store.apply(plan(Position(0, 1), *bad))
    assert caught.value.offset == 1 + 17


def test_large_plans_and_large_values_fit(server: Server) -> None:
    store = server.begun()
    fields = {f"field {n}": n for n in range(20_000)}
    big = "x" * 900_000
    events: list[list[Write]] = [[HSet("wide", fields), HIncr("counts", fields), ZIncr("scores", fields)]]
    events += [[Set(f"s{n}", n), HSet(f"h{n % 50}", {f"f{n}": n}), SAdd("all", (n,)), Incr("n")] for n in range(5000)]
    events += [[Set("big", big)], [SAdd("many", tuple(range(20_000)))], [ZAdd("ranked", fields)]]
    store.apply(plan(START, *events))
    store.apply(plan(Position(0, len(events)), [HIncr("counts", fields), HDel("wide", tuple(fields)[:15_000])]))
    plain = server.plain
    assert plain.hlen("shop:wide") == 5_000
    assert plain.hget("shop:counts", "field 19999") == b"39998"
    assert plain.zscore("shop:scores", "field 7") == plain.zscore("shop:ranked", "field 7") == 7.0
    assert plain.scard("shop:all") == plain.scard("shop:many") - 15_000 == 5_000
    assert plain.get("shop:n") == b"5000"
    assert plain.strlen("shop:big") == 900_000
    assert sum(plain.hlen(f"shop:h{n}") for n in range(50)) == 5_000


def test_a_sink_cannot_touch_its_neighbours(server: Server) -> None:
    """Also when a prefix looks like a pattern: [s]hop:* would match shop:*."""
    plain = server.plain
    neighbours = ["shop:kept", "sshop:kept", "logsync:other:book", "kept"]
    for key in neighbours:
        plain.set(key, 1)
    store = server.begun(prefix="[s]hop:")
    store.apply(plan(START, [Set("shop:kept", 2), *[Set(f"k{n}", n) for n in range(3_000)]]))
    assert store.holds_data()
    store.wipe(BOOK)
    assert not store.holds_data()
    assert all(plain.get(key) == b"1" for key in neighbours)
    assert store.positions() == {0: Position(0, 1, 1, 0, "event-0")}  # left to the caller


def test_two_stores_that_race_on_one_position_apply_each_event_once(server: Server) -> None:
    """They take turns by losing: the one that loses reads the position and continues from there, as a worker does."""
    stores = [server.begun(), server.store()]
    at = [START, START]
    conflicts = 0
    for turn in range(200):
        me = turn % 3 % 2
        try:
            made = plan(at[me], [Incr("n", at[me].next_offset + 1)], [HIncr("h", {"n": 1})])
            stores[me].apply(made)
            at[me] = made.end
        except PositionConflict:
            conflicts += 1
            at[me] = stores[me].positions()[0]
    end = stores[0].positions()[0].next_offset
    assert conflicts > 20
    assert server.content() == {
        b"n": str(sum(n + 1 for n in range(0, end, 2))).encode(),
        b"h": {b"n": str(end // 2).encode()},
    }


def test_a_passed_expiry_does_not_come_between_merged_writes(server: Server) -> None:
    """Stated in docs/writes-redis.md: a passed expiry does not come between writes that are merged."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    server.begun().apply(
        plan(START, [HIncr("h", {"n": 1}), ExpireAt("h", PAST)], [HIncr("h", {"n": 1}), ExpireAt("h", soon)])
    )
    assert server.content() == {b"h": {b"n": b"2"}}


def test_the_store_says_nothing_of_its_address(server: Server) -> None:
    assert "secret" not in repr(Redis("redis://me:secret@localhost/0", prefix="shop:"))


def test_while_the_server_works_the_worker_does_something_else_and_stops_at_the_answer(server: Server) -> None:  # F1
    store, slices = server.begun(), list[int]()

    def work() -> bool:
        slices.append(1)
        return True  # there is always more

    store.meanwhile = work
    store.open(SINK, Settings(_env_file=None))
    assert not slices
    server.plain.client_pause(300, all=False)
    store.apply(plan(START, [Set("k", 1)]))
    assert len(slices) >= 10
    assert server.content() == {b"k": b"1"}
