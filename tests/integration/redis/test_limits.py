"""Memory that is full, keys that are evicted, rights that are missing, and a script that dies for all that."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logsync.core.position import Position
from logsync.errors import ConfigError, StoreUnavailable
from logsync.stores.redis import Del, HIncr, HSet, Incr, SAdd, Set, SRem, ZIncr
from tests.integration.redis.conftest import BOOK, ONE, START, Server, plan, wait_for
from tests.integration.redis.fold import events_of


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
        with pytest.raises(ConfigError, match=r"evicted \d+ keys(.|\n)*logsync rebuild SINK"):
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
    careless._scripts.apply.body = careless._scripts.apply.body.replace(b"if mode ~= RUN then", b"if false then")
    # What open() loaded is another script: this one is not known, and goes as EVAL.
    careless._scripts.apply.sha = hashlib.sha1(careless._scripts.apply.body).hexdigest().encode()
    with pytest.raises(ConfigError, match=r"died half-way(.|\n)*logsync rebuild SINK --yes"):
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
