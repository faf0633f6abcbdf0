"""What may stand in the log of the app that writes its database first."""

from __future__ import annotations

from pydantic import BaseModel

from logsync import Log
from logsync.outbox import Outbox

log = Log("existing.events")
outbox = Outbox(log)


@log.event("order.placed", key="household_id")
class OrderPlaced(BaseModel):
    household_id: int
    basket_id: int
    cents: int


@log.event("payment.made", key="household_id")
class PaymentMade(BaseModel):
    household_id: int
    payment_id: int
    cents: int
