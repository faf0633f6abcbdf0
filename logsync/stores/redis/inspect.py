"""What `logsync doctor` finds in Redis: what a restart or an eviction would cost, and what is kept for the sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from logsync.core.inspection import Finding, Inspection, Severity, noting

if TYPE_CHECKING:
    from logsync.stores.redis.connection import Connection


def judge(facts: Mapping[str, str]) -> list[Finding]:
    """Findings about the server, from its INFO and ``appendfsync`` (absent: the user may not read it)."""
    found: list[Finding] = []

    def find(severity: Severity, check: str, what: str, why: str = "", fix: str = "") -> None:
        found.append(Finding(severity, f"redis.{check}", what, why, fix))

    find(Severity.NOTE, "version", f"Redis {facts['redis_version']}, redis-py {version('redis')}")
    if facts["aof_enabled"] == "0":
        why = "a restart takes the sink back to its last snapshot, or to nothing"
        fix = "`CONFIG SET appendonly yes`, and the same in redis.conf"
        find(Severity.WARNING, "appendonly", "Redis has no append-only file", why, fix)
    elif facts.get("appendfsync", "no") == "no":
        why = "with appendfsync=no a crash of the machine takes the sink back by half a minute; it then replays that"
        fix = "`CONFIG SET appendfsync everysec`, and the same in redis.conf"
        if "appendfsync" in facts:
            find(Severity.WARNING, "appendfsync", "Redis: appendfsync is no", why, fix)
        else:
            find(Severity.NOTE, "appendfsync", "Redis: this user may not read appendfsync", why)
    if facts["role"] != "master":
        why = "it takes no writes, so workers wait, and what it says may be old"
        find(Severity.ERROR, "role", "this Redis is a replica", why, "point LOGSYNC_REDIS at the primary")
    return found


def inspect(connect: Callable[[], Connection]) -> Inspection:
    """See Store.inspect. Commands that read, and not one script that writes."""
    seen = Inspection()
    with noting(seen.findings, "redis.server"), closing(connect()) as here:
        facts = {**here.info("server"), **here.info("persistence"), **here.info("replication")}
        with noting([], ""):  # not a right that a worker needs; `judge` says so
            facts["appendfsync"] = str(here.client.call("CONFIG", "GET", "appendfsync")[1], "ascii")
        seen.findings += judge(facts)
        with noting(seen.findings, "redis.server"):
            here.check_server()
        with noting(seen.findings, "redis.maxmemory_policy"):
            here.check_policy()
        with noting(seen.findings, "redis.content"):  # evicted, or a script that died half-way: # R1 R2
            seen.book = here.read_book()
            seen.holds_data = seen.book is None and here.holds_data()
            seen.positions = here.positions()
            seen.waiting = {number: here.sequences(number) for number in seen.positions}
    return seen
