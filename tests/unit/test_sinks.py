"""The shop's handlers are functions of their event: called with one, compared with a list, no server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

import sinks.cache
import sinks.db
import sinks.search
from logsync import Event, Tombstone
from logsync.writes.docs import DeleteDoc, UpdateDoc
from logsync.writes.keys import HIncr, Set, ZIncr
from logsync.writes.rows import Delete, Increment, Upsert
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

MORNING = datetime(2017, 1, 1, 9, 30, tzinfo=UTC)
BREAD = Line(product_id=11, department="PASTRY", quantity=2, cents=398)
MILK = Line(product_id=12, department="GROCERY", quantity=1, cents=99)
OATS = Line(product_id=13, department="GROCERY", quantity=3, cents=450)
PAID = BasketPaid(basket_id=7, household_id=5, store_id=3, paid_at=MORNING, lines=(BREAD, MILK, OATS))
RETURNED = BasketReturned(basket_id=7, household_id=5, returned_at=MORNING, lines=(BREAD, MILK, OATS))
LISTED = ProductListed(product_id=12, department="GROCERY", brand="National", description="MILK")
GONE = Tombstone(key="product:12", of="product.listed")


def event_of(model: BaseModel) -> Event:
    kind = log.by_model[type(model)]
    return Event("id", kind.name, kind.version, kind.key(model), MORNING, model, 0, 0, None, [])


def test_a_paid_basket_becomes_rows_and_counters():
    assert list(sinks.db.basket_paid(event_of(PAID))) == [
        Upsert(
            "baskets",
            {"basket_id": 7},
            {"household_id": 5, "store_id": 3, "paid_at": MORNING, "line_count": 3, "cents": 947},
        ),
        Upsert("lines", {"basket_id": 7, "product_id": 11}, {"quantity": 2, "cents": 398}),
        Upsert("lines", {"basket_id": 7, "product_id": 12}, {"quantity": 1, "cents": 99}),
        Upsert("lines", {"basket_id": 7, "product_id": 13}, {"quantity": 3, "cents": 450}),
        Increment("households", {"household_id": 5}, {"baskets": 1, "cents": 947}),
        Increment("sales", {"product_id": 11}, {"quantity": 2, "cents": 398}),
        Increment("sales", {"product_id": 12}, {"quantity": 1, "cents": 99}),
        Increment("sales", {"product_id": 13}, {"quantity": 3, "cents": 450}),
    ]


def test_a_return_marks_the_basket_and_takes_its_sales_back():
    assert list(sinks.db.basket_returned(event_of(RETURNED))) == [
        Upsert("baskets", {"basket_id": 7}, {"returned_at": MORNING}),
        Increment("households", {"household_id": 5}, {"cents": -947}),
        Increment("sales", {"product_id": 11}, {"quantity": -2, "cents": -398}),
        Increment("sales", {"product_id": 12}, {"quantity": -1, "cents": -99}),
        Increment("sales", {"product_id": 13}, {"quantity": -3, "cents": -450}),
    ]


def test_a_listed_product_is_a_row_until_its_tombstone():
    values = {"department": "GROCERY", "manufacturer_id": None, "brand": "National", "category": None}
    assert sinks.db.product_listed(event_of(LISTED)) == Upsert(
        "products", {"product_id": 12}, {**values, "description": "MILK", "package_size": None}
    )
    assert sinks.db.product_gone(event_of(GONE)) == Delete("products", {"product_id": 12})


def test_what_a_household_says_and_where_it_lives_are_columns_of_one_row():
    said = HouseholdDescribed(household_id=5, age="25-34", income="35-49K", size="2", kids="0", composition="2 Adults")
    values = {"age": "25-34", "income": "35-49K", "size": "2", "kids": "0", "composition": "2 Adults"}
    assert sinks.db.household_described(event_of(said)) == Upsert(
        "households", {"household_id": 5}, {**values, "home_ownership": None, "marital_status": None}
    )
    moved = AddressChanged(household_id=5, street="1 Mill Lane", postcode="00001")
    assert sinks.db.address_changed(event_of(moved)) == Upsert(
        "households", {"household_id": 5}, {"street": "1 Mill Lane", "postcode": "00001"}
    )


def test_a_redeemed_coupon_is_counted_per_campaign():
    redeemed = CouponRedeemed(household_id=5, coupon_upc=100, campaign_id=8)
    assert sinks.db.coupon_redeemed(event_of(redeemed)) == Increment(
        "coupons", {"coupon_upc": 100, "campaign_id": 8}, {"redeemed": 1}
    )


def test_the_cache_keeps_a_card_the_last_basket_and_best_sellers_per_department():
    assert list(sinks.cache.basket_paid(event_of(PAID))) == [
        HIncr("household:5", {"baskets": 1, "cents": 947}),
        Set("household:5:last", 7),
        ZIncr("best:PASTRY", {"11": 2}),
        ZIncr("best:GROCERY", {"12": 1, "13": 3}),
    ]
    assert list(sinks.cache.basket_returned(event_of(RETURNED))) == [
        HIncr("household:5", {"returns": 1, "cents": -947}),
        ZIncr("best:PASTRY", {"11": -2}),
        ZIncr("best:GROCERY", {"12": -1, "13": -3}),
    ]


def test_search_describes_products_without_touching_what_they_sold():
    assert sinks.search.product_listed(event_of(LISTED)) == UpdateDoc(
        "products", "12", set=LISTED.model_dump(), add={"sold": 0}
    )
    assert list(sinks.search.basket_paid(event_of(PAID))) == [
        UpdateDoc("products", "11", add={"sold": 2}),
        UpdateDoc("products", "12", add={"sold": 1}),
        UpdateDoc("products", "13", add={"sold": 3}),
    ]
    assert [write.add for write in sinks.search.basket_returned(event_of(RETURNED))] == [
        {"sold": -2},
        {"sold": -1},
        {"sold": -3},
    ]
    assert sinks.search.product_gone(event_of(GONE)) == DeleteDoc("products", "12")


@pytest.mark.parametrize("sink", [sinks.db.sink, sinks.cache.sink, sinks.search.sink], ids=lambda sink: sink.name)
def test_every_handler_returns_only_writes_that_its_store_takes(sink):
    said = HouseholdDescribed(household_id=5, age="a", income="i", size="2", kids="0", composition="c")
    moved = AddressChanged(household_id=5, street="s", postcode="p")
    redeemed = CouponRedeemed(household_id=5, coupon_upc=1, campaign_id=1)
    for model in (PAID, RETURNED, LISTED, GONE, said, moved, redeemed):
        handler = sink.handlers.get(type(model))
        result = handler(event_of(model)) if handler else []
        for write in result if hasattr(result, "__iter__") else [result]:
            assert type(write) in sink.store.accepts


def test_events_keep_their_key_and_shape_on_the_way_through_the_log():
    for model in (PAID, RETURNED, LISTED):
        assert type(model).model_validate_json(model.model_dump_json()) == model
    assert event_of(PAID).key == "household:5"
    assert event_of(LISTED).key == "product:12"


def test_only_products_are_taken_off_the_list():
    with pytest.raises(ValueError, match="household:5"):
        product_of("household:5")
