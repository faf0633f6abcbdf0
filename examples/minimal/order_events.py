"""What may stand in the log. Writer and sink share this file and nothing else."""

from pydantic import BaseModel

from logsync import Log

log = Log("orders")


@log.event("order.placed", key="order_id")
class OrderPlaced(BaseModel):
    order_id: str
    customer: str
    cents: int
