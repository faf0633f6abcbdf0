"""Faults of a store's server, of the network before it, of what it holds, and of the room that it has."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx

from sinks.db import TABLES
from tests.integration.worker.harness import until

from .fault import NotHere, Steps, elsewhere, fault, outage
from .pgbouncer import PgBouncer, Stranger
from .plain import index_of, index_setting, mount, redis_of, sql, unmount
from .world import Lane

# Servers


@fault("server", "killed with -9, started again", "the worker waits in its group and goes on by itself",
       ci="db cache search", back="cache",
       cache="the worker waits; Redis may be back a moment earlier than it was, and is followed there")  # fmt: skip
def server_killed(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lambda: lane.stack.kill(lane.server), lambda: lane.stack.start(lane.server))


@fault("server", "stands still (SIGSTOP), goes on", "the call in flight ends at its bound; the worker waits, "
       "then the position tells whether the call came through", ci="db")  # fmt: skip
def server_paused(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lambda: lane.stack.pause(lane.server), lambda: lane.stack.resume(lane.server))


@fault("server", "ends the worker's connections, again and again", ci="db",
       db="pg_terminate_backend: the transaction is rolled back, the worker connects anew",
       cache="CLIENT KILL: the worker connects anew",
       cannot={"search": "HTTP has no sessions that a server could end; see: connections cut"})  # fmt: skip
def server_ends_connections(lane: Lane, chance: Random) -> Steps:
    for _ in range(6):
        if lane.kind == "db":
            until(lambda: sql(lane, _TERMINATE), "a connection to end")
        else:
            until(lambda: redis_of(lane).client_kill_filter(_type="normal", skipme=True), "a connection to end")
        lane.world.grows(chance.randrange(1, 20))
    yield


_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logsync'"


@fault("server", "PgBouncer in transaction mode before it, killed with -9 and started again", ci="db",
       db="nothing is kept in a session: exact, also when others leave their settings in it; the worker waits while "
       "there is no PgBouncer",
       cannot={"cache": "is a pooler for Postgres", "search": "is a pooler for Postgres"})  # fmt: skip
def pooled(lane: Lane, chance: Random) -> Steps:
    with PgBouncer(lane.url) as pooler, Stranger(pooler.url):
        lane.worker.terminate()
        lane.start(env={"LOGSYNC_POSTGRES": pooler.url})
        sessions = set[int]()
        busy = lambda: sessions.update(pid for (pid,) in sql(lane, _SESSIONS)) or len(sessions) > 2  # noqa: E731
        until(busy, "transactions of the worker in several sessions of the server")
        pooler.kill()
        lane.waits()
        yield
        pooler.start()
        yield
        yield
        lane.worker.terminate()
    lane.start()
    lane.catches_up()


_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'logsync'"


_WEATHERS = "integration/worker/test_weathers_store.py"
_GOES_BACK = "for a worker the same as: an older copy is restored"
elsewhere("server", "fails over to a replica that lags",
          cache=("followed back and caught up again",
                 f"{_WEATHERS}::test_a_replica_that_lagged_is_promoted_under_the_worker_which_catches_up_again"),
          cannot={"db": _GOES_BACK, "search": "a replica that lags is not promoted; see: an older copy is restored"},
          )  # fmt: skip
elsewhere("server", "started again without an append-only file",
          cache=("goes on from the last snapshot, or from the log's first event if there is none",
                 f"{_WEATHERS}::test_redis_without_an_append_only_file_goes_on_from_what_it_has_after_a_restart"),
          cannot={"db": "its log cannot be turned off; `logsync doctor` tells if it does not reach the disk (fsync)",
                  "search": "its log cannot be turned off; `logsync doctor` tells if it reaches the disk late"},
          )  # fmt: skip


@fault("server", "read-only for a while", ci="db",
       db="default_transaction_read_only: refused as a whole, the worker waits",
       cache="REPLICAOF: READONLY, refused before the first write, the worker waits",
       search="index.blocks.write: the worker waits")  # fmt: skip
def server_read_only(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "db":
        reload, name = "SELECT pg_reload_conf()", "default_transaction_read_only"
        off = [f"ALTER SYSTEM RESET {name}", reload]
        return outage(lane, lambda: sql(lane, f"ALTER SYSTEM SET {name} = on", reload), lambda: sql(lane, *off))
    if lane.kind == "cache":
        client = redis_of(lane)
        return outage(lane, lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE"))
    return _blocked(lane, "write")


def _blocked(lane: Lane, block: str) -> Steps:
    name = f"index.blocks.{block}"
    return outage(lane, lambda: index_setting(lane, name, True), lambda: index_setting(lane, name, None))


# The network between worker and store


@fault("network", "0.1 s slower, both ways", "the worker goes on, in larger batches", ci="cache")
def slow(lane: Lane, chance: Random) -> Steps:
    before = lane.position() or 0
    lane.proxy.delay = 0.1
    try:
        until(lambda: (lane.position() or 0) > before + 30, "the position moves all the same")
        yield
    finally:
        lane.proxy.pass_again()


@fault("network", "connections cut, new ones refused", "the worker waits", ci="search")
def cut(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lane.proxy.refuse, lane.proxy.pass_again)


@fault("network", "half open: every byte is swallowed", "the call ends at its bound, the worker waits", ci="cache")
def half_open(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lane.proxy.swallow, lane.proxy.pass_again)


@fault("network", "answers lost in their middle, again and again", "outcome unknown: the position tells, nothing is "
       "applied twice", ci="db cache search")  # fmt: skip
def answers_lost(lane: Lane, chance: Random) -> Steps:
    lane.proxy.lose(lambda: chance.randrange(10))
    goal = lane.proxy.lost + 8
    try:
        until(lambda: lane.proxy.lost >= goal, "answers lost")
        lane.waits()
        yield
    finally:
        lane.proxy.pass_again()


# What the store holds


@fault("content", "all of it is gone: rows, position, book", ci="cache", back="db cache search",
       db="TRUNCATE of everything: filled again from the log's first event",
       cache="FLUSHALL: filled again from the log's first event",
       search="all indices deleted: made and filled again from the log's first event")  # fmt: skip
def emptied(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "db":
        sql(lane, f"TRUNCATE {', '.join(TABLES)}, logsync.position, logsync.book")
    elif lane.kind == "cache":
        redis_of(lane).flushall()
    else:
        indices = [row["index"] for row in httpx.get(f"{lane.url}/_cat/indices?format=json").json()]
        httpx.delete(f"{lane.url}/{','.join(indices)}").raise_for_status()
    yield


@fault("content", "the position is gone, the rest is there", ci="search", back="db cache search",
       db="TRUNCATE of the position: halts, naming `logsync rebuild db --yes`, which mends it",
       cache="DEL of the bookkeeping: halts, naming `logsync rebuild cache --yes`, which mends it",
       search="the index deleted: halts, naming `logsync rebuild search --yes`, which mends it")  # fmt: skip
def position_lost(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "db":
        sql(lane, "TRUNCATE logsync.position")
    elif lane.kind == "cache":
        assert redis_of(lane).delete(*redis_of(lane).keys("logsync:cache:*"))
    else:
        httpx.delete(f"{lane.url}/{index_of(lane)}").raise_for_status()
    output = lane.worker.ends(3)
    assert f"logsync rebuild {lane.kind} --yes" in output, output
    yield
    yield
    lane.rebuild()
    lane.start()


@fault("content", "an older copy is restored under the running worker", ci="db", back="db cache search",
       db="older rows with their older position: followed back and caught up again",
       cache="older values with their older position: followed back and caught up again",
       search="an older snapshot over the closed index: followed back and caught up again")  # fmt: skip
def restored(lane: Lane, chance: Random) -> Steps:
    restore = {"db": _copy_db, "cache": _copy_cache, "search": _copy_search}[lane.kind](lane)
    lane.world.grows(chance.randrange(50, 200))
    lane.catches_up()
    lane.quiet()
    restore()
    lane.waits()
    yield


def _copy_db(lane: Lane) -> Callable[[], None]:
    tables = ["logsync.position", "logsync.book", *TABLES]  # the worker's own order: nobody waits for the other
    copies = [(table, f"copy_of_{table.rpartition('.')[2]}") for table in tables]
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    sql(lane, begin, *(f"CREATE TABLE {copy} AS TABLE {table}" for table, copy in copies), "COMMIT")

    def restore() -> None:
        lock = f"LOCK TABLE {', '.join(tables)}"
        back = [f"DELETE FROM {table}; INSERT INTO {table} TABLE {copy}; DROP TABLE {copy}" for table, copy in copies]
        sql(lane, "BEGIN", lock, *back, "COMMIT")

    return restore


def _copy_cache(lane: Lane) -> Callable[[], None]:
    keys = "local all = {} for i, key in ipairs(redis.call('KEYS', '*')) do all[#all + 1] = key "
    copy: Any = redis_of(lane).eval(keys + "all[#all + 1] = redis.call('DUMP', key) end return all", 0)

    def restore() -> None:
        every = redis_of(lane).pipeline(transaction=True).flushall()
        for key, value in zip(copy[::2], copy[1::2], strict=True):
            every.restore(key, 0, value)
        every.execute()

    return restore


def _copy_search(lane: Lane) -> Callable[[], None]:
    place = lane.stack.servers["opensearch"].data / "snapshots"
    snapshots = httpx.Client(base_url=f"{lane.url}/_snapshot", timeout=60)
    name = f"copy-{lane.world.tail.end()}"
    repository = {"type": "fs", "settings": {"location": str(place)}}
    snapshots.put("/older", json=repository).raise_for_status()
    index = index_of(lane)
    body = {"indices": index, "include_global_state": False}
    snapshots.put(f"/older/{name}?wait_for_completion=true", json=body).raise_for_status()

    def restore() -> None:
        httpx.post(f"{lane.url}/{index}/_close", timeout=60).raise_for_status()
        snapshots.post(f"/older/{name}/_restore?wait_for_completion=true", json=body).raise_for_status()

    return restore


# Room


@fault("room", "the disk is full", ci="cache search",
       db="53100 from a table space of its own: refused as a whole, the worker waits",
       cache="MISCONF after a failed save: refused before the first write, the worker waits",
       search="the flood-stage block (read_only_allow_delete): the worker waits")  # fmt: skip
def disk_full(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "search":
        return _blocked(lane, "read_only_allow_delete")
    return _full_db(lane) if lane.kind == "db" else _misconf(lane)


def _full_db(lane: Lane) -> Steps:
    """One table lives on a small file system, without a free byte in its pages or behind them."""
    place = Path(tempfile.mkdtemp(prefix="logsync-full-"))
    try:
        mount("-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(place))
    except NotHere:
        place.rmdir()
        raise
    try:
        space, ballast = place / "space", place / "ballast"
        space.mkdir()
        owner = lane.stack.servers["postgres"].data.stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        lane.worker.terminate()
        sql(lane, f"CREATE TABLESPACE small LOCATION '{space}'", "ALTER TABLE lines SET TABLESPACE small")
        sql(lane, "VACUUM FULL lines")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        lane.start()
        lane.waits()
        assert "53100" in lane.worker.output, lane.worker.output
        yield
    finally:
        ballast.unlink(missing_ok=True)
        sql(lane, "ALTER TABLE lines SET TABLESPACE pg_default", "DROP TABLESPACE IF EXISTS small")
        unmount(place)
        place.rmdir()


def _misconf(lane: Lane) -> Steps:
    """A save that fails, as on a full disk: its process is killed in the middle."""
    client = redis_of(lane)
    client.config_set("save", "3600 1")
    client.config_set("rdb-key-save-delay", 1_000_000)  # microseconds per key: there is time to kill it
    try:
        client.bgsave()
        saver = lane.stack.servers["redis"].process
        assert saver is not None
        until(saver.children, "the process that saves")
        saver.children()[0].kill()
        lane.waits()
        assert "MISCONF" in lane.worker.output, lane.worker.output
        yield
    finally:
        client.config_set("save", "")
        client.config_set("rdb-key-save-delay", 0)


@fault("room", "memory is full", ci="cache",
       cache="OOM: refused before the first write, the worker waits",
       search="429 by the circuit breaker: the worker waits",
       cannot={"db": "Postgres runs out of memory only with its whole machine; SQLSTATE class 53 is one with a full "
               "disk"})  # fmt: skip
def memory_full(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "cache":
        client = redis_of(lane)
        return outage(
            lane, lambda: client.config_set("maxmemory", 1_000_000), lambda: client.config_set("maxmemory", 0)
        )

    def limit(value: str | None) -> None:
        settings = {"persistent": {"network.breaker.inflight_requests.limit": value}}
        httpx.put(f"{lane.url}/_cluster/settings", json=settings).raise_for_status()

    return outage(lane, lambda: limit("1kb"), lambda: limit(None))
