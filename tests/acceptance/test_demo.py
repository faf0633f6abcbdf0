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
LINES, BEHIND = 20_000, 3_000  # a small shop; `make demo` takes 300,000 and 10,000
pytestmark = pytest.mark.timeout(1500)


class Run(NamedTuple):
    code: int
    output: str
    env: dict[str, str]


@pytest.fixture(scope="module")
def demo() -> Iterator[Run]:
    """One whole run; the servers stay for the tests and are deleted after them."""
    stack = Stack("tests-demo")
    command = [sys.executable, "-m", "demo", "--lines", str(LINES), "--behind", str(BEHIND), "--stack", stack.name]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")}
    env.pop("YEAR", None)
    env["LOGSYNC_BATCH_RECORDS"] = "1000"  # several batches in a log this short
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1400, check=False)
        yield Run(done.returncode, done.stdout + done.stderr, {**env, **stack.env()})
    finally:
        stack.reset()


@pytest.mark.servers
def test_the_demo_ends_in_equality_after_killing_each_worker_far_behind(demo):
    assert demo.code == 0, demo.output
    kills = re.findall(r"(\w+): killed with -9, ([\d,]+) events behind", demo.output)
    assert sorted(name for name, _ in kills) == ["cache", "db", "search"]
    assert all(int(behind.replace(",", "")) > BEHIND for _, behind in kills)
    assert re.search(r"[1-9][\d,]* disagreements", demo.output)
    for name in ("db", "cache", "search"):
        assert re.search(rf"{name}: went on from", demo.output)
    assert re.search(r"writer 0: killed with -9 and run again", demo.output)
    assert len(re.findall(r"relay: killed with -9, [\d,]+ facts are committed", demo.output)) == 2
    assert "Equal, to the last value." in demo.output


@pytest.mark.servers
def test_one_altered_and_one_additional_value_in_each_store_fail_the_proof(demo):
    assert demo.code == 0, demo.output
    with Stores(demo.env) as stores:
        stores.spoil(1)
        found = prove(demo)
        stores.spoil(-1)
    assert found.returncode == 1
    differences = re.findall(r"^(\w+, .*?): .*: expected (.*), found", found.stdout, re.MULTILINE)
    assert [where for where, _ in differences] == [
        "Postgres, table sales",
        "Postgres, table coupons",
        "Redis, values of keys shop:*",
        "Redis, values of keys shop:*",
        "OpenSearch, alias products",
        "OpenSearch, alias products",
    ]
    assert sum(expected == "nothing" for _, expected in differences) == 3
    again = prove(demo)
    assert again.returncode == 0, again.stdout


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


class Stores:
    """The three stores, written to behind logsync's back."""

    def __init__(self, env: dict[str, str]) -> None:
        self.postgres = psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True)
        self.redis = redis.Redis.from_url(env["LOGSYNC_REDIS"])
        self.opensearch = opensearchpy.OpenSearch(env["LOGSYNC_OPENSEARCH"])

    def __enter__(self) -> Stores:
        return self

    def __exit__(self, *_: object) -> None:
        self.postgres.close()
        self.redis.close()
        self.opensearch.close()

    def spoil(self, by: int) -> None:
        """By 1: one counter too high and one value too many in each store. By -1: put it right again."""
        lowest = "SELECT min(product_id) FROM sales"
        self.postgres.execute(f"UPDATE sales SET cents = cents + %s WHERE product_id = ({lowest})", [by])
        best = self.redis.zrange("shop:best:PRODUCE", -1, -1)[0]  # one more keeps it the best
        self.redis.zincrby("shop:best:PRODUCE", by, best)
        query = {"size": 1, "sort": [{"product_id": "asc"}]}
        hit = self.opensearch.search(index="products", body=query)["hits"]["hits"][0]
        doc = {**hit["_source"], "sold": hit["_source"]["sold"] + by}
        self.opensearch.index(index=hit["_index"], id=hit["_id"], body=doc)
        if by > 0:
            self.postgres.execute("INSERT INTO coupons VALUES (1, 1, 1)")
            self.redis.sadd("shop:stranger", "x")
            self.opensearch.index(index=hit["_index"], id="stranger", body={"product_id": 10**9})
        else:
            self.postgres.execute("DELETE FROM coupons WHERE (coupon_upc, campaign_id) = (1, 1)")
            self.redis.delete("shop:stranger")
            self.opensearch.delete(index=hit["_index"], id="stranger")
        self.opensearch.indices.refresh(index=hit["_index"])
