"""The shop's log: every event that may stand in it. Writers and sinks share this file and nothing else.

Money is integer cents. Events carry what the sinks need (a line names its product's department), because a
handler is a function of its event and may not look anything up. # I5

Keys name what an event is about: `product:<id>` or `household:<id>`. Events of one key are applied in the
order in which they were appended.
"""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from logsync import Log

log = Log("shop.events")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Line(_Fact):
    """One product in a basket. ``cents`` is what the line cost, all units together."""

    product_id: int
    department: str
    quantity: int
    cents: int


@log.event("product.listed", key=lambda event: product_key(event.product_id))
class ProductListed(_Fact):
    """The product is on sale as described, until a tombstone of its key. None: nobody wrote it down."""

    product_id: int
    department: str
    manufacturer_id: int | None = None
    brand: str | None = None
    category: str | None = None
    description: str | None = None
    package_size: str | None = None


@log.event("basket.paid", key=lambda event: household_key(event.household_id))
class BasketPaid(_Fact):
    """A household paid for a basket. No two lines hold the same product."""

    basket_id: int
    household_id: int
    store_id: int
    paid_at: AwareDatetime
    lines: tuple[Line, ...]

    @property
    def cents(self) -> int:
        return sum(line.cents for line in self.lines)


@log.event("basket.returned", key=lambda event: household_key(event.household_id))
class BasketReturned(_Fact):
    """Everything in a paid basket came back and was refunded. The lines are those of the payment."""

    basket_id: int
    household_id: int
    returned_at: AwareDatetime
    lines: tuple[Line, ...]

    @property
    def cents(self) -> int:
        return sum(line.cents for line in self.lines)


@log.event("household.described", key=lambda event: household_key(event.household_id))
class HouseholdDescribed(_Fact):
    """What a household said about itself. None: it did not say."""

    household_id: int
    age: str
    income: str
    size: str
    kids: str
    composition: str
    home_ownership: str | None = None
    marital_status: str | None = None


@log.event("address.changed", key=lambda event: household_key(event.household_id))
class AddressChanged(_Fact):
    """The household's deliveries go here from now on."""

    household_id: int
    street: str
    postcode: str


@log.event("coupon.redeemed", key=lambda event: household_key(event.household_id))
class CouponRedeemed(_Fact):
    household_id: int
    coupon_upc: int
    campaign_id: int


def product_key(product_id: int) -> str:
    return f"product:{product_id}"


def household_key(household_id: int) -> str:
    return f"household:{household_id}"


def product_of(key: str) -> int:
    """The inverse of ``product_key``, for tombstones: they carry nothing but their key."""
    kind, _, number = key.partition(":")
    if kind != "product":
        raise ValueError(f"only products are taken off the list; the key is {key!r}")
    return int(number)
