"""From transactions to three stores: facts == events that count == content, counters included, under kills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import httpx
import psycopg
import pytest
import redis

from tests.integration.worker.harness import Process, until

from . import followers
from .test_relay import App, Relayed, relayed

__all__ = ["relayed"]
pytestmark = pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
SINKS = ("db", "cache", "search")
Totals = dict[str, tuple[int, int]]


def follow(relayed: Relayed, sink: str, *arguments: str) -> Process:
    env = {**relayed.env, "LOGSYNC_POSTGRES": relayed.shop.url}
    process = Process(["logsync.cli", "consume", f"{followers.__name__}:{sink}", *arguments], env, relayed.folder)
    relayed.processes.append(process)
    return process


def content(relayed: Relayed) -> dict[str, Totals]:
    """What each store holds, read with its plain client."""
    name = relayed.shop.name
    with psycopg.connect(relayed.shop.url) as db:
        rows = {str(key): (int(n), int(total)) for key, n, total in db.execute("SELECT name, n, sum FROM totals")}
    cache = redis.Redis.from_url(relayed.env["LOGSYNC_REDIS"], decode_responses=True)
    prefix = f"{name}:"
    hashes = {key.removeprefix(prefix): cache.hgetall(key) for key in cache.scan_iter(f"{prefix}*.* *")}
    index = f"{relayed.env['LOGSYNC_OPENSEARCH']}/totals-{name}"
    httpx.post(f"{index}/_refresh").raise_for_status()
    hits = httpx.post(f"{index}/_search", json={"size": 1000}).raise_for_status().json()["hits"]["hits"]
    docs = {hit["_id"]: hit["_source"] for hit in hits if "sum" in hit["_source"]}
    return {
        "db": rows,
        "cache": {key: (int(found["n"]), int(found["sum"])) for key, found in hashes.items()},
        "search": {key: (int(found["n"]), int(found["sum"])) for key, found in docs.items()},
    }


def totals(committed: Mapping[str, Sequence[tuple[object, ...]]]) -> Totals:
    """What the database's own facts come to."""
    at = {"order.placed": 1, "payment.made": 1, "customer.changed": 0}
    return {
        key: (len(facts), sum(int(str(values[at[key.split()[0]]])) for values in facts))
        for key, facts in committed.items()
    }


@pytest.mark.parametrize("relayed", [1], indirect=True)
def test_three_stores_hold_what_the_database_committed_while_relay_and_workers_are_killed(relayed: Relayed) -> None:
    app, chance = App(relayed, 1), Random(7)
    app.start()
    relay = relayed.start()
    workers = {sink: follow(relayed, sink) for sink in SINKS}
    for worker in workers.values():
        worker.sees("resumed")
    for _ in range(6):
        before = sum(map(len, relayed.counted().values()))
        relayed.relayed(before + chance.randrange(1, 150))
        sink = chance.choice(SINKS)
        workers[sink].kill()
        relay.kill()
        workers[sink], relay = follow(relayed, sink), relayed.start()
    app.ends.set()
    app.join()
    relay.sees("relaying")
    until(lambda: relayed.shop.left() == 0, "an empty outbox")
    relay.terminate()
    assert relayed.start("--until-end").ends(0)
    for sink, worker in workers.items():
        worker.terminate()
        follow(relayed, sink, "--until-end").ends(0)
    assert relayed.counted() == app.facts
    assert content(relayed) == dict.fromkeys(SINKS, totals(app.facts))
