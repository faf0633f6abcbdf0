"""What an operator does by hand: with the stores' plain clients, and with the system."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from .fault import NotHere
from .world import Lane


def sql(lane: Lane, *statements: str) -> list[Any]:
    """Run them one by one; returns the rows of the last one."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(lane.url, autocommit=True, options=options, connect_timeout=10) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def redis_of(lane: Lane) -> redis.Redis:
    return redis.Redis.from_url(lane.url, socket_timeout=10)


def index_of(lane: Lane) -> str:
    return next(iter(httpx.get(f"{lane.url}/_alias/products").raise_for_status().json()))


def index_setting(lane: Lane, name: str, value: object) -> None:
    content = json.dumps({name: value})
    headers = {"content-type": "application/json"}
    httpx.put(f"{lane.url}/{index_of(lane)}/_settings", content=content, headers=headers).raise_for_status()


def mount(*arguments: str) -> None:
    """Raises NotHere where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"a full disk needs a small file system, and it cannot be mounted here: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True)
