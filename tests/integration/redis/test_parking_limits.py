"""Parking without rights, beside foreign keys, in a server that is full, killed or restarted."""

from __future__ import annotations

import threading

import pytest

from logsync.core.book import Request
from logsync.core.position import Position
from logsync.errors import ConfigError, StoreError, StoreUnavailable
from logsync.stores.redis import Incr
from tests.integration.redis.conftest import BOOK, Server, plan, wait_for

from .parking import NAMES, NOON, START, as_the_memory_store_sees_it, entry, history, park, release, state


@pytest.mark.parametrize("right", ["hsetnx", "zadd", "zrem", "hdel", "hget", "hlen", "zcard"])
def test_a_user_without_rights_to_park_writes_nothing(server: Server, right: str) -> None:
    store = server.begun()
    store.apply(park(START, entry(0), to=1))
    server.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", f"-{right}"])
    limited = server.store(user="me")
    before = state(server)
    with pytest.raises(ConfigError, match=r"ACL SETUSER"):
        limited.apply(release(Position(0, 1), 0, writes=(Incr("n"),)))
    with pytest.raises(ConfigError, match=r"ACL SETUSER"):
        limited.apply(park(Position(0, 1), entry(1), to=2, writes=[Incr("n")]))
    assert state(server) == before
    limited.apply(plan(Position(0, 1), [Incr("n")]))  # nothing parked, nothing needed
    assert store.positions()[0].next_offset == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_bookkeeping_key_that_holds_something_else_halts_before_the_first_write(server: Server, name: str) -> None:
    store = server.begun()
    server.plain.set(name, "mine")
    with pytest.raises(ConfigError, match=r"WRONGTYPE(.|\n)*overwritten"):
        store.apply(park(START, entry(0), to=1, writes=[Incr("n")]))
    assert server.content() == {}
    assert store.positions() == {0: START}


def test_the_rights_that_the_docs_list_are_enough_to_park(server: Server) -> None:
    rights = [
        "~shop:*",
        "~logsync:cache:*",
        "~logsync:prefixes",
        "+@read",
        "+@write",
        "+@scripting",
        "+@connection",
        "+info",
        "+ping",
    ]
    server.plain.execute_command("ACL", "SETUSER", "me", "on", ">secret", *rights)
    store = server.begun(user="me")
    store.apply(park(START, entry(0), entry(1), to=2, writes=[Incr("n")]))
    assert store.sequences(0)["k"].events == 2
    store.apply(release(store.positions()[0], 0, still_parked=(entry(1),), writes=(Incr("n"),)))
    assert store.parked(0) == [entry(1)]
    store.wipe(BOOK)
    assert not store.holds_data()


def test_what_is_parked_can_be_read_and_wiped_while_memory_is_full(server: Server) -> None:
    store = server.begun()
    store.apply(park(START, entry(0), to=1, writes=[Incr("n")]))
    before = state(server)
    server.plain.config_set("maxmemory", 1_000_000)
    for made in (park(Position(0, 1), entry(1), to=2), plan(Position(0, 1), [Incr("n")])):
        with pytest.raises(StoreUnavailable, match="OOM"):
            store.apply(made)
    assert state(server) == before
    assert store.parked(0) == [entry(0)]
    assert store.sequences(0).keys() == {"k"}
    store.wipe(BOOK)
    assert not store.holds_data()
    assert not server.plain.exists(*NAMES)


def test_a_server_full_of_parked_events_is_released_and_then_takes_new_ones(server: Server) -> None:
    store = server.begun()
    empty = int(server.plain.info("memory")["used_memory"])
    entries = [entry(n, size=100_000) for n in range(60)]  # 8 MB; one by one, because a large plan is memory, too
    for one in entries:
        store.apply(park(store.positions()[0], one, to=one.offset + 1))
    server.plain.config_set("maxmemory", empty + 4_000_000)
    new = plan(Position(0, 60), [Incr("n")])
    with pytest.raises(StoreUnavailable, match="OOM"):
        store.apply(new)
    late = server.store()  # a worker that begins now
    book = late.read_book()
    assert book
    late.write_book(book.next(requests=(Request(id="r", partitions=(0,), at=NOON),)))
    given_up = [one._replace(discarded="no", last_at=NOON) for one in entries[:5]]
    late.apply(release(late.positions()[0], still_parked=tuple(given_up)))
    assert late.parked(0, limit=5) == given_up
    late.apply(release(late.positions()[0], *range(5)))
    late.apply(release(late.positions()[0], *range(5, 60), writes=(Incr("n", 40),)))
    assert late.sequences(0) == {}
    late.apply(plan(late.positions()[0], [Incr("n")]))
    assert server.plain.get("shop:n") == b"41"


def test_redis_killed_while_it_parks_and_releases_holds_every_event_once(server: Server) -> None:
    store = server.begun()
    at = START

    def work() -> None:
        nonlocal at
        try:
            for made in history(at):
                store.apply(made)
                at = made.end
        except StoreError:
            return

    for _ in range(3):
        begin = at.next_offset
        worker = threading.Thread(target=work)
        worker.start()
        wait_for(lambda: at.next_offset > begin + 2_000)  # noqa: B023 - joined before it changes
        server.stack.kill("redis")
        worker.join()
        server.stack.start("redis")
        store = server.store()
        try:
            found = store.positions()[0]
        except ConfigError:  # a torn transaction that Redis loads twice is noticed, as in test_faults
            return
        through = found.next_offset if found.releases else max(0, found.next_offset - 40)
        waiting = [n for n in range(found.next_offset) if n % 4 == 0 and (n % 8 == 0 or n >= through)]
        parked = store.parked(0, limit=1_000_000)
        assert [one.offset for one in parked] == waiting
        assert store.sequences(0) == as_the_memory_store_sees_it(parked)
        counted = found.next_offset * 3 // 4 + through // 40 * 5
        assert int(server.content().get(b"n", 0)) == counted  # type: ignore[call-overload]
        if not found.releases and found.next_offset:  # killed between the two: finish, so that history() may begin anew
            mine = [n for n in waiting if n >= through and n % 8]
            made = release(found, *mine, writes=(Incr("n", 5),))
            store.apply(made)
            found = made.end
        at = found


def test_a_restart_forgets_the_scripts_and_reading_brings_them_again(server: Server) -> None:
    store = server.begun()
    store.apply(park(START, entry(0), to=1))
    server.plain.script_flush()
    assert store.parked(0) == [entry(0)]
    server.plain.script_flush()
    assert store.sequences(0).keys() == {"k"}
    server.plain.script_flush()
    store.wipe(BOOK)
    assert not store.holds_data()
