"""`logsync consume db`: the shop in Postgres, for reports and everything that joins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from logsync import Event, Sink, Tombstone
from logsync.stores.postgres import Delete, Increment, Postgres, Upsert
from sinks.events import (
    AddressChanged,
    BasketPaid,
    BasketReturned,
    CouponRedeemed,
    HouseholdDescribed,
    Line,
    ProductListed,
    log,
    product_of,
)

TABLES = ("products", "baskets", "lines", "households", "sales", "coupons")
sink = Sink("db", log, Postgres(schema=Path(__file__).with_name("schema.sql"), tables=TABLES))


@sink.on(ProductListed)
def product_listed(event: Event[ProductListed]) -> Upsert:
    return Upsert("products", {"product_id": event.data.product_id}, event.data.model_dump(exclude={"product_id"}))


@sink.on(Tombstone)
def product_gone(event: Event[Tombstone]) -> Delete:
    return Delete("products", {"product_id": product_of(event.data.key)})


@sink.on(BasketPaid)
def basket_paid(event: Event[BasketPaid]) -> Iterator[Upsert | Increment]:
    basket = event.data
    yield Upsert(
        "baskets",
        {"basket_id": basket.basket_id},
        {
            "household_id": basket.household_id,
            "store_id": basket.store_id,
            "paid_at": basket.paid_at,
            "line_count": len(basket.lines),
            "cents": basket.cents,
        },
    )
    for line in basket.lines:
        yield Upsert(
            "lines",
            {"basket_id": basket.basket_id, "product_id": line.product_id},
            {"quantity": line.quantity, "cents": line.cents},
        )
    yield Increment("households", {"household_id": basket.household_id}, {"baskets": 1, "cents": basket.cents})
    yield from _sold(basket.lines, sign=1)


@sink.on(BasketReturned)
def basket_returned(event: Event[BasketReturned]) -> Iterator[Upsert | Increment]:
    basket = event.data
    yield Upsert("baskets", {"basket_id": basket.basket_id}, {"returned_at": basket.returned_at})
    yield Increment("households", {"household_id": basket.household_id}, {"cents": -basket.cents})
    yield from _sold(basket.lines, sign=-1)


def _sold(lines: Iterable[Line], *, sign: int) -> Iterator[Increment]:
    for line in lines:
        by = {"quantity": sign * line.quantity, "cents": sign * line.cents}
        yield Increment("sales", {"product_id": line.product_id}, by)


@sink.on(HouseholdDescribed)
def household_described(event: Event[HouseholdDescribed]) -> Upsert:
    values = event.data.model_dump(exclude={"household_id"})
    return Upsert("households", {"household_id": event.data.household_id}, values)


@sink.on(AddressChanged)
def address_changed(event: Event[AddressChanged]) -> Upsert:
    address = {"street": event.data.street, "postcode": event.data.postcode}
    return Upsert("households", {"household_id": event.data.household_id}, address)


@sink.on(CouponRedeemed)
def coupon_redeemed(event: Event[CouponRedeemed]) -> Increment:
    key = {"coupon_upc": event.data.coupon_upc, "campaign_id": event.data.campaign_id}
    return Increment("coupons", key, {"redeemed": 1})
