"""What a real Redis does when it is killed, full, paused, flushed or misconfigured, and what the store says then."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict, StoreError, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.redis import Incr
from tests.integration.redis.conftest import BOOK, ONE, START, Server, plan, stored, wait_for
from tests.integration.redis.fold import events_of, fold


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
            with pytest.raises(ConfigError, match=r"begun(.|\n)*logsync rebuild SINK --yes"):
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
        with pytest.raises(ConfigError, match=r"begun 2, ended 1(.|\n)*logsync rebuild SINK --yes"):
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
    with pytest.raises(PositionConflict):  # P4: the one that comes second loses
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
