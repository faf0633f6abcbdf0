"""The proof of this act: the app's own tables against the events that count, and against the store.

What must be there is read from the app's database, by plain SQL. What counts in the log is what every reader of logsync
takes: a relay that was killed may have left a record twice, and the topic tells which one is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import psycopg

from demo.existing.events import log
from demo.proof import Part, Rows, compare
from logsync.core.event import Event
from logsync.core.sources import at_start, fold
from logsync.log.lookup import Lookup
from logsync.settings import Settings

_ORDERS = "SELECT basket_id, household_id, cents FROM orders"
_PAYMENTS = "SELECT payment_id, household_id, cents FROM payments"
_TURNS = "SELECT household_id, array_agg(payment_id ORDER BY payment_id) FROM payments GROUP BY household_id"
_ACCOUNTS = """
SELECT household_id, count(b), coalesce(sum(b), 0)::bigint, count(p), coalesce(sum(p), 0)::bigint
FROM (SELECT household_id, cents AS b, NULL::int AS p FROM orders
      UNION ALL SELECT household_id, NULL, cents FROM payments) AS facts
GROUP BY household_id
"""
_COUNTED = "SELECT household_id, orders, ordered, payments, paid FROM accounts"


class Found(NamedTuple):
    """The topic, and what of it counts."""

    records: int
    events: list[dict[str, Any]]
    """In the order of the log."""


def events(settings: Settings) -> Found:
    decode, count, found = log.codec.decoder(log, log.names), 0, list[dict[str, Any]]()
    with Lookup(settings, log.topic) as lookup:
        for partition, span in lookup.spans().items():
            records = list(lookup.read(partition, span.low, span.high))
            _, passed = fold(at_start(span.low), log.codec.marks(records), span.high)
            taken = (decode(record) for record in records if record.offset not in passed)
            found += [event.data.model_dump() for event in taken if isinstance(event, Event)]
            count += len(records)
    return Found(count, found)


def check(shop: str, store: str, found: Found) -> list[Part]:
    """``shop``, ``store``: the addresses of both databases."""
    orders, payments, accounts = (dict(_rows(shop, query)) for query in (_ORDERS, _PAYMENTS, _ACCOUNTS))
    turns: Rows = {household: tuple(ids) for household, (ids,) in _rows(shop, _TURNS)}
    return [
        compare("the log", "orders", orders, _counting(found, "basket_id")),
        compare("the log", "payments", payments, _counting(found, "payment_id")),
        compare("the log", "turns of a household", turns, _turns(found).items()),
        compare("the store", "orders", orders, _rows(store, _ORDERS)),
        compare("the store", "payments", payments, _rows(store, _PAYMENTS)),
        compare("the store", "counters", accounts, _rows(store, _COUNTED)),
    ]


def _rows(url: str, query: str) -> Iterable[tuple[Any, tuple[Any, ...]]]:
    with psycopg.connect(url) as db:
        return [(row[0], row[1:]) for row in db.execute(query.encode())]


def _counting(found: Found, key: str) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    return ((event[key], (event["household_id"], event["cents"])) for event in found.events if key in event)


def _turns(found: Found) -> Rows:
    turns: dict[int, list[int]] = {}
    for event in found.events:
        if "payment_id" in event:
            turns.setdefault(event["household_id"], []).append(event["payment_id"])
    return {household: tuple(ids) for household, ids in turns.items()}
