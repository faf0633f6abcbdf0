"""`logsync consume cache`: what the shop's pages show at once, in Redis.

Keys, under the store's prefix:
  household:<id>        hash: baskets, cents (what was spent, refunds taken off), returns
  household:<id>:last   string: the basket paid last
  best:<department>     sorted set: product id by units sold, returns taken off
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from logsync import Event, Sink
from logsync.stores.redis import HIncr, Redis, Set, ZIncr
from sinks.events import BasketPaid, BasketReturned, Line, log

sink = Sink("cache", log, Redis(prefix="shop:"))


@sink.on(BasketPaid)
def basket_paid(event: Event[BasketPaid]) -> Iterator[Set | HIncr | ZIncr]:
    basket = event.data
    yield HIncr(f"household:{basket.household_id}", {"baskets": 1, "cents": basket.cents})
    yield Set(f"household:{basket.household_id}:last", basket.basket_id)
    yield from _best_sellers(basket.lines, sign=1)


@sink.on(BasketReturned)
def basket_returned(event: Event[BasketReturned]) -> Iterator[HIncr | ZIncr]:
    basket = event.data
    yield HIncr(f"household:{basket.household_id}", {"returns": 1, "cents": -basket.cents})
    yield from _best_sellers(basket.lines, sign=-1)


def _best_sellers(lines: Iterable[Line], *, sign: int) -> Iterator[ZIncr]:
    departments: dict[str, dict[str, int]] = {}
    for line in lines:
        departments.setdefault(line.department, {})[str(line.product_id)] = sign * line.quantity
    for department, by in departments.items():
        yield ZIncr(f"best:{department}", by)
