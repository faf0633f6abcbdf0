"""After the writers are through: in how many places do the three stores disagree?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from opensearchpy.helpers import scan

from examples.dual_writes.shop import BASKETS, PREFIX, PRODUCTS, Shop


class Disagreement(NamedTuple):
    what: str
    between: str
    compared: int
    differ: int
    example: str


def disagreements(shop: Shop) -> list[Disagreement]:
    """Each kind with how many were compared, how many differ, and one of them."""
    rows = shop.postgres.execute("SELECT basket_id, cents FROM dual_baskets").fetchall()
    paid = {str(basket): cents for basket, cents in rows}
    rows = shop.postgres.execute("SELECT product_id, sold FROM dual_sales").fetchall()
    sold = {str(product): units for product, units in rows}
    rows = shop.postgres.execute("SELECT household_id, cents FROM dual_households").fetchall()
    spent = {str(household): cents for household, cents in rows}
    scores: Any = shop.redis.zrange(PREFIX + "best", 0, -1, withscores=True)
    best = {product: int(units) for product, units in scores}
    cards: Any = shop.redis.hgetall(PREFIX + "cents")
    card = {household: int(cents) for household, cents in cards.items()}
    shop.opensearch.indices.refresh(index=f"{BASKETS},{PRODUCTS}")
    found = {hit["_id"]: hit["_source"]["cents"] for hit in scan(shop.opensearch, index=BASKETS, size=2_000)}
    shown = {hit["_id"]: hit["_source"]["sold"] for hit in scan(shop.opensearch, index=PRODUCTS, size=2_000)}
    return [
        _differ("baskets", ("Postgres", paid), ("OpenSearch", found)),
        _differ("cents spent per household", ("Postgres", spent), ("Redis", card)),
        _differ("units sold per product", ("Postgres", sold), ("Redis", best)),
        _differ("units sold per product", ("Postgres", sold), ("OpenSearch", shown)),
    ]


def _differ(what: str, left: tuple[str, Mapping[str, int]], right: tuple[str, Mapping[str, int]]) -> Disagreement:
    (one, mine), (other, theirs) = left, right
    keys = sorted(mine.keys() | theirs.keys())
    differing = [key for key in keys if mine.get(key) != theirs.get(key)]
    example = ""
    if differing:
        key = differing[0]
        example = f"{key}: {_said(one, mine.get(key))}, {_said(other, theirs.get(key))}"
    return Disagreement(what, f"{one}, {other}", len(keys), len(differing), example)


def _said(store: str, value: int | None) -> str:
    return f"{store} has nothing" if value is None else f"{store} {value:,}"
