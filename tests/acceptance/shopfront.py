"""The whole shop as processes: the web app, three workers, and a look into each store that uses no logsync."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from opensearchpy import OpenSearch

from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[2]
TOPIC = "shop.events"


def until(claim: Callable[[], object], what: str, *, patience: float = PATIENCE) -> None:
    """Wait for ``claim``; ``patience`` in seconds bounds a failure and asserts nothing."""
    deadline = time.monotonic() + patience
    while not claim():
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(0.05)


class Held(NamedTuple):
    """What the three stores hold, each asked in its own words."""

    rows: int  # Postgres: baskets of the household
    counted: int  # Postgres: the household's counter
    card: int  # Redis: the household's counter
    sold: tuple[int, int, int]  # units of the product: Postgres, Redis, OpenSearch


class Shop:
    """One running shop. Its stores are its own; `environment` says where they are."""

    def __init__(self, environment: dict[str, str], output: Path) -> None:
        self.environment = environment
        self.output = output
        self.address = ""
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        """By sink."""
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.run("-m", "logsync.cli", "topic", "create", "--log", "sinks.events:log")
        self.run("-m", "examples.shop.stock")
        for sink in ("db", "cache", "search"):
            self.workers[sink] = self._spawn("-m", "logsync.cli", "consume", sink)
        self.address = self.serve()
        until(lambda: "24 products" in httpx.get(self.address, timeout=20).text, "the shelf is full")

    def run(self, *arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, env=self.environment, check=True, timeout=PATIENCE)

    def serve(self, **environment: str) -> str:
        """Start a web app and return its address once it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        app = self._spawn("-m", "uvicorn", "examples.shop.app:app", "--port", str(port), **environment)
        address = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert app.poll() is None, self.output.read_text()
            with suppress(httpx.TransportError):
                return bool(httpx.get(f"{address}/health", timeout=20).json() == {"status": "ok"})
            return False

        until(answers, "the web app answers")
        return address

    def _spawn(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=REPOSITORY, env={**self.environment, **environment}, stdout=file, stderr=file,
            )  # fmt: skip
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """SIGTERM to all, and each must end well: a shop that cannot be stopped is not finished."""
        for process in self._processes:
            process.terminate()
        try:
            codes = [process.wait(PATIENCE) for process in self._processes]
        finally:
            for process in self._processes:
                process.kill()
        # uvicorn finishes its requests and then gives the signal back to itself; so did a worker end with 0.
        assert set(codes) <= {0, -15}, f"{codes}\n{self.output.read_text()}"

    def held(self, household: int, product: int) -> Held:
        """Postgres, Redis and OpenSearch, now. The index is refreshed first, so that "not there" means that."""
        with psycopg.connect(self.environment["LOGSYNC_POSTGRES"]) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM baskets WHERE household_id = %(h)s),"
                " (SELECT sum(baskets) FROM households WHERE household_id = %(h)s),"
                " (SELECT sum(quantity) FROM sales WHERE product_id = %(p)s)",
                {"h": household, "p": product},
            ).fetchone()
            assert row is not None
        cache = redis.Redis.from_url(self.environment["LOGSYNC_REDIS"], decode_responses=True)
        card = cache.hget(f"shop:household:{household}", "baskets")
        best = sum(cache.zscore(key, str(product)) or 0 for key in cache.scan_iter("shop:best:*"))
        cache.close()
        search = OpenSearch(self.environment["LOGSYNC_OPENSEARCH"], timeout=20)
        search.indices.refresh(index="products")
        found = search.search(index="products", body={"query": {"term": {"product_id": product}}})["hits"]["hits"]
        search.close()
        sold = (int(row[2] or 0), int(best), sum(hit["_source"]["sold"] for hit in found))
        return Held(int(row[0]), int(row[1] or 0), int(card or 0), sold)


class Visitor:
    """Somebody with a browser and no patience for scripts: follows links, fills in forms."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=30)

    def form(self, *products: int) -> dict[str, object]:
        """The order form for these products, as it would be sent."""
        page = self.http.get("/order", params={"product": list(products)})
        assert page.status_code == 200, page.text
        return {"token": hidden(page, "token")[0], "quantity": [1] * len(products)}

    def pay(self, form: Mapping[str, object], household: int) -> httpx.Response:
        return self.http.post("/orders", data={**form, "household_id": household})

    def order(self, household: int, *products: int) -> str:
        """Place an order and return the address of its page."""
        answer = self.pay(self.form(*products), household)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def sees(self, address: str, text: str) -> None:
        """Wait until the page there says ``text``."""
        until(lambda: text in self.http.get(address).text, f"{address} says {text!r}")


def hidden(page: httpx.Response, name: str) -> list[str]:
    return re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)">', page.text)


@contextmanager
def open_shop(servers: dict[str, str], unique: str, output: Path) -> Iterator[Shop]:
    """A shop with a database, a Redis database and consumer groups of its own. The topic's and the index's names
    are fixed in sinks/, so whatever an earlier run left of these is deleted first."""
    where, _, _ = servers["LOGSYNC_POSTGRES"].rpartition("/")
    own = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOGSYNC_")},
        **servers,
        "LOGSYNC_POSTGRES": f"{where}/{unique}",
        "LOGSYNC_REDIS": servers["LOGSYNC_REDIS"].rpartition("/")[0] + "/9",
        "LOGSYNC_ENVIRONMENT": unique,
        "LOGSYNC_APPEND_TIMEOUT": "2",
    }
    _clean(own)
    with psycopg.connect(servers["LOGSYNC_POSTGRES"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {unique}")
    shop = Shop(own, output)
    try:
        shop.start()
        yield shop
    finally:
        shop.stop()
        _clean(own)
        with psycopg.connect(servers["LOGSYNC_POSTGRES"], autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {unique} WITH (FORCE)")


def _clean(environment: dict[str, str]) -> None:
    delete_topic(environment["LOGSYNC_KAFKA"], TOPIC)
    with redis.Redis.from_url(environment["LOGSYNC_REDIS"]) as cache:
        cache.flushdb()
    search = OpenSearch(environment["LOGSYNC_OPENSEARCH"], timeout=30)
    names = [name for name in search.indices.get(index="*") if name.startswith("products--e")]
    search.indices.delete(index=",".join([*names, "logsync-books"]), ignore_unavailable=True)
    search.close()


def delete_topic(kafka: str, name: str) -> None:
    """Delete a topic, and return when nobody sees it any more."""
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_topics([name]).values():
        with suppress(KafkaException):  # it was not there
            future.result(PATIENCE)
    until(lambda: name not in admin.list_topics(timeout=20).topics, f"topic {name} is gone")
