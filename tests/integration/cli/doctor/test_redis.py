"""What doctor finds in Redis: each finding is provoked, and nothing else is found with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from logsync.cli.exits import Exit

from .clinic import Clinic, eventually

pytestmark = pytest.mark.servers("kafka", "postgres", "redis")


@contextmanager
def configured(plain: redis.Redis, **settings: str) -> Iterator[None]:
    names = {name.replace("_", "-"): value for name, value in settings.items()}
    before = {name: plain.config_get(name)[name] for name in names}
    try:
        for name, value in names.items():
            plain.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            plain.config_set(name, value)


FORGETTING = [
    ({"maxmemory_policy": "allkeys-lru"}, "redis.maxmemory_policy", "error", "maxmemory-policy noeviction"),
    ({"appendonly": "no"}, "redis.appendonly", "warning", "CONFIG SET appendonly yes"),
    ({"appendfsync": "no"}, "redis.appendfsync", "warning", "CONFIG SET appendfsync everysec"),
]


def test_a_redis_that_forgets(cache: Clinic, plain: redis.Redis) -> None:
    for settings, check, severity, fix in FORGETTING:
        with configured(plain, **settings):
            cache.finds(check, severity, fix)
    cache.is_well()


def test_evicted_keys(cache: Clinic, plain: redis.Redis) -> None:
    def fill(numbers: range) -> None:
        with plain.pipeline(transaction=False) as pipeline:
            for number in numbers:
                pipeline.set(f"{cache.name}-other:{number}", "x" * 1000, ex=600)
            pipeline.execute()

    fill(range(2000))
    # Only keys that expire are evicted: none of the sink's, but who could tell that afterwards?
    with configured(plain, maxmemory_policy="volatile-random", maxmemory="0"):
        plain.config_set("maxmemory", int(plain.info("memory")["used_memory"]) - 500_000)
        before = plain.info("stats")["evicted_keys"]
        fill(range(2000, 2001))
        eventually(lambda: plain.info("stats")["evicted_keys"] > before)
    plain.delete(*plain.scan_iter(f"{cache.name}-other:*", count=1000))
    cache.finds("redis.content", "error", "evicted", "logsync rebuild")


def test_a_script_that_died_half_way(cache: Clinic, plain: redis.Redis) -> None:
    plain.hincrby(f"logsync:{cache.name}:positions", "begun", 1)
    cache.finds("redis.content", "error", "half-way", "logsync rebuild")


def test_a_replica(cache: Clinic, plain: redis.Redis) -> None:
    try:
        plain.replicaof("127.0.0.1", "1")
        cache.finds("redis.role", "error", "point LOGSYNC_REDIS at the primary")
    finally:
        plain.replicaof("NO", "ONE")
    cache.is_well()


def test_a_redis_user_with_the_least_rights_is_told_what_was_not_looked_at(
    cache: Clinic, plain: redis.Redis, unique: str
) -> None:
    rights = ["+@read", "+@write", "+@scripting", "+@connection", "+info", "+ping"]
    keys = [f"{unique}:*", f"logsync:{unique}:*", "logsync:prefixes"]
    plain.acl_setuser(unique, enabled=True, passwords=["+hunter2"], keys=keys, commands=rights)
    try:
        address = cache.shell.env["LOGSYNC_REDIS"]
        cache.shell.env["LOGSYNC_REDIS"] = address.replace("redis://", f"redis://{unique}:hunter2@")
        cache.is_well()
        shown = cache.shell("doctor", "cache", code=Exit.OK).stdout
        assert "may not read appendfsync" in shown
    finally:
        plain.acl_deluser(unique)
