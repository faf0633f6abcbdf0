"""Three sinks of the log in ``declared``, as processes load them. Each counts: a fact that counts twice is seen."""

from __future__ import annotations

import os

from logsync import Event, Sink
from logsync.stores.opensearch import OpenSearch, UpdateDoc
from logsync.stores.postgres import Increment, Postgres
from logsync.stores.redis import HIncr, Redis

from .declared import CustomerChanged, OrderPlaced, PaymentMade, log

NAME = os.environ.get("SOURCE_NAME", "shop")
INDEX = f"totals-{NAME}"
TOTALS = "CREATE TABLE IF NOT EXISTS totals (name text PRIMARY KEY, n bigint NOT NULL, sum bigint NOT NULL)"
Fact = Event[OrderPlaced] | Event[PaymentMade] | Event[CustomerChanged]

db = Sink(f"{NAME}-db", log, Postgres(schema=TOTALS, tables=["totals"]))
cache = Sink(f"{NAME}-cache", log, Redis(prefix=f"{NAME}:"))
search = Sink(f"{NAME}-search", log, OpenSearch(indices={INDEX: {"mappings": {"dynamic": False}}}))


def counted(event: Fact) -> tuple[str, int]:
    """The name under which an event counts, and its number."""
    number = event.data.id if isinstance(event.data, CustomerChanged) else event.data.number
    return f"{event.type} {event.key}", number


@db.on(OrderPlaced, PaymentMade, CustomerChanged)
def in_db(event: Fact) -> Increment:
    name, number = counted(event)
    return Increment("totals", {"name": name}, {"n": 1, "sum": number})


@cache.on(OrderPlaced, PaymentMade, CustomerChanged)
def in_cache(event: Fact) -> HIncr:
    name, number = counted(event)
    return HIncr(name, {"n": 1, "sum": number})


@search.on(OrderPlaced, PaymentMade, CustomerChanged)
def in_search(event: Fact) -> UpdateDoc:
    name, number = counted(event)
    return UpdateDoc(INDEX, name, add={"n": 1, "sum": number})
