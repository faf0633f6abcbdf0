"""An ordinary shop backend: every payment goes to Postgres, then to Redis, then to OpenSearch.

There is no mistake in it that a review would stop: the database write is one transaction, the counters in
Redis are atomic, the search documents are read, changed and sent back in bulk. What is missing cannot be
added to it either: nothing ties the three writes together.
"""

from __future__ import annotations

from typing import NamedTuple

import psycopg
import redis
from opensearchpy import OpenSearch

PREFIX = "dual:"
PRODUCTS, BASKETS = "dual_products", "dual_baskets"

SCHEMA = """
DROP TABLE IF EXISTS dual_baskets, dual_sales, dual_households;
CREATE TABLE dual_baskets (basket_id bigint PRIMARY KEY, household_id bigint, cents bigint);
CREATE TABLE dual_sales (product_id bigint PRIMARY KEY, sold bigint NOT NULL);
CREATE TABLE dual_households (household_id bigint PRIMARY KEY, cents bigint NOT NULL);
"""


class Basket(NamedTuple):
    basket_id: int
    household_id: int
    cents: int
    units: dict[int, int]
    """product_id: units bought"""


class Shop:
    """One request handler's worth of connections; each thread of a writer has its own."""

    def __init__(self, postgres: str, redis_url: str, opensearch: str) -> None:
        self.postgres = psycopg.connect(postgres, autocommit=True)
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.opensearch = OpenSearch(opensearch, timeout=30)

    def set_up(self) -> None:
        """Empty tables, keys and indices."""
        self.postgres.execute(SCHEMA)
        for key in self.redis.scan_iter(PREFIX + "*"):
            self.redis.delete(key)
        for index in (PRODUCTS, BASKETS):
            self.opensearch.indices.delete(index=index, ignore_unavailable=True)
            body = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}}
            self.opensearch.indices.create(index=index, body=body)

    def is_paid(self, basket_id: int) -> bool:
        found = self.postgres.execute("SELECT 1 FROM dual_baskets WHERE basket_id = %s", [basket_id])
        return found.fetchone() is not None

    def pay(self, basket: Basket) -> None:
        self._to_postgres(basket)
        # The process dies here, and Redis and OpenSearch never hear of the basket.
        self._to_redis(basket)
        # Or here: only OpenSearch never does.
        self._to_opensearch(basket)

    def _to_postgres(self, basket: Basket) -> None:
        with self.postgres.transaction(), self.postgres.cursor() as cursor:
            cursor.execute(
                "INSERT INTO dual_baskets VALUES (%s, %s, %s)", [basket.basket_id, basket.household_id, basket.cents]
            )
            cursor.execute(
                "INSERT INTO dual_households AS mine VALUES (%s, %s) "
                "ON CONFLICT (household_id) DO UPDATE SET cents = mine.cents + excluded.cents",
                [basket.household_id, basket.cents],
            )
            cursor.executemany(
                "INSERT INTO dual_sales AS mine VALUES (%s, %s) "
                "ON CONFLICT (product_id) DO UPDATE SET sold = mine.sold + excluded.sold",
                sorted(basket.units.items()),  # in one order everywhere, or two payments deadlock
            )

    def _to_redis(self, basket: Basket) -> None:
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hincrby(PREFIX + "cents", str(basket.household_id), basket.cents)
            for product, units in basket.units.items():
                pipeline.zincrby(PREFIX + "best", units, str(product))
            pipeline.execute()

    def _to_opensearch(self, basket: Basket) -> None:
        ids = [str(product) for product in basket.units]
        found = self.opensearch.mget(index=PRODUCTS, body={"ids": ids})["docs"]
        # Another payment reads the same numbers here. One of the two sums below is lost.
        lines: list[dict[str, object]] = [
            {"index": {"_index": BASKETS, "_id": str(basket.basket_id)}},
            {"household_id": basket.household_id, "cents": basket.cents},
        ]
        for hit in found:
            sold = hit["_source"]["sold"] if hit["found"] else 0
            lines.append({"index": {"_index": PRODUCTS, "_id": hit["_id"]}})
            lines.append({"sold": sold + basket.units[int(hit["_id"])]})
        answer = self.opensearch.bulk(body=lines)
        if answer["errors"]:
            raise RuntimeError(f"OpenSearch refused a part of basket {basket.basket_id}: {answer}")

    def close(self) -> None:
        self.postgres.close()
        self.redis.close()
        self.opensearch.close()
