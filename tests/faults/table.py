"""The table: what is done to a store, its worker or Kafka, what must happen then, and which cells cannot be.

A fault is a generator over a lane with a running worker:

    strike, and claim what shows     yield      the log grows by some events under the fault
    undo                             yield      from here on the time to heal is measured
    what a supervisor or a person does (start the worker again, run the command that the error named)     yield
    what shows when all is well again

All but the first ``yield`` may be missing. Undoing stands in ``finally``: a failed claim leaves no fault behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psycopg
import redis
from confluent_kafka import Consumer, TopicPartition

from logsync import Tombstone
from sinks.db import TABLES
from tests.integration.worker.harness import Process, until

from .fold import TOPIC
from .world import WAITING, Lane

Steps = Iterator[None]


class NotHere(Exception):
    """This machine cannot do that; the text says why and goes into the table."""


@dataclass(frozen=True)
class Fault:
    """One row. ``says`` has what happens, for each store that the fault applies to; ``cannot`` has why not."""

    name: str
    strike: Callable[[Lane, Random], Steps]
    says: dict[str, str]
    cannot: dict[str, str]
    ci: frozenset[str]
    """The stores for which `make test` runs it."""
    of: str
    """What is struck: server, network, worker, Kafka, content, room."""
    proxied: bool = False
    """The worker reaches its store through the lane's proxy."""
    goes_back: frozenset[str] = field(default=frozenset())
    """The stores that may go back in time themselves, so that I1 and I2 hold only after the next resume (P2)."""


FAULTS: list[Fault] = []


def fault(
    of: str,
    name: str,
    says: str = "",
    *,
    ci: str = "",
    back: str = "",
    proxied: bool = False,
    cannot: dict[str, str] | None = None,
    **each: str,
) -> Callable[[Callable[[Lane, Random], Steps]], Callable[[Lane, Random], Steps]]:
    """``says`` is for every store that ``each`` and ``cannot`` do not name; ``ci`` and ``back`` list stores."""

    def register(strike: Callable[[Lane, Random], Steps]) -> Callable[[Lane, Random], Steps]:
        not_for = cannot or {}
        texts = {kind: each.get(kind, says) for kind in ("db", "cache", "search") if kind not in not_for}
        assert all(texts.values())
        through = proxied or of == "network"
        FAULTS.append(Fault(name, strike, texts, not_for, frozenset(ci.split()), of, through, frozenset(back.split())))
        return strike

    return register


def outage(lane: Lane, begin: Callable[[], object], end: Callable[[], object]) -> Steps:
    """The worker says that it waits, and goes on when it is over: the very same process."""
    begin()
    try:
        lane.waits()
        yield
    finally:
        end()


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
            until(lambda: _sql(lane, _TERMINATE), "a connection to end")
        else:
            until(lambda: _redis(lane).client_kill_filter(_type="normal", skipme=True), "a connection to end")
        lane.world.grows(chance.randrange(1, 20))
    yield


_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'logsync'"


@fault("server", "read-only for a while", ci="db",
       db="default_transaction_read_only: refused as a whole, the worker waits",
       cache="REPLICAOF: READONLY, refused before the first write, the worker waits",
       search="index.blocks.write: the worker waits")  # fmt: skip
def server_read_only(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "db":
        reload, name = "SELECT pg_reload_conf()", "default_transaction_read_only"
        off = [f"ALTER SYSTEM RESET {name}", reload]
        return outage(lane, lambda: _sql(lane, f"ALTER SYSTEM SET {name} = on", reload), lambda: _sql(lane, *off))
    if lane.kind == "cache":
        client = _redis(lane)
        return outage(lane, lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE"))
    return _blocked(lane, "write")


def _blocked(lane: Lane, block: str) -> Steps:
    name = f"index.blocks.{block}"
    return outage(lane, lambda: _index_setting(lane, name, True), lambda: _index_setting(lane, name, None))


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


# Workers


@fault("worker", "killed with -9 (as by the OOM killer), started again", "its successor gets the partition "
       "when the dead one's session has ended, and begins where the store is", ci="db")  # fmt: skip
def worker_killed(lane: Lane, chance: Random) -> Steps:
    lane.worker.signal(signal.SIGKILL)
    lane.worker.ends(-signal.SIGKILL)
    yield
    yield
    lane.start()


@fault("worker", "SIGTERM, started again", "drains, leaves its group at once, exit code 0", ci="search")
def worker_terminated(lane: Lane, chance: Random) -> Steps:
    lane.worker.terminate()
    yield
    yield
    lane.start()


@fault("worker", "stopped in the middle of an apply for longer than its session, then continued", ci="db search",
       proxied=True,
       db="another takes over when the server has ended the stale transaction; what comes late changes nothing",
       cache="another takes over; the script that comes late finds another position and writes nothing",
       search="another takes over and deletes what the stale one holds: it stays so (gc_deletes=1s)")  # fmt: skip
def zombie(lane: Lane, chance: Random) -> Steps:
    """Its request hangs in the network while it stands still, and arrives after another worker has gone further."""
    stale = lane.worker
    if lane.kind == "search":
        _index_setting(lane, "index.gc_deletes", "1s")
    stale.pause()
    lane.world.grows(120)  # so that its next plans are full ones
    start = lane.position() or 0
    lane.proxy.hold(_WRITES[lane.kind], after=chance.randrange(2))
    stale.go_on()
    assert lane.proxy.held.wait(60), "no request to hold"
    stale.pause()
    try:
        lane.start()
        facts = lane.world.tail.up_to(lane.world.tail.end())[start : start + 100]
        products = {str(fact.data["product_id"]) for fact in facts if fact.type == "product.listed"}
        products |= {str(line["product_id"]) for fact in facts for line in fact.data.get("lines", ())}
        lane.world.append(*(Tombstone(key=f"product:{product}", of="product.listed") for product in products))
        lane.catches_up()
        lane.world.grows(120)  # longer than gc_deletes
        if lane.kind == "search":
            httpx.post(f"{lane.url}/products/_refresh").raise_for_status()  # forgets deletes that are old enough
        yield
    finally:
        lane.proxy.release()
        stale.go_on()
    yield
    yield
    stale.sees(WAITING)  # its call is long overdue
    stale.terminate()


# What stands in the request that writes: the script's call, the documents, the beginning of the transaction.
_WRITES = {"db": b"UPDATE logsync.position", "cache": b"EVALSHA", "search": b"/_bulk"}


@fault("worker", "down, and meanwhile its group's offsets are set to the log's end", "begins where the store is, "
       "and mends the bookmark; nothing is skipped", ci="cache", back="db cache search")  # fmt: skip
def offsets_moved(lane: Lane, chance: Random) -> Steps:
    lane.worker.terminate()
    lane.world.grows(50)
    config = {"bootstrap.servers": lane.world.env["LOGSYNC_KAFKA"], "group.id": lane.group, "log_level": 0}
    consumer = Consumer(config)
    ahead = TopicPartition(TOPIC, 0, lane.world.tail.end())
    consumer.commit(offsets=[ahead], asynchronous=False)
    consumer.close()
    assert (lane.position() or 0) < ahead.offset
    yield
    yield
    lane.start()


# Kafka


@fault("Kafka", "killed with -9, started again", "the worker waits; appends of unknown outcome are retried "
       "by the writer and count once", ci="cache")  # fmt: skip
def kafka_killed(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lambda: lane.stack.kill("kafka"), lambda: lane.stack.start("kafka"))


@fault("Kafka", "stands still (SIGSTOP), goes on", "as above")
def kafka_paused(lane: Lane, chance: Random) -> Steps:
    return outage(lane, lambda: lane.stack.pause("kafka"), lambda: lane.stack.resume("kafka"))


# What the store holds


@fault("content", "all of it is gone: rows, position, book", ci="cache", back="db cache search",
       db="TRUNCATE of everything: filled again from the log's first event",
       cache="FLUSHALL: filled again from the log's first event",
       search="all indices deleted: made and filled again from the log's first event")  # fmt: skip
def emptied(lane: Lane, chance: Random) -> Steps:
    if lane.kind == "db":
        _sql(lane, f"TRUNCATE {', '.join(TABLES)}, logsync.position, logsync.book")
    elif lane.kind == "cache":
        _redis(lane).flushall()
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
        _sql(lane, "TRUNCATE logsync.position")
    elif lane.kind == "cache":
        assert _redis(lane).delete(*_redis(lane).keys("logsync:cache:*"))
    else:
        httpx.delete(f"{lane.url}/{_index(lane)}").raise_for_status()
    output = lane.worker.ends(3)
    assert f"logsync rebuild {lane.kind} --yes" in output, output
    yield
    yield
    env = {**lane.world.env, "LOGSYNC_BATCH_RECORDS": "2000"}  # the log is long, and every cut of it must do
    Process(["logsync.cli", "rebuild", lane.kind, "--yes"], env, lane.world.folder).ends(0)
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
    tables = [*TABLES, "logsync.position", "logsync.book"]
    copies = [(table, f"copy_of_{table.rpartition('.')[2]}") for table in tables]
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    _sql(lane, begin, *(f"CREATE TABLE {copy} AS TABLE {table}" for table, copy in copies), "COMMIT")

    def restore() -> None:
        lock = f"LOCK TABLE {', '.join(tables)}"
        back = [f"DELETE FROM {table}; INSERT INTO {table} TABLE {copy}; DROP TABLE {copy}" for table, copy in copies]
        _sql(lane, "BEGIN", lock, *back, "COMMIT")

    return restore


def _copy_cache(lane: Lane) -> Callable[[], None]:
    keys = "local all = {} for i, key in ipairs(redis.call('KEYS', '*')) do all[#all + 1] = key "
    copy: Any = _redis(lane).eval(keys + "all[#all + 1] = redis.call('DUMP', key) end return all", 0)

    def restore() -> None:
        every = _redis(lane).pipeline(transaction=True).flushall()
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
    index = _index(lane)
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
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        place.rmdir()
        raise NotHere(f"a full disk needs a small file system, and it cannot be mounted here: {done.stderr.strip()}")
    try:
        space, ballast = place / "space", place / "ballast"
        space.mkdir()
        owner = lane.stack.servers["postgres"].data.stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        lane.worker.terminate()
        _sql(lane, f"CREATE TABLESPACE small LOCATION '{space}'", "ALTER TABLE lines SET TABLESPACE small")
        _sql(lane, "VACUUM FULL lines")
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        lane.start()
        lane.waits()
        assert "53100" in lane.worker.output, lane.worker.output
        yield
    finally:
        ballast.unlink(missing_ok=True)
        _sql(lane, "ALTER TABLE lines SET TABLESPACE pg_default", "DROP TABLESPACE IF EXISTS small")
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def _misconf(lane: Lane) -> Steps:
    """A save that fails, as on a full disk: its process is killed in the middle."""
    client = _redis(lane)
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
        client = _redis(lane)
        return outage(
            lane, lambda: client.config_set("maxmemory", 1_000_000), lambda: client.config_set("maxmemory", 0)
        )

    def limit(value: str | None) -> None:
        settings = {"persistent": {"network.breaker.inflight_requests.limit": value}}
        httpx.put(f"{lane.url}/_cluster/settings", json=settings).raise_for_status()

    return outage(lane, lambda: limit("1kb"), lambda: limit(None))


# What an operator's plain client does


def _sql(lane: Lane, *statements: str) -> list[Any]:
    """Run them one by one; returns the rows of the last one."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(lane.url, autocommit=True, options=options, connect_timeout=10) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _redis(lane: Lane) -> redis.Redis:
    return redis.Redis.from_url(lane.url, socket_timeout=10)


def _index(lane: Lane) -> str:
    return next(iter(httpx.get(f"{lane.url}/_alias/products").raise_for_status().json()))


def _index_setting(lane: Lane, name: str, value: object) -> None:
    content = json.dumps({name: value})
    headers = {"content-type": "application/json"}
    httpx.put(f"{lane.url}/{_index(lane)}/_settings", content=content, headers=headers).raise_for_status()
