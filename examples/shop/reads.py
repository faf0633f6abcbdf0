"""What the pages read. Each store is asked for what it is good at; none of them is ever written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis
from opensearchpy import OpenSearch
from opensearchpy.exceptions import OpenSearchException
from psycopg.rows import dict_row

from logsync.settings import Settings

TIMEOUT = 2  # seconds that a page may wait for a store
PAGE = 24
FACETS = {"department": "department", "brand": "brand", "category": "category.facet"}
KEYS = "shop:"  # the prefix in sinks/cache
Row = dict[str, Any]


class StoreDown(Exception):
    """A store did not answer, or does not hold the shop (yet)."""

    def __init__(self, store: str, sink: str) -> None:
        super().__init__(store)
        self.store, self.sink = store, sink


@dataclass(frozen=True)
class Product:
    id: int
    department: str
    name: str
    detail: str = ""
    sold: int = 0

    @property
    def cents(self) -> int:
        """What one costs. The events know what was paid and no shelf price, so this shop makes one up."""
        return 99 + self.id * 37 % 900


@dataclass(frozen=True)
class Found:
    total: int
    products: list[Product]
    facets: dict[str, list[tuple[str, int]]] = field(default_factory=dict)


class Stores:
    """Blocking clients with short timeouts, shared by the threads in which FastAPI runs plain functions."""

    def __init__(self, settings: Settings) -> None:
        self._postgres = settings.postgres.get_secret_value()
        self._redis = redis.Redis.from_url(
            settings.redis.get_secret_value(),
            decode_responses=True,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
        )
        self._opensearch = OpenSearch(settings.opensearch.get_secret_value(), timeout=TIMEOUT, max_retries=0)

    def close(self) -> None:
        self._redis.close()
        self._opensearch.close()

    # OpenSearch: full text and facets

    def search(self, text: str, chosen: dict[str, str]) -> Found:
        """Products that match, best first; without text those that sell best."""
        # A product may be sold before it is listed (another writer, another key): it has no product_id yet.
        must: list[Row] = [{"exists": {"field": "product_id"}}]
        if text:
            fields = ["description^2", "description.typed", "description.typed._2gram", "category"]
            must.append({"multi_match": {"query": text, "type": "bool_prefix", "operator": "and", "fields": fields}})
        filters = [{"term": {FACETS[name]: value}} for name, value in chosen.items()]
        body = {
            "query": {"bool": {"must": must, "filter": filters}},
            "sort": [*(["_score"] if text else []), {"sold": "desc"}, {"product_id": "asc"}],
            "aggs": {name: {"terms": {"field": where, "size": 12}} for name, where in FACETS.items()},
            "track_total_hits": True,
            "size": PAGE,
        }
        answer = self._ask(body)
        facets = {
            name: [(bucket["key"], bucket["doc_count"]) for bucket in answer["aggregations"][name]["buckets"]]
            for name in FACETS
        }
        return Found(answer["hits"]["total"]["value"], _products(answer), facets)

    def products(self, ids: Sequence[int]) -> list[Product]:
        """Those of ``ids`` that are on sale, in this order. By query, because a GET by id would also find what
        was taken off the list."""
        found = {p.id: p for p in _products(self._ask({"query": {"terms": {"product_id": list(ids)}}, "size": 100}))}
        return [found[id] for id in ids if id in found]

    def _ask(self, body: Row) -> Row:
        with _reading("OpenSearch", "search", OpenSearchException):
            answer: Row = self._opensearch.search(index="products", body=body)
            return answer

    # Redis: what is looked at all the time

    def departments(self) -> list[str]:
        with _reading("Redis", "cache", redis.RedisError):
            start = f"{KEYS}best:"
            return sorted(key.removeprefix(start) for key in self._redis.scan_iter(f"{start}*", count=1_000))

    def best_sellers(self, department: str) -> list[tuple[int, int]]:
        """The ten products that sold most, as (product id, units)."""
        with _reading("Redis", "cache", redis.RedisError):
            top: Any = self._redis.zrange(f"{KEYS}best:{department}", 0, 9, desc=True, withscores=True)
            return [(int(member), int(score)) for member, score in top if score > 0]

    def household(self, household_id: int) -> Row | None:
        """Counts of its baskets and returns, cents spent, last basket; None for a household that never bought."""
        with _reading("Redis", "cache", redis.RedisError):
            counts: Any = self._redis.hgetall(f"{KEYS}household:{household_id}")
            last: Any = self._redis.get(f"{KEYS}household:{household_id}:last")
        return {name: int(value) for name, value in counts.items()} | {"last": last} if counts else None

    # Postgres: everything that joins

    def orders(self, household_id: int) -> list[Row]:
        """Its latest baskets, newest first."""
        return self._query(
            "SELECT basket_id, paid_at, line_count, cents, returned_at FROM baskets"
            " WHERE household_id = %s ORDER BY paid_at DESC LIMIT 50",
            household_id,
        )

    def product(self, product_id: int) -> Row | None:
        """What the shop knows of a product and its sales, or None."""
        found = self._query(
            "SELECT p.*, coalesce(s.quantity, 0) AS sold FROM products p LEFT JOIN sales s USING (product_id)"
            " WHERE p.product_id = %s",
            product_id,
        )
        return found[0] if found else None

    def listed(self, products: Sequence[Product]) -> list[Product]:
        """Those that the database has, too: a search may find a product a moment before its row is there."""
        rows = self._query("SELECT product_id FROM products WHERE product_id = ANY(%s)", [p.id for p in products])
        known = {row["product_id"] for row in rows}
        return [product for product in products if product.id in known]

    def basket(self, basket_id: int) -> tuple[Row, list[Row]] | None:
        """A basket and its lines with the products' names, or None."""
        baskets = self._query("SELECT * FROM baskets WHERE basket_id = %s AND paid_at IS NOT NULL", basket_id)
        if not baskets:
            return None
        lines = self._query(
            "SELECT l.product_id, l.quantity, l.cents, coalesce(p.description, p.category) AS name, p.department"
            " FROM lines l LEFT JOIN products p USING (product_id) WHERE l.basket_id = %s ORDER BY l.product_id",
            basket_id,
        )
        return baskets[0], lines

    def _query(self, statement: str, *values: object) -> list[Row]:
        with (
            _reading("Postgres", "db", psycopg.Error),
            psycopg.connect(self._postgres, connect_timeout=TIMEOUT, row_factory=dict_row) as connection,
        ):
            connection.read_only = True
            return connection.execute(statement, values).fetchall()


def _products(answer: Row) -> list[Product]:
    return [_product(hit["_source"]) for hit in answer["hits"]["hits"]]


def _product(source: Row) -> Product:
    name = source.get("description") or source.get("category") or f"product {source['product_id']}"
    detail = " · ".join(filter(None, (source.get("brand"), source.get("category"), source.get("package_size"))))
    return Product(source["product_id"], source["department"], name.capitalize(), detail, source.get("sold", 0))


@contextmanager
def _reading(store: str, sink: str, errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise StoreDown(store, sink) from error
