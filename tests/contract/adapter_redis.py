"""Redis in the contract suite: put is Set, add is Incr. The content is read with redis-py, without the store."""

from __future__ import annotations

import redis

from logsync.core.write import Write
from logsync.settings import Settings
from logsync.stores.redis import Del, Incr, Redis, SAdd, Set
from tests.contract.adapters import Content


class RedisAdapter:
    atomic = True

    def __init__(self, settings: Settings, unique: str) -> None:
        self.settings = settings
        self.sink = self.prefix = unique
        self.server = redis.Redis.from_url(settings.redis.get_secret_value())

    def client(self) -> Redis:
        store = Redis(prefix=self.prefix + ":")
        store.open(self.sink, self.settings)
        return store

    def put(self, key: str, n: int) -> Write:
        return Set(f"put:{key}", n)

    def add(self, key: str, n: int) -> Write:
        return Incr(f"add:{key}", n)

    def delete(self, key: str) -> Write:
        return Del(f"put:{key}")

    def refused(self) -> Write:
        return SAdd("add:a", ("a counter is not a set",))

    def content(self) -> Content:
        return {group: self._numbers(f"{self.prefix}:{group}:") for group in ("put", "add")}

    def _numbers(self, prefix: str) -> dict[str, int]:
        keys = list(self.server.scan_iter(prefix + "*", count=1000))
        values = self.server.mget(keys) if keys else []
        found = zip(keys, values, strict=True)
        return {str(key, "utf-8").removeprefix(prefix): int(str(value, "ascii")) for key, value in found}


def make(settings: Settings, unique: str) -> RedisAdapter:
    return RedisAdapter(settings, unique)
