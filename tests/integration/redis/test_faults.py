"""What a real Redis does when it is killed, full, paused, flushed or misconfigured, and what the store says then."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict, StoreError, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.redis import Del, HIncr, HSet, Incr, SAdd, Set, SRem, ZIncr
from tests.integration.redis.conftest import BOOK, Server, plan
from tests.integration.redis.fold import events_of, fold
from tests.waiting import PATIENCE

START = Position(0, 0)
ONE = plan(START, [Incr("n")])


def wait_for(claim: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


def stored(server: Server) -> int:
    return server.store().positions()[0].next_offset


# Killed


@pytest.mark.parametrize("size", [3, 400, 4000])
def test_redis_killed_while_plans_are_applied_holds_the_fold_up_to_its_position(server: Server, size: int) -> None:
    store = server.begun()
    position = START
    failure: list[StoreError] = []

    def work() -> None:
        nonlocal position
        try:
            while True:
                made = plan(position, *events_of(position.next_offset, size))
                store.apply(made)
                position = made.end
        except StoreError as error:
            failure.append(error)

    for _ in range(3):
        begin = position.next_offset
        worker = threading.Thread(target=work)
        worker.start()
        wait_for(lambda: position.next_offset > begin + 2 * size)  # noqa: B023 - joined before it changes
        server.stack.kill("redis")
        worker.join()
        assert isinstance(failure.pop(), StoreUnavailable | StoreOutcomeUnknown)
        server.stack.start("redis")
        told = position.next_offset
        try:
            position = server.store().positions()[0]
        except ConfigError:
            # Redis itself may load half of a torn transaction besides the next whole one, see apply.lua. That the
            # content is wrong then is Redis's doing; that nobody takes it for right is ours.
            assert server.plain.hget("logsync:cache:positions", "begun") != server.plain.hget(
                "logsync:cache:positions", "ended"
            )
            return
        # It may be back before what apply returned for (seen: 93, then 81): with appendfsync everysec Redis answers
        # before it writes the file while the disk is busy. Values and position go back together, which is all we need.
        assert position.next_offset <= told + size
        assert server.content() == fold(position.next_offset)


def test_a_torn_transaction_that_redis_loads_besides_the_next_one_is_never_taken_for_content(server: Server) -> None:
    store = server.begun()
    store.apply(ONE)
    # What two starts after a kill in the middle of a write can leave: the first writes of a plan, run once more.
    server.plain.hincrby("logsync:cache:positions", "begun", 1)
    server.plain.incr("shop:n")
    for someone in (store, server.store()):
        for call in (someone.positions, lambda: someone.apply(plan(Position(0, 1), [Incr("n")]))):  # noqa: B023
            with pytest.raises(ConfigError, match=r"begun(.|\n)*logsync rebuild cache --yes"):
                call()
    wiping = BOOK.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    store.apply(plan(Position(0, 0, 2), [Incr("n")]))
    assert server.content() == {b"n": b"1"}


def test_positions_that_are_written_anew_do_not_hide_a_script_that_died(server: Server) -> None:
    """`position set`, `adopt` and the beginning of a rebuild replace them; the content is that of half a plan."""
    store = server.begun()
    store.apply(ONE)
    server.plain.hincrby("logsync:cache:positions", "begun", 1)
    for positions in ([Position(0, 1, 2)], []):
        book = store.read_book()
        assert book
        store.write_book(book.next(epoch=2), positions=positions)
        with pytest.raises(ConfigError, match=r"begun 2, ended 1(.|\n)*logsync rebuild cache --yes"):
            server.store().positions()
    book = store.read_book()
    assert book
    store.wipe(book)
    assert store.positions() == {}
    # Half of the first plan, run once more by a later start of Redis, as behind its torn transaction.
    server.plain.hincrby("logsync:cache:positions", "begun", 1)
    with pytest.raises(ConfigError, match="begun 4, ended 3"):
        store.positions()


def test_a_client_killed_while_it_applies_leaves_the_fold_up_to_its_position(server: Server) -> None:
    server.begun()
    for size in (1, 50, 3000, 3000):
        begin = stored(server)
        client = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.redis.client_that_dies", server.url, str(size)]
        )
        wait_for(lambda: stored(server) > begin + size)  # noqa: B023 - used at once
        client.kill()
        client.wait()
        wait_for(lambda: server.plain.info("clients")["connected_clients"] <= 1 + len(server.opened))
        assert server.content() == fold(stored(server))


def test_a_restart_forgets_the_script_and_the_next_apply_brings_it_again(server: Server) -> None:
    store = server.begun()
    store.apply(ONE)
    server.stack.restart("redis")  # the store's connection is stale as well, and it says so before it sends
    store.apply(plan(Position(0, 1), [Incr("n")]))
    assert server.content() == {b"n": b"2"}


# Not there, or not answering


def test_no_server_is_unavailable_and_names_the_address_without_the_password(server: Server) -> None:
    server.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    store = server.begun(user="me")
    server.stack.kill("redis")
    for call in (
        store.positions,
        lambda: store.apply(ONE),
        store.read_book,
        store.holds_data,
        lambda: store.wipe(BOOK),
    ):
        with pytest.raises(StoreUnavailable, match=r"redis at 127\.0\.0\.1:") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_paused_server_leaves_the_outcome_open_and_the_position_tells(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logsync.stores.redis.store._WATCH_EVERY", 3600)  # else a slow test would meet the watch first
    store = server.begun(timeout=0.3)
    store.positions()
    server.stack.pause("redis")
    try:
        with pytest.raises(StoreOutcomeUnknown):
            store.apply(ONE)
        with pytest.raises(StoreUnavailable):  # connecting anew: this script is surely not there
            store.apply(ONE)
        with pytest.raises(StoreUnavailable):
            store.positions()
    finally:
        server.stack.resume("redis")
    wait_for(lambda: stored(server) == 1)  # the original arrives late
    with pytest.raises(PositionConflict):  # P4: whoever comes second loses
        store.apply(ONE)
    assert server.content() == {b"n": b"1"}


# Gone back in time


def test_a_flushed_server_has_no_position_and_apply_does_not_make_one(server: Server) -> None:
    store = server.begun()
    store.apply(ONE)
    server.plain.flushall()
    assert store.positions() == {}
    assert store.read_book() is None
    with pytest.raises(PositionConflict, match="no position"):
        store.apply(plan(Position(0, 1), [Incr("n")]))
    assert server.content() == {}


# Full


def test_a_full_server_refuses_the_plan_as_a_whole_and_goes_on_when_there_is_room(server: Server) -> None:
    store = server.begun()
    store.apply(ONE)
    plain = server.plain
    plain.config_set("maxmemory", 1_000_000)
    before = server.content()
    with pytest.raises(StoreUnavailable, match="OOM"):
        store.apply(plan(Position(0, 1), [Incr("n"), HSet("h", {"a": 1})]))
    assert server.content() == before
    assert store.positions()[0].next_offset == 1
    plain.config_set("maxmemory", 0)
    store.apply(plan(Position(0, 1), [Incr("n")]))
    assert server.content() == {b"n": b"2"}


def test_memory_that_runs_out_in_the_middle_of_a_plan_does_not_tear_it(server: Server) -> None:
    store = server.begun()
    plain = server.plain
    position = START
    plain.config_set("maxmemory", int(plain.info("memory")["used_memory"]) + 6_000_000)
    refused = None
    while refused is None:  # each plan alone is larger than what is left in the end
        made = plan(position, *[[Set(f"{position.next_offset + n}", "x" * 1000)] for n in range(2500)])
        try:
            store.apply(made)
            position = made.end
        except StoreUnavailable as error:
            refused = error
    assert "OOM" in str(refused)
    assert position.next_offset > 0
    assert store.positions()[0] == position
    assert len(server.content()) == position.next_offset


def test_another_eviction_policy_is_refused_at_open_and_while_running(server: Server) -> None:
    store = server.begun()
    server.plain.config_set("maxmemory-policy", "allkeys-lru")
    for call in (server.store, store.positions):
        with pytest.raises(ConfigError, match=r"noeviction, found allkeys-lru(.|\n)*to mend it"):
            call()


def test_evicted_keys_halt_the_sink_until_it_is_rebuilt_also_after_the_policy_is_right_again(server: Server) -> None:
    store = server.begun()
    later = datetime(2090, 1, 1, tzinfo=UTC)
    store.apply(plan(START, *[[Set(f"k{n}", "x" * 1000, later)] for n in range(2000)]))
    plain = server.plain
    plain.config_set("maxmemory-policy", "volatile-random")  # the bookkeeping stays: without its book a sink is new
    plain.config_set("maxmemory", int(plain.info("memory")["used_memory"]) - 500_000)
    plain.set("foreign", "x" * 100_000)
    wait_for(lambda: plain.info("stats")["evicted_keys"] > 0)
    plain.config_set("maxmemory", 0)
    plain.config_set("maxmemory-policy", "noeviction")
    again = server.store()
    for call in (store.positions, again.positions, lambda: again.apply(plan(Position(0, 2000), [Incr("n")]))):
        with pytest.raises(ConfigError, match=r"evicted \d+ keys(.|\n)*logsync rebuild cache"):
            call()
    plain.delete("logsync:cache:evicted")  # even if the mark of the sink itself was evicted
    with pytest.raises(ConfigError, match=r"evicted \d+ keys"):
        server.store().positions()
    again.wipe(BOOK)
    again.positions()


# Rights


def test_a_user_without_rights_to_one_command_writes_nothing(server: Server) -> None:
    store = server.begun()
    server.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-sadd"])
    limited = server.store(user="me")
    with pytest.raises(ConfigError, match=r"may not run SADD(.|\n)*ACL SETUSER"):
        limited.apply(plan(START, [Incr("n")], [SAdd("m", ("a",))]))
    assert server.content() == {}
    assert store.positions() == {0: START}


@pytest.mark.parametrize("right", ["get", "hmget", "zmscore"])
def test_a_user_without_rights_to_read_what_is_checked_writes_nothing(server: Server, right: str) -> None:
    """What the check cannot see must not pass for "nothing is there", nor for the fault of an event."""
    store = server.begun()
    server.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    limited = server.store(user="me")
    limited.positions()
    server.plain.acl_setuser("me", commands=[f"-{right}"])
    with pytest.raises(ConfigError, match=r"no permissions to run(.|\n)*ACL SETUSER"):
        limited.apply(plan(START, [Set("a", 1), Incr("n"), HIncr("h", {"a": 1}), ZIncr("z", {"a": 1})]))
    assert server.content() == {}
    assert store.positions() == {0: START}


def test_the_rights_that_the_docs_list_are_enough(server: Server) -> None:
    docs = Path(__file__).parents[3] / "docs" / "writes-redis.md"
    found = re.search(r"ACL SETUSER cache on >password (.*?)\n\n", docs.read_text(), re.DOTALL)
    assert found
    rights = found.group(1).replace("\\\n", " ").split()
    server.plain.execute_command("ACL", "SETUSER", "me", "on", ">secret", *rights)
    store = server.begun(user="me")
    for n in range(3):
        made = plan(store.positions()[0], *events_of(n * 10, 10))
        store.apply(made)
    store.apply(plan(made.end, [Set("s", 1, datetime(2090, 1, 1, tzinfo=UTC)), Del("count"), SRem("seen", (1,))]))
    assert server.content()
    store.wipe(BOOK)
    assert not store.holds_data()


def test_a_user_without_rights_to_one_key_writes_nothing(server: Server) -> None:
    """The script names all its keys, so Redis looks at them before it runs."""
    store = server.begun()
    server.plain.acl_setuser(
        "me", enabled=True, passwords=["+secret"], keys=["shop:a*", "logsync:*"], commands=["+@all"]
    )
    limited = server.store(user="me")
    with pytest.raises(ConfigError, match=r"NOPERM(.|\n)*ACL SETUSER"):
        limited.apply(plan(START, [Set("a", 1), HSet("a2", {"x": 1})], [Set("b", 2)]))
    assert server.content() == {}
    limited.apply(plan(START, [Set("a", 1)]))
    assert store.positions()[0].next_offset == 1


def test_a_script_that_dies_half_way_poisons_the_sink_until_it_is_rebuilt(server: Server) -> None:
    """Without its guards the script meets a wrong type after its first write: what the guards are there for. # R1"""
    store = server.begun()
    store.apply(plan(START, [Set("k", "text")]))
    careless = server.store()
    careless._apply.body = careless._apply.body.replace(b"if mode ~= RUN then", b"if false then")
    # What open() loaded is another script: this one is not known, and goes as EVAL.
    careless._apply.sha = hashlib.sha1(careless._apply.body).hexdigest().encode()
    with pytest.raises(ConfigError, match=r"died half-way(.|\n)*logsync rebuild cache --yes"):
        careless.apply(plan(Position(0, 1), [Set("a", 1)], [HSet("k", {"x": 1})]))
    assert server.content() == {b"k": b"text", b"a": b"1"}  # torn: that is why
    for someone in (store, careless, server.store()):
        for call in (someone.positions, lambda: someone.apply(plan(Position(0, 1), [Incr("n")]))):  # noqa: B023
            with pytest.raises(ConfigError, match="died half-way"):
                call()
    wiping = BOOK.next(state="wiping", epoch=2)
    store.write_book(wiping, positions=[])
    store.wipe(wiping)
    store.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    store.apply(plan(Position(0, 0, 2), [Incr("n")]))
    assert server.content() == {b"n": b"1"}


# The book


@pytest.mark.parametrize(("first", "second"), [("shop:", "shop:eu:"), ("shop:eu:", "shop:"), ("shop:", "shop:"),
                                               ("{a}:", "{a}:b:")])  # fmt: skip
def test_a_prefix_that_overlaps_with_that_of_another_sink_is_refused(server: Server, first: str, second: str) -> None:
    """A rebuild of the one would delete keys of the other; also when the other is empty yet, or comes by a rebuild."""
    store = server.begun(prefix=first)
    rival = server.store(prefix=second, sink="other")
    book = BOOK.model_copy(update={"sink": "other"})
    for claim in (book, book.model_copy(update={"state": "wiping"})):
        with pytest.raises(ConfigError) as caught:
            rival.write_book(claim, positions=[])
        assert all(repr(name)[1:-1] in str(caught.value) for name in (first, second, "sink other", "sink cache"))
        assert rival.read_book() is None
    server.begun(prefix="ship:", sink="beside")
    # The sink itself goes on, is rebuilt, and its name can be given up by hand.
    store.apply(ONE)
    store.write_book(BOOK.next(), positions=[Position(0, 0)])
    server.plain.hdel("logsync:{a}:prefixes" if "{a}" in first else "logsync:prefixes", "cache")
    rival.write_book(book, positions=[])


def test_a_sink_whose_prefix_was_changed_is_refused_until_it_is_rebuilt(server: Server) -> None:
    server.begun().apply(ONE)
    moved = server.store(prefix="store:")
    with pytest.raises(ConfigError, match=r"'shop:', and now it is 'store:'(.|\n)*rebuild cache"):
        moved.positions()
    moved.write_book(BOOK.next(epoch=2), positions=[Position(0, 0, 2)])
    assert moved.positions() == {0: Position(0, 0, 2)}


def test_a_book_that_cannot_be_read_is_an_error_of_logsync_s_own(server: Server) -> None:
    store = server.begun()
    server.plain.set("logsync:cache:book", '{"revision": "of another version"}')
    with pytest.raises(ConfigError, match=r"logsync:cache:book holds no book .* can read"):
        store.read_book()


def test_of_two_books_made_from_one_revision_only_one_is_kept(server: Server) -> None:
    first, second = server.begun(), server.store()
    results: list[object] = []

    def claim(store: object, state: str) -> None:
        try:
            store.write_book(BOOK.next(state=state), positions=[Position(0, 9)])  # type: ignore[attr-defined]
            results.append(state)
        except PositionConflict as error:
            results.append(error)

    threads = [threading.Thread(target=claim, args=pair) for pair in ((first, "ready"), (second, "wiping"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, str)]
    assert len(won) == 1
    book = first.read_book()
    assert book is not None
    assert (book.revision, book.state) == (2, won[0])
    assert second.positions() == {0: Position(0, 9)}


def test_a_wipe_that_was_cut_short_is_finished_by_the_next_one(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, *[[Set(f"k{n}", n)] for n in range(5000)]))
    real, steps = store._io.ask, []

    def cut(script: object, keys: object, args: object) -> object:
        steps.append(script)
        if len(steps) == 3:
            raise StoreUnavailable("cut")
        return real(script, keys, args)  # type: ignore[arg-type]

    store._io.ask = cut  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        store.wipe(BOOK)
    assert 0 < len(server.content()) < 5000
    store._io.ask = real  # type: ignore[method-assign]
    assert store.holds_data()
    store.wipe(BOOK)
    assert server.content() == {}
