"""The shop's year as events, in the order of time. Holds one product table and one batch of lines, no more.

What the source says is taken as it is: products, baskets with their lines, what households said, coupons.
What it does not say is made from it by these rules, never by chance (`demo/proof.py` states them again):

- A product is listed at midnight before its first sale of the cut; one that is never sold, on the day
  `product_id % days`. Of the never sold ones, a cut below the default size takes those with
  `product_id % 10 == 0`. Products that are sold but not described (17 in the year) are of the department UNKNOWN.
- Every 97th basket is returned two days later.
- A household moves when it pays a basket with `basket_id % 40 == 7`; the address is a hash of both ids.
- A product that is never sold and has `product_id % 10 == 0` is taken off the list after two days. When
  everything else is in the log, sold products with `product_id % 50 == 0` are taken off too (`closing`).
- What would happen after the last basket of the cut does not happen.

Money: the source has binary doubles that print as amounts with two decimals. `Decimal(repr(x))` is that
amount exactly; cents are it times 100, half up if there were a third decimal (there is none).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple
from zlib import crc32

import pyarrow.parquet as pq
from pydantic import BaseModel

from demo.source import DEFAULT_LINES, parquet
from logsync import Tombstone
from sinks.events import (
    AddressChanged,
    BasketPaid,
    BasketReturned,
    CouponRedeemed,
    HouseholdDescribed,
    Line,
    ProductListed,
    log,
    product_key,
)

START = datetime(2017, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_STREETS = ("Mill Lane", "Station Road", "Church Street", "Orchard Way", "Harbour Row", "Linden Avenue", "Hill Rise")

Timed = tuple[datetime, BaseModel]


class Cut(NamedTuple):
    """What one pass over the lines tells about a part of the year."""

    baskets: int
    lines: int
    until: datetime
    first_sales: dict[int, datetime]
    whole_list: bool

    @property
    def days(self) -> int:
        return (self.until - START) // _DAY + 1


def survey(lines: int | None) -> Cut:
    """The shortest run of whole baskets with at least ``lines`` lines; None takes the year."""
    first_sales: dict[int, datetime] = {}
    taken = count = 0
    until = START
    for basket in _raw_baskets(lines):
        until = _utc(basket[0][_TIME])
        count += 1
        taken += len(basket)
        for row in basket:
            first_sales.setdefault(row[_PRODUCT], until)
    return Cut(count, taken, until, first_sales, lines is None or lines >= DEFAULT_LINES)


def events(lines: int | None, cut: Cut) -> Iterator[Timed]:
    """Everything but the closing, each event with when it happened. ``cut`` is ``survey(lines)``."""
    streams = (_households(), _products(cut), _purchases(lines, cut), _coupons(cut))
    return heapq.merge(*streams, key=itemgetter(0))


def closing(cut: Cut) -> Iterator[Timed]:
    """What is appended when both writers are through.

    These products have sale counters. A sale of another household that came after its product's end would
    start the product anew; with two writers racing, nobody could say beforehand which comes first.
    """
    return ((cut.until, _gone(product)) for product in sorted(cut.first_sales) if product % 50 == 0)


class Basket(NamedTuple):
    """One purchase in one number."""

    household_id: int
    basket_id: int
    cents: int


def baskets() -> Iterator[Basket]:
    """The year's purchases, in the order of time."""
    for rows in _raw_baskets(None):
        household, _, basket, *_ = rows[0]
        yield Basket(household, basket, sum(cents(row[_VALUE]) for row in rows))


def owner(event: BaseModel, writers: int) -> int:
    """Which writer appends this event: always the same one for a key, so that a key's order is fixed."""
    return crc32(log.by_model[type(event)].key(event).encode()) % writers


# household_id, store_id, basket_id, product_id, quantity, sales_value, timestamp in whole seconds
_HOUSEHOLD, _STORE, _BASKET, _PRODUCT, _QUANTITY, _VALUE, _TIME = range(7)
_COLUMNS = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]


def _raw_baskets(lines: int | None) -> Iterator[list[tuple[Any, ...]]]:
    taken = 0
    for _, rows in groupby(_raw_lines(), key=itemgetter(_BASKET)):
        if lines is not None and taken >= lines:
            return
        basket = list(rows)
        taken += len(basket)
        yield basket


def _raw_lines() -> Iterator[tuple[Any, ...]]:
    for batch in pq.ParquetFile(parquet("transactions")).iter_batches(16_384, columns=_COLUMNS):
        columns = [batch.column(name) for name in _COLUMNS]
        columns[_TIME] = columns[_TIME].cast("timestamp[s]").cast("int64")
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _purchases(lines: int | None, cut: Cut) -> Iterator[Timed]:
    departments = _departments()
    returns: list[tuple[datetime, BasketReturned]] = []  # all wait two days: first in, first out
    for ordinal, rows in enumerate(_raw_baskets(lines), 1):
        household, store, basket, _, _, _, seconds = rows[0]
        paid_at = _utc(seconds)
        while returns and returns[0][0] <= paid_at:
            yield returns.pop(0)
        bought = tuple(
            Line(
                product_id=row[_PRODUCT],
                department=departments.get(row[_PRODUCT], "UNKNOWN"),
                quantity=row[_QUANTITY],
                cents=cents(row[_VALUE]),
            )
            for row in rows
        )
        yield (
            paid_at,
            BasketPaid(basket_id=basket, household_id=household, store_id=store, paid_at=paid_at, lines=bought),
        )
        if basket % 40 == 7:
            yield paid_at, _address(household, basket)
        if ordinal % 97 == 0:
            when = paid_at + 2 * _DAY
            back = BasketReturned(basket_id=basket, household_id=household, returned_at=when, lines=bought)
            returns.append((when, back))
    yield from (timed for timed in returns if timed[0] <= cut.until)


def cents(value: float) -> int:
    return int((Decimal(repr(value)) * 100).to_integral_value(ROUND_HALF_UP))


def _address(household: int, basket: int) -> AddressChanged:
    chance = crc32(f"{household}:{basket}".encode())
    street = f"{chance % 900 + 1} {_STREETS[chance % len(_STREETS)]}"
    return AddressChanged(household_id=household, street=street, postcode=f"{chance % 100_000:05d}")


def _products(cut: Cut) -> Iterator[Timed]:
    table = pq.read_table(parquet("products"))
    rows = {row["product_id"]: row for row in table.to_pylist()}
    plan: list[tuple[datetime, int, bool]] = []  # when, product, listed or gone
    for product in rows.keys() | cut.first_sales.keys():
        sold = cut.first_sales.get(product)
        if sold is not None:
            plan.append((sold.replace(hour=0, minute=0, second=0), product, True))
            continue
        if not cut.whole_list and product % 10:
            continue
        when = START + product % cut.days * _DAY
        plan.append((when, product, True))
        if product % 10 == 0 and when + 2 * _DAY <= cut.until:
            plan.append((when + 2 * _DAY, product, False))
    for when, product, listed in sorted(plan):
        yield when, _listed(product, rows.get(product)) if listed else _gone(product)


def _listed(product: int, row: dict[str, Any] | None) -> ProductListed:
    if row is None:
        return ProductListed(product_id=product, department="UNKNOWN")
    return ProductListed(
        product_id=product,
        department=row["department"],
        manufacturer_id=row["manufacturer_id"],
        brand=row["brand"],
        category=row["product_category"],
        description=row["product_type"],
        package_size=row["package_size"],
    )


def _gone(product: int) -> Tombstone:
    return Tombstone(key=product_key(product), of="product.listed")


def _departments() -> dict[int, str]:
    table = pq.read_table(parquet("products"), columns=["product_id", "department"])
    return dict(zip(table["product_id"].to_pylist(), table["department"].to_pylist(), strict=True))


def _households() -> Iterator[Timed]:
    for row in pq.read_table(parquet("demographics")).to_pylist():
        yield (
            START,
            HouseholdDescribed(
                household_id=row["household_id"],
                age=row["age"],
                income=row["income"],
                size=row["household_size"],
                kids=row["kids_count"],
                composition=row["household_comp"],
                home_ownership=row["home_ownership"],
                marital_status=row["marital_status"],
            ),
        )


def _coupons(cut: Cut) -> Iterator[Timed]:
    table = pq.read_table(parquet("coupon_redemptions"))
    days: Iterable[int] = table["redemption_date"].cast("timestamp[s]").cast("int64").to_pylist()
    for seconds, row in zip(days, table.drop_columns("redemption_date").to_pylist(), strict=True):
        when = _utc(seconds)
        if when <= cut.until:
            yield when, CouponRedeemed(**row)


def _utc(seconds: int) -> datetime:
    """The source's times carry no zone; they are taken as UTC."""
    return datetime.fromtimestamp(seconds, UTC)
