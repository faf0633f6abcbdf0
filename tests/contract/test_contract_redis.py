"""Redis keeps the contract. Its keys are read back with redis-py, type by type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from logsync.core.write import Write
from logsync.stores.redis import Del, Incr, Redis, SAdd, Set
from logsync.testing.store_contract import Content, Sample
from tests.contract import samples
from tests.contract.on_stack import OnStack


def text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


@pytest.mark.servers("redis")
class TestRedis(OnStack):
    server = "redis"
    puts, adds, deletes = Set, Incr, Del
    creates = ()

    def make_store(self, sink: str) -> Redis:
        return Redis(prefix=f"{sink}:")

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        return {**samples.of_keys(), Del: lambda key, n: Del(f"{('text', 'hash', 'set', 'scores')[n % 4]}:{key}")}

    def content(self, sink: str) -> Content:
        with redis.Redis.from_url(self.address) as server:
            names = list(server.scan_iter(f"{sink}:*", count=1000))
            batch = server.pipeline(transaction=False)
            for name in names:
                batch.type(name)
                batch.pexpiretime(name)
            about = batch.execute()
            values = {name: self._read(batch, name, kind) for name, kind in zip(names, about[::2], strict=True)}
            found = dict(zip(values, batch.execute(), strict=True))
        keys = {name.decode().removeprefix(f"{sink}:"): plain(value) for name, value in found.items()}
        ends = {
            name.decode().removeprefix(f"{sink}:"): datetime.fromtimestamp(at / 1000, UTC)
            for name, at in zip(names, about[1::2], strict=True)
            if at > 0
        }
        return Content.of(keys=keys, expiries=ends)

    def _read(self, batch: Any, name: bytes, kind: bytes) -> None:
        match kind:
            case b"string":
                batch.get(name)
            case b"hash":
                batch.hgetall(name)
            case b"set":
                batch.smembers(name)
            case b"zset":
                batch.zrange(name, 0, -1, withscores=True)

    def refused(self, sink: str) -> Write:
        return SAdd("set:refused", (None,))  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, dict):
        return {text(name): text(held) for name, held in value.items()}
    if isinstance(value, set):
        return frozenset(map(text, value))
    return {text(name): int(score) for name, score in value}
