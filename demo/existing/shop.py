"""The source: `logsync relay demo.existing.shop:source`. An outbox, and a table that is its own."""

from __future__ import annotations

import os

from demo.existing.events import PaymentMade, log
from logsync.sources import Change, Source
from logsync.sources.postgres import PostgresLog

source = Source("till", log, PostgresLog(os.environ.get("DEMO_SHOP"), outbox=True, append_only=["payments"]))


@source.on("payments")
def paid(row: Change) -> PaymentMade:
    return PaymentMade.model_validate(row.new)
