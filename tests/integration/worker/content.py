"""What a store holds, read completely, with nothing but the store's plain client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import redis

from .fold import Content


def of_db(url: str, name: str) -> Content:
    with psycopg.connect(url) as connection:
        items = connection.execute(f"SELECT k, n, writer, note FROM {name}_items").fetchall()
        tally = connection.execute(f"SELECT name, n FROM {name}_tally").fetchall()
    return {
        "items": {k: {"n": n, "writer": writer, "note": note} for k, n, writer, note in items},
        "tally": dict(tally),
    }


def of_cache(url: str, name: str) -> Content:
    client = redis.Redis.from_url(url, decode_responses=True)
    prefix = f"{name}:item:"
    keys = list(client.scan_iter(f"{name}:*", count=1000))
    items = {key.removeprefix(prefix): json.loads(client.get(key)) for key in keys if key != f"{name}:tally"}
    tally = {field: int(n) for field, n in client.hgetall(f"{name}:tally").items()}
    client.close()
    return {"items": items, "tally": tally}


def of_search(url: str, name: str) -> Content:
    with httpx.Client(base_url=url, timeout=30) as client:
        items = _documents(client, f"{name}-items")
        tally = {key: source["n"] for key, source in _documents(client, f"{name}-tally").items()}
    return {"items": items, "tally": tally}


def _documents(client: httpx.Client, alias: str) -> dict[str, Any]:
    client.post(f"/{alias}/_refresh").raise_for_status()
    hits = client.get(f"/{alias}/_search", params={"size": 10_000}).raise_for_status().json()["hits"]
    assert hits["total"]["value"] == len(hits["hits"]), "more documents than one page"
    return {hit["_id"]: hit["_source"] for hit in hits["hits"]}


READ = {"db": of_db, "cache": of_cache, "search": of_search}
VARIABLE = {"db": "LOGSYNC_POSTGRES", "cache": "LOGSYNC_REDIS", "search": "LOGSYNC_OPENSEARCH"}
SERVER = {"db": "postgres", "cache": "redis", "search": "opensearch"}
