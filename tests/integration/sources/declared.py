"""A source as a process loads it: `logsync relay tests.integration.sources.declared:source`."""

from __future__ import annotations

import os
from decimal import Decimal

from pydantic import BaseModel

from logsync import Log
from logsync.sources import Change, Source
from logsync.sources.postgres import PostgresLog

log = Log(os.environ.get("SOURCE_TOPIC", "unset"))


@log.event("order.placed", key="shopper")
class OrderPlaced(BaseModel):
    shopper: str
    number: int


@log.event("payment.made", key="account")
class PaymentMade(BaseModel):
    account: str
    number: int
    amount: Decimal


@log.event("customer.changed", key="id")
class CustomerChanged(BaseModel):
    id: int
    name: str | None
    before: str | None


origin = PostgresLog(os.environ.get("SOURCE_DSN"), outbox=True, append_only=["payments"], capture=["customers"])
source = Source(os.environ.get("SOURCE_NAME", "shop"), log, origin)


@source.on("payments")
def paid(row: Change) -> PaymentMade | None:
    assert row.new is not None
    if row.new["amount"] == 0:
        return None
    return PaymentMade(account=row.new["account"], number=row.new["number"], amount=row.new["amount"])


@source.on("customers")
def changed(row: Change) -> CustomerChanged:
    now, before = row.new or {}, row.old or {}
    return CustomerChanged(id=(now or before)["id"], name=now.get("name"), before=before.get("name"))
