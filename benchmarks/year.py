"""The real grocery year into Postgres: seven event types, six tables, upserts, increments and deletes together.

`logsync consume` runs the repository's own `sinks.db`; the limit (`python -m benchmarks.year`) is one loop by hand for
exactly these events. What must come out is computed by `demo.proof` from the source files, without either of them.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
from pydantic import TypeAdapter

import sinks.db
import sinks.events
from benchmarks.run import Contestant, Job
from benchmarks.stores import PostgresView
from benchmarks.workload import Case, Content

MARKER = 10**12
"""Markers are products from this number on."""
sinks.events.log.topic = os.environ.get("BENCH_TOPIC", "shop.events")
sink = sinks.db.sink


EVERY = 2500
"""Events from one marker to the next."""


class YearCase(Case):
    """``events`` is the number of the last marker: how many events the cut has is known once it is written."""

    @property
    def marks(self) -> int:
        return self.events

    def marker(self, partition: int, number: int) -> str:  # noqa: ARG002 - there is one partition
        return str(MARKER + number)


def append(servers: str, topic: str, lines: int) -> tuple[int, int]:
    """Fill the topic by one producer, with the first ``lines`` lines of the year in whole baskets; 0 are all of them.

    Returns (events, number of the last marker).
    """
    from demo.data import closing, events, survey
    from logsync import Producer
    from logsync.settings import Settings

    sinks.events.log.topic = topic
    wanted = lines or None
    cut = survey(wanted)
    last = 0

    def marked() -> Iterator[Any]:
        nonlocal last
        for n, (_, event) in enumerate(chain(events(wanted, cut), closing(cut))):
            if n % EVERY == 0:
                last = n // EVERY
                yield _marker(last)
            yield event
        last += 1
        yield _marker(last)

    with Producer(sinks.events.log, settings=Settings(_env_file=None, kafka=servers)) as producer:  # type: ignore[call-arg]
        return producer.append_many(marked()).appended, last


def _marker(number: int) -> Any:
    return sinks.events.ProductListed(product_id=MARKER + number, department="MARKER")


def expected(lines: int, last: int) -> Content:
    from demo import proof

    tables = proof.expect(lines or None).tables
    marks = {MARKER + n: ("MARKER", None, None, None, None, None) for n in range(last + 1)}
    return Content(dict(_named(tables)) | dict(_named({"products": marks})), {})


def _named(tables: dict[str, dict[Any, Any]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for table, rows in tables.items():
        for key, row in rows.items():
            yield f"{table}:{key}", tuple(map(_plain, row))


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


class YearView(PostgresView):
    """Each run has a database of its own: the sink's tables have fixed names."""

    def __init__(self, case: Case, run: str, env: dict[str, str]) -> None:
        self.admin = psycopg.connect(env["LOGSYNC_POSTGRES"], autocommit=True)
        self.admin.execute(f"CREATE DATABASE {run}")
        super().__init__(case, run, located(env, run))

    def prepare(self) -> None:
        self._ask(Path(sinks.db.__file__).with_name("schema.sql").read_text())

    def visible(self, keys: list[str]) -> set[str]:
        try:
            found = self._ask("SELECT product_id FROM products WHERE product_id = ANY(%s)", list(map(int, keys)))
        except psycopg.errors.UndefinedTable:
            return set()
        return {str(number) for (number,) in found}

    def content(self) -> Content:
        from demo import proof

        tables: dict[str, dict[Any, Any]] = {}
        for table, (width, columns) in proof.TABLES.items():
            rows = self._ask(f"SELECT {columns} FROM {table}")
            tables[table] = {row[0] if width == 1 else row[:width]: row[width:] for row in rows}
        return Content(dict(_named(tables)), {})

    def drop(self) -> None:
        self.db.close()
        self.admin.execute(f"DROP DATABASE {self.run} WITH (FORCE)")
        self.admin.close()


def located(env: dict[str, str], run: str) -> dict[str, str]:
    return {**env, "LOGSYNC_POSTGRES": env["LOGSYNC_POSTGRES"].rpartition("/")[0] + f"/{run}"}


def _logsync(job: Job) -> tuple[list[str], dict[str, str]]:
    argv = [sys.executable, "-m", "logsync.cli", "consume", "benchmarks.year:sink"]
    return argv, {**job.env, **located(job.servers, job.run)}


def _limit(job: Job) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "benchmarks.year"], {**job.env, **located(job.servers, job.run)}


CONTESTANTS = [
    Contestant("logsync", "exactly once", frozenset(), _logsync, own_schema=True),
    Contestant("limit", "exactly once", frozenset(), _limit),
]

# The limit. Nothing from here on is logsync's.


def by_hand() -> tuple[dict[int, int], Callable[[list[Any], dict[int, int]], None]]:
    events = sinks.events
    types: dict[str, Any] = {
        "product.listed": events.ProductListed, "basket.paid": events.BasketPaid,
        "basket.returned": events.BasketReturned, "household.described": events.HouseholdDescribed,
        "address.changed": events.AddressChanged, "coupon.redeemed": events.CouponRedeemed,
    }  # fmt: skip
    models = {name.encode(): TypeAdapter(model).validator.validate_json for name, model in types.items()}
    db: Any = psycopg.connect(os.environ["LOGSYNC_POSTGRES"])
    db.execute("CREATE TABLE IF NOT EXISTS position (number int PRIMARY KEY, next_offset bigint)")
    db.commit()
    kinds = dict(
        db.execute(
            "SELECT table_name || '.' || column_name, udt_name FROM information_schema.columns "
            "WHERE table_schema = 'public'"
        ).fetchall()
    )

    def merge(cursor: Any, table: str, keys: list[str], columns: list[str], rows: Iterable[Any], *, add: bool) -> None:
        names = keys + columns
        lists = list(zip(*rows, strict=True))
        if not lists:
            return
        source = ", ".join(f"%s::{kinds[f'{table}.{name}']}[]" for name in names)
        change = ", ".join(f"{c} = {f't.{c} + ' if add else ''}excluded.{c}" for c in columns)
        cursor.execute(
            f"INSERT INTO {table} AS t ({', '.join(names)}) SELECT * FROM unnest({source}) "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {change}",
            [list(column) for column in lists],
        )

    product = ["department", "manufacturer_id", "brand", "category", "description", "package_size"]
    described = ["age", "income", "size", "kids", "composition", "home_ownership", "marital_status"]

    def apply(messages: list[Any], ends: dict[int, int]) -> None:
        products: dict[int, Any] = {}
        baskets, backs, lines, people, addresses = {}, {}, {}, {}, {}
        spent: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        sales: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        coupons: dict[tuple[int, int], int] = defaultdict(int)
        for message in messages:
            value = message.value()
            if value is None:
                products[events.product_of(message.key().decode())] = None
                continue
            event: Any = models[dict(message.headers())["ce_type"]](value)
            if isinstance(event, events.ProductListed):
                products[event.product_id] = [getattr(event, name) for name in product]
            elif isinstance(event, events.BasketPaid):
                key, cents = event.basket_id, event.cents
                baskets[key] = key, event.household_id, event.store_id, event.paid_at, len(event.lines), cents
                spent[event.household_id][0] += 1
                spent[event.household_id][1] += cents
                for line in event.lines:
                    lines[key, line.product_id] = key, line.product_id, line.quantity, line.cents
                    sales[line.product_id][0] += line.quantity
                    sales[line.product_id][1] += line.cents
            elif isinstance(event, events.BasketReturned):
                backs[event.basket_id] = event.basket_id, event.returned_at
                spent[event.household_id][1] -= event.cents
                for line in event.lines:
                    sales[line.product_id][0] -= line.quantity
                    sales[line.product_id][1] -= line.cents
            elif isinstance(event, events.HouseholdDescribed):
                people[event.household_id] = event.household_id, *(getattr(event, name) for name in described)
            elif isinstance(event, events.AddressChanged):
                addresses[event.household_id] = event.household_id, event.street, event.postcode
            else:
                coupons[event.coupon_upc, event.campaign_id] += 1
        with db.cursor() as cursor:
            listed = [(key, *row) for key, row in products.items() if row]
            merge(cursor, "products", ["product_id"], product, listed, add=False)
            gone = [key for key, row in products.items() if row is None]
            if gone:
                cursor.execute("DELETE FROM products WHERE product_id = ANY(%s)", (gone,))
            paid = ["household_id", "store_id", "paid_at", "line_count", "cents"]
            merge(cursor, "baskets", ["basket_id"], paid, baskets.values(), add=False)
            merge(cursor, "baskets", ["basket_id"], ["returned_at"], backs.values(), add=False)
            merge(cursor, "lines", ["basket_id", "product_id"], ["quantity", "cents"], lines.values(), add=False)
            merge(cursor, "households", ["household_id"], described, people.values(), add=False)
            merge(cursor, "households", ["household_id"], ["street", "postcode"], addresses.values(), add=False)
            sums = [(key, *row) for key, row in spent.items()]
            merge(cursor, "households", ["household_id"], ["baskets", "cents"], sums, add=True)
            merge(cursor, "sales", ["product_id"], ["quantity", "cents"], [(k, *r) for k, r in sales.items()], add=True)
            redeemed = [(*key, count) for key, count in coupons.items()]
            merge(cursor, "coupons", ["coupon_upc", "campaign_id"], ["redeemed"], redeemed, add=True)
            merge(cursor, "position", ["number"], ["next_offset"], ends.items(), add=False)
        db.commit()

    return dict(db.execute("SELECT number, next_offset FROM position").fetchall()), apply


if __name__ == "__main__":
    from benchmarks.limit import consume

    consume(*by_hand())
