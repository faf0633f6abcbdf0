"""The stores as the harness sees them: make them ready, look for markers, read everything back.

Whoever writes, the content lies at the same place: in Postgres `RUN_orders` and `RUN_customers`; in Redis the hashes
`RUN:order:KEY` and `RUN:customer:KEY`; in OpenSearch the indices `RUN-orders` and `RUN-customers`. Counters are the
fields `cents` and `orders` of a customer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from benchmarks.workload import Case, Content

COUNTERS = ("cents", "orders")


class View(Protocol):
    """One run's content in one store."""

    def __init__(self, case: Case, run: str, env: dict[str, str]) -> None: ...

    def prepare(self) -> None:
        """Make tables or indices, for contestants that do not make their own."""

    def visible(self, keys: list[str]) -> set[str]:
        """Which of these markers are there. Cheap: asked every few milliseconds, by primary key."""

    def content(self) -> Content:
        """Everything, read back."""

    def drop(self) -> None:
        """Free the space."""


def view(case: Case, run: str, env: dict[str, str]) -> View:
    kinds: dict[str, type[View]] = {"postgres": PostgresView, "redis": RedisView, "opensearch": OpenSearchView}
    return kinds[case.store](case, run, env)


def schema(values: Iterable[str], run: str) -> str:
    """The tables, the same for everybody."""
    types = {"cents": "bigint"}
    columns = "".join(f", {name} {types.get(name, 'text')}" for name in values)
    return (
        f"CREATE TABLE IF NOT EXISTS {run}_orders (order_id text PRIMARY KEY{columns});\n"
        f"CREATE TABLE IF NOT EXISTS {run}_customers (customer text PRIMARY KEY, "
        "cents bigint NOT NULL DEFAULT 0, orders bigint NOT NULL DEFAULT 0);\n"
    )


def mapping(fields: Iterable[str]) -> dict[str, Any]:
    """An index, the same for everybody."""
    properties = {name: {"type": "long" if name in COUNTERS else "keyword"} for name in fields}
    if "pad" in properties:
        properties["pad"] = {"type": "text"}
    return {"settings": {"number_of_replicas": 0, "number_of_shards": 1}, "mappings": {"properties": properties}}


class PostgresView:
    def __init__(self, case: Case, run: str, env: dict[str, str]) -> None:
        import psycopg

        self.case, self.run = case, run
        self.db = psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True)

    def prepare(self) -> None:
        self._ask(schema(self.case.values, self.run))

    def visible(self, keys: list[str]) -> set[str]:
        import psycopg

        table, key = ("customers", "customer") if self.case.model == "increment" else ("orders", "order_id")
        try:
            return {
                found for (found,) in self._ask(f"SELECT {key} FROM {self.run}_{table} WHERE {key} = ANY(%s)", keys)
            }
        except psycopg.errors.UndefinedTable:  # the contestant makes its own, and has not yet
            return set()

    def content(self) -> Content:
        orders = self._ask(f"SELECT {', '.join(['order_id', *self.case.values])} FROM {self.run}_orders")
        counters = self._ask(f"SELECT customer, cents, orders FROM {self.run}_customers")
        return Content({row[0]: row[1:] for row in orders}, {row[0]: row[1:] for row in counters})

    def drop(self) -> None:
        self._ask(f"DROP TABLE IF EXISTS {self.run}_orders, {self.run}_customers")
        self.db.close()

    def _ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        done = self.db.execute(query, parameters or None)
        return done.fetchall() if done.description else []


class RedisView:
    def __init__(self, case: Case, run: str, env: dict[str, str]) -> None:
        import redis

        self.case, self.run = case, run
        self.db: Any = redis.Redis.from_url(env["LOGSYNC_REDIS"], decode_responses=True)
        self.kind = "customer" if case.model == "increment" else "order"

    def prepare(self) -> None:
        """A hash begins with its first field."""

    def visible(self, keys: list[str]) -> set[str]:
        pipeline = self.db.pipeline(transaction=False)
        for key in keys:
            pipeline.exists(f"{self.run}:{self.kind}:{key}")
        return {key for key, found in zip(keys, pipeline.execute(), strict=True) if found}

    def content(self) -> Content:
        orders = {key: tuple(map(_number, values)) for key, values in self._hashes("order", self.case.values)}
        counters = {key: (int(cents), int(n)) for key, (cents, n) in self._hashes("customer", COUNTERS)}
        return Content(orders, counters)

    def _hashes(self, kind: str, fields: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
        prefix = f"{self.run}:{kind}:"
        keys = list(set(self.db.scan_iter(f"{prefix}*", count=10_000)))
        strings = bool(keys) and self.db.type(keys[0]) == "string"  # one contestant can only write JSON
        for at in range(0, len(keys), 10_000):
            pipeline = self.db.pipeline(transaction=False)
            for key in keys[at : at + 10_000]:
                pipeline.get(key) if strings else pipeline.hmget(key, list(fields))
            for key, value in zip(keys[at : at + 10_000], pipeline.execute(), strict=True):
                found = json.loads(value) if strings else {}
                yield key.removeprefix(prefix), [str(found[name]) for name in fields] if strings else value

    def drop(self) -> None:
        keys = list(self.db.scan_iter(f"{self.run}*", count=10_000))
        for at in range(0, len(keys), 10_000):
            self.db.unlink(*keys[at : at + 10_000])
        self.db.close()


def _number(text: str) -> str | int:
    return int(text) if text.isdigit() and len(text) < 8 else text  # texts of digits have 8 and more


class OpenSearchView:
    def __init__(self, case: Case, run: str, env: dict[str, str]) -> None:
        from opensearchpy import OpenSearch

        self.case, self.run = case, run
        self.db: Any = OpenSearch(env["LOGSYNC_OPENSEARCH"], timeout=60)
        self.kind = "customers" if case.model == "increment" else "orders"

    def prepare(self) -> None:
        self.db.indices.create(index=f"{self.run}-orders", body=mapping(self.case.values))
        if self.case.model != "upsert":
            self.db.indices.create(index=f"{self.run}-customers", body=mapping(COUNTERS))

    def visible(self, keys: list[str]) -> set[str]:
        """By realtime GET: applied, not yet searchable."""
        answer = self.db.mget(index=f"{self.run}-{self.kind}", body={"ids": keys}, _source=False)
        return {doc["_id"] for doc in answer["docs"] if doc.get("found")}

    def content(self) -> Content:
        orders = {key: tuple(doc.get(name, "") for name in self.case.values) for key, doc in self._documents("orders")}
        counters = {key: (doc["cents"], doc["orders"]) for key, doc in self._documents("customers")}
        return Content(orders, counters)

    def _documents(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """All that carry a counter or a price; position documents do not."""
        index = f"{self.run}-{kind}"
        if not self.db.indices.exists(index=index):
            return
        self.db.indices.refresh(index=index)
        body = {"query": {"exists": {"field": "cents"}}, "size": 10_000, "sort": ["_doc"]}
        page = self.db.search(index=index, body=body, scroll="2m")
        while page["hits"]["hits"]:
            yield from ((hit["_id"], hit["_source"]) for hit in page["hits"]["hits"])
            page = self.db.scroll(scroll_id=page["_scroll_id"], scroll="2m")
        self.db.clear_scroll(scroll_id=page["_scroll_id"])

    def drop(self) -> None:
        for name in self.db.indices.get(index=f"{self.run}-*", ignore_unavailable=True):
            self.db.indices.delete(index=name)
        self.db.close()
