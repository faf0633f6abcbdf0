"""`make bench`: logsync beside the loop one would write by hand, turn by turn on the same servers.

Prints medians with their range and, first of all, the ratios. Both sides keep their position in the same step as the
data. A result counts only if both stores hold the same rows in the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from devstack import Stack
from logsync.log.topic import create_topic
from logsync.settings import Settings

STORES = ("append", "postgres", "redis", "opensearch")
console = Console(stderr=True)


def run(who: str, store: str, count: int, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.contestant", who, store, str(count)]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{who} on {store} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def content(store: str, name: str, settings: Settings) -> Any:
    """A digest of what a contestant left, by the store's own means."""
    if store == "postgres":
        import psycopg

        with psycopg.connect(settings.postgres.get_secret_value()) as connection:
            return connection.execute(
                f"SELECT count(*), sum(cents), sum(hashtext(order_id || customer || cents)) FROM {name}_orders"
            ).fetchone()
    if store == "redis":
        import redis

        server = redis.Redis.from_url(settings.redis.get_secret_value())
        keys = sorted(server.scan_iter(f"{name}:*", count=10_000))
        pipeline = server.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        return len(keys), hash(json.dumps([sorted(map(str, found.items())) for found in pipeline.execute()]))
    from opensearchpy import OpenSearch

    client = OpenSearch(settings.opensearch.get_secret_value(), timeout=60)
    client.indices.refresh(index=f"{name}-orders")
    body = {"size": 0, "track_total_hits": True, "aggs": {"cents": {"sum": {"field": "cents"}}}}
    query = {"exists": {"field": "customer"}}
    answer = client.search(index=f"{name}-orders", body={**body, "query": query})
    return answer["hits"]["total"]["value"], answer["aggregations"]["cents"]["value"]


def main(
    events: Annotated[int, typer.Option(help="Events per contestant and round.")] = 200_000,
    rounds: Annotated[int, typer.Option(help="Rounds; each runs both sides once, in turn.")] = 3,
    only: Annotated[str, typer.Option(help="Stores, with commas.")] = ",".join(STORES),
    keep: Annotated[bool, typer.Option(help="Leave the servers running.")] = False,
) -> None:
    """Measure logsync beside a hand-written loop over the same servers."""
    stack = Stack("bench")
    stack.up(bench=True, progress=lambda server, what: console.print(f"{server}: {what}", style="dim"))
    try:
        os.environ.update(stack.env())
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        started = f"b{int(time.time())}"
        topic = f"{started}-log"
        create_topic(settings, topic)
        fill = {"BENCH_TOPIC": topic, "BENCH_RUN": started}
        console.print(f"appending {events:,} events", style="dim")
        run("limit", "append", events, fill)
        table = Table(title=f"{events:,} small JSON events, {rounds} rounds, median (min to max)")
        for heading in ("", "logsync / by hand", "logsync per s", "by hand per s", "CPU us", "by hand", "peak memory"):
            table.add_column(heading, justify="left" if not heading else "right")
        results = {}
        for store in only.split(","):
            sides: dict[str, list[float]] = {"logsync": [], "limit": []}
            cpu: dict[str, list[float]] = {"logsync": [], "limit": []}
            peak = quarter = 0
            for number in range(rounds):
                digests = []
                for who in sides:
                    name = f"{started}{who[:2]}{number}"
                    env = {"BENCH_RUN": name, "BENCH_TOPIC": topic, "LOGSYNC_ENVIRONMENT": name}
                    if store == "append":
                        env["BENCH_TOPIC"] = f"{name}-append"
                        create_topic(settings, env["BENCH_TOPIC"])
                    result = run(who, store, events, env)
                    sides[who].append(result["per_second"])
                    cpu[who].append(result["cpu_us"])
                    if who == "logsync":
                        peak, quarter = max(peak, result["peak_mb"]), max(quarter, result["quarter_mb"])
                    console.print(f"{store} {who}: {result['per_second']:,.0f} per s", style="dim")
                    if store != "append":
                        digests.append(content(store, name, settings))
                if digests and digests[0] != digests[1]:
                    raise SystemExit(f"{store}: the contents differ, the round does not count: {digests}")
            ratios = [mine / theirs for mine, theirs in zip(sides["logsync"], sides["limit"], strict=True)]
            results[store] = {
                "ratio": statistics.median(ratios),
                **sides,
                "cpu_us": cpu,
                "peak_mb": peak,
                "quarter_mb": quarter,
            }
            table.add_row(
                store,
                spread(ratios, ".2f"),
                spread(sides["logsync"], ",.0f"),
                spread(sides["limit"], ",.0f"),
                spread(cpu["logsync"], ".1f"),
                spread(cpu["limit"], ".1f"),
                f"{peak} MB",
            )
        Console().print(table)
        print(json.dumps(results))
    finally:
        if not keep:
            stack.down()


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    typer.run(main)
