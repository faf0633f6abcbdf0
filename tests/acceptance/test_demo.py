"""The demo as a person runs it, at a small scale and on servers of its own, and its proof against sabotage."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import opensearchpy
import psycopg
import pytest
import redis

from demo import proof
from devstack import Stack

ROOT = Path(__file__).resolve().parents[2]
LINES = 20_000
pytestmark = pytest.mark.timeout(420)


class Run(NamedTuple):
    code: int
    output: str
    env: dict[str, str]


@pytest.fixture(scope="module")
def demo() -> Iterator[Run]:
    """One whole run; the servers stay for the tests and are deleted after them."""
    stack = Stack("tests-demo")
    command = [sys.executable, "-m", "demo", "--lines", str(LINES), "--stack", stack.name]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")}
    env.pop("YEAR", None)
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400, check=False)
        yield Run(done.returncode, done.stdout + done.stderr, {**env, **stack.env()})
    finally:
        stack.reset()


@pytest.mark.servers
def test_the_demo_ends_in_equality_after_killing_each_worker_far_behind(demo):
    assert demo.code == 0, demo.output
    kills = re.findall(r"(\w+): killed with -9, ([\d,]+) events behind", demo.output)
    assert sorted(name for name, _ in kills) == ["cache", "db", "search"]
    assert all(int(behind.replace(",", "")) > 10_000 for _, behind in kills)
    assert re.search(r"[1-9][\d,]* disagreements", demo.output)
    for name in ("db", "cache", "search"):
        assert re.search(rf"{name}: went on from", demo.output)
    assert "Equal, to the last value." in demo.output


@pytest.mark.servers
@pytest.mark.parametrize("store", ["postgres", "redis", "opensearch"])
def test_one_altered_value_fails_the_proof(demo, store):
    assert demo.code == 0, demo.output
    assert prove(demo).returncode == 0
    for by, differences in ((1, 1), (-1, 0)):  # altered, and put back
        alter(demo.env, store, by)
        found = prove(demo)
        assert (found.returncode, found.stdout.count(": expected ")) == (differences, differences), found.stdout


@pytest.mark.servers
@pytest.mark.parametrize("store", ["postgres", "redis", "opensearch"])
def test_one_value_too_many_fails_the_proof(demo, store):
    assert demo.code == 0, demo.output
    add(demo.env, store)
    found = prove(demo)
    remove(demo.env, store)
    assert found.returncode == 1
    assert found.stdout.count(": expected nothing, found") == 1
    assert prove(demo).returncode == 0


def test_the_proof_and_what_it_imports_know_nothing_of_logsync():
    seen: set[str] = set()
    queue = ["demo", "demo.proof"]
    while queue:
        name = queue.pop()
        path = ROOT / Path(*name.split("."))
        source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        if name in seen or not source.exists():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                queue += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                queue += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    assert seen == {"demo", "demo.proof", "demo.source"}


def test_the_comparison_sees_what_is_missing_what_differs_and_what_is_too_much():
    part = proof.compare("Redis", "keys", {"a": 1, "b": 2, "c": 3}, [("b", 2), ("c", 4), ("d", 5)])
    assert (part.expected, part.found, part.differences) == (3, 3, 3)
    assert part.first == [
        "c: expected 3, found 4",
        "d: expected nothing, found 5",
        "a: expected 1, found nothing",
    ]


def prove(demo: Run) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo.proof", "--lines", str(LINES)]
    # Wide, so that the sentence about a difference is one line.
    return subprocess.run(
        command, cwd=ROOT, env={**demo.env, "COLUMNS": "2000"}, capture_output=True, text=True, check=False
    )


def alter(env: dict[str, str], store: str, by: int) -> None:
    """Add to one counter behind logsync's back."""
    if store == "postgres":
        with psycopg.connect(env["LOGSYNC_POSTGRES"]) as connection:
            connection.execute(
                "UPDATE sales SET cents = cents + %s WHERE product_id = (SELECT min(product_id) FROM sales)", [by]
            )
    elif store == "redis":
        with redis.Redis.from_url(env["LOGSYNC_REDIS"]) as client:
            client.zincrby("shop:best:PRODUCE", by, client.zrange("shop:best:PRODUCE", 0, 0)[0])
    else:
        client = opensearchpy.OpenSearch(env["LOGSYNC_OPENSEARCH"])
        hit = client.search(index="products", body={"size": 1, "sort": [{"product_id": "asc"}]})["hits"]["hits"][0]
        doc = {**hit["_source"], "sold": hit["_source"]["sold"] + by}
        client.index(index=hit["_index"], id=hit["_id"], body=doc, params={"refresh": "true"})


def add(env: dict[str, str], store: str) -> None:
    if store == "postgres":
        with psycopg.connect(env["LOGSYNC_POSTGRES"]) as connection:
            connection.execute("INSERT INTO coupons VALUES (1, 1, 1)")
    elif store == "redis":
        with redis.Redis.from_url(env["LOGSYNC_REDIS"]) as client:
            client.sadd("shop:stranger", "x")
    else:
        client = opensearchpy.OpenSearch(env["LOGSYNC_OPENSEARCH"])
        client.index(index=_index(client), id="stranger", body={"product_id": 1}, params={"refresh": "true"})


def remove(env: dict[str, str], store: str) -> None:
    if store == "postgres":
        with psycopg.connect(env["LOGSYNC_POSTGRES"]) as connection:
            connection.execute("DELETE FROM coupons WHERE (coupon_upc, campaign_id) = (1, 1)")
    elif store == "redis":
        with redis.Redis.from_url(env["LOGSYNC_REDIS"]) as client:
            client.delete("shop:stranger")
    else:
        client = opensearchpy.OpenSearch(env["LOGSYNC_OPENSEARCH"])
        client.delete(index=_index(client), id="stranger", params={"refresh": "true"})


def _index(client: opensearchpy.OpenSearch) -> str:
    return next(iter(client.indices.get_alias(name="products")))
