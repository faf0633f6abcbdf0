"""The proof: what the stores must hold, computed from the source files alone, compared value by value.

`python -m demo.proof` runs in a process of its own and imports neither logsync nor the sinks (a test looks at
the imports of every module it reaches): a mistake there cannot hide here. The rules of `demo/data.py` are
stated a second time, over whole columns instead of a stream.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zlib import crc32

import opensearchpy
import opensearchpy.helpers
import psycopg
import pyarrow.parquet as pq
import redis
import typer
from rich.console import Console
from rich.table import Table

from demo.source import DEFAULT_LINES, parquet

Rows = dict[Any, Any]  # primary key -> the other columns
SHOWN = 5  # differences per part; the count is always of all

TABLES = {  # the key's columns come first
    "products": (1, "product_id, department, manufacturer_id, brand, category, description, package_size"),
    "baskets": (1, "basket_id, household_id, store_id, paid_at, line_count, cents, returned_at"),
    "lines": (2, "basket_id, product_id, quantity, cents"),
    "households": (
        1,
        "household_id, age, income, size, kids, composition, home_ownership, marital_status, street, postcode, "
        "baskets, cents",
    ),
    "sales": (1, "product_id, quantity, cents"),
    "coupons": (2, "coupon_upc, campaign_id, redeemed"),
}


class Expected(NamedTuple):
    tables: dict[str, Rows]
    keys: Rows
    docs: Rows


class Part(NamedTuple):
    """One table, kind of key or index: how many values were expected and found, and what differs."""

    store: str
    what: str
    expected: int
    found: int
    differences: int
    first: list[str]


def expect(lines: int | None) -> Expected:
    """The content that the events of the first ``lines`` lines (None: of the year) must lead to."""
    bought = pq.read_table(
        parquet("transactions"),
        columns=["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value"],
    )
    seconds = pq.read_table(parquet("transactions"), columns=["transaction_timestamp"])["transaction_timestamp"]
    end = _end_of_cut(bought["basket_id"].to_pylist(), lines)
    household, store, basket, product, quantity, value = (
        bought[name].slice(0, end).to_pylist() for name in bought.column_names
    )
    times = seconds.slice(0, end).cast("timestamp[s]").cast("int64").to_pylist()
    until = times[-1]

    first_line = [row for row in range(end) if row == 0 or basket[row] != basket[row - 1]]
    two_days = 2 * 86_400
    returned = {
        basket[row] for number, row in enumerate(first_line, 1) if number % 97 == 0 and times[row] + two_days <= until
    }
    whole_list = lines is None or lines >= DEFAULT_LINES
    sold_here = set(product)
    known = {
        row["product_id"]: row
        for row in pq.read_table(parquet("products")).to_pylist()
        if whole_list or row["product_id"] in sold_here or row["product_id"] % 10 == 0
    }

    baskets: Rows = {}
    households: Rows = {
        row["household_id"]: _household(row) for row in pq.read_table(parquet("demographics")).to_pylist()
    }
    rows: Rows = {}
    sales: Rows = {}
    card: Rows = {}
    last: Rows = {}
    best: Rows = {}
    for row in range(end):
        b, h, p, units = basket[row], household[row], product[row], quantity[row]
        cents = round(value[row] * 100)
        back = b in returned
        kept = 0 if back else 1
        rows[b, p] = (units, cents)
        sold, earned = sales.get(p, (0, 0))
        sales[p] = (sold + kept * units, earned + kept * cents)
        department = known[p]["department"] if p in known else "UNKNOWN"
        score = ("zset", f"shop:best:{department}", str(p))
        best[score] = best.get(score, 0) + kept * units
        who = households.setdefault(h, [None] * 9 + [0, 0])
        mine = card.setdefault(f"shop:household:{h}", {"baskets": 0, "cents": 0})
        if b not in baskets:
            at = datetime.fromtimestamp(times[row], UTC)
            baskets[b] = [h, store[row], at, 0, 0, at + timedelta(days=2) if back else None]
            who[9] += 1
            mine["baskets"] += 1
            if back:
                mine["returns"] = mine.get("returns", 0) + 1
            last["string", f"shop:household:{h}:last", ""] = str(b)
            if b % 40 == 7:
                who[7:9] = _address(h, b)
        baskets[b][3] += 1
        baskets[b][4] += cents
        who[10] += kept * cents
        mine["cents"] += kept * cents

    gone = {p for p in sales if p % 50 == 0} | _never_sold_and_gone(known, sales, until)
    listed = {
        p: known.get(p) or {"product_id": p, "department": "UNKNOWN"} for p in (known.keys() | sales.keys()) - gone
    }
    tables = {
        "products": {p: tuple(_described(row)[1:]) for p, row in listed.items()},
        "baskets": {key: tuple(values) for key, values in baskets.items()},
        "lines": rows,
        "households": {key: tuple(values) for key, values in households.items()},
        "sales": sales,
        "coupons": _coupons(until),
    }
    hashes = {("hash", key, name): str(number) for key, fields in card.items() for name, number in fields.items()}
    names = ("product_id", "department", "manufacturer_id", "brand", "category", "description", "package_size")
    docs = {
        str(p): {**dict(zip(names, _described(row), strict=True)), "sold": sales.get(p, (0, 0))[0]}
        for p, row in listed.items()
    }
    return Expected(tables, {**hashes, **last, **best}, docs)


def _end_of_cut(basket: list[int], lines: int | None) -> int:
    if lines is None or lines >= len(basket):
        return len(basket)
    end = lines
    while end < len(basket) and basket[end] == basket[end - 1]:
        end += 1
    return end


def _household(row: dict[str, Any]) -> list[Any]:
    said = ("age", "income", "household_size", "kids_count", "household_comp", "home_ownership", "marital_status")
    return [*(row[name] for name in said), None, None, 0, 0]


def _address(household: int, basket: int) -> list[str]:
    streets = ["Mill Lane", "Station Road", "Church Street", "Orchard Way", "Harbour Row", "Linden Avenue", "Hill Rise"]
    chance = crc32(f"{household}:{basket}".encode())
    return [f"{chance % 900 + 1} {streets[chance % 7]}", f"{chance % 100_000:05d}"]


def _described(row: dict[str, Any]) -> list[Any]:
    names = ("product_id", "department", "manufacturer_id", "brand", "product_category", "product_type", "package_size")
    return [row.get(name) for name in names]


def _never_sold_and_gone(known: Rows, sales: Rows, until: int) -> set[int]:
    start = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp())
    days = (until - start) // 86_400 + 1
    idle = (p for p in known if p not in sales and p % 10 == 0)
    return {p for p in idle if start + (p % days + 2) * 86_400 <= until}


def _coupons(until: int) -> Rows:
    redeemed: Rows = {}
    table = pq.read_table(parquet("coupon_redemptions"))
    days = table["redemption_date"].cast("timestamp[s]").cast("int64").to_pylist()
    for upc, campaign, day in zip(table["coupon_upc"].to_pylist(), table["campaign_id"].to_pylist(), days, strict=True):
        if day <= until:
            redeemed[upc, campaign] = (redeemed.get((upc, campaign), (0,))[0] + 1,)
    return redeemed


def compare(store: str, what: str, expected: Rows, found: Iterable[tuple[Any, Any]]) -> Part:
    """Equality in both directions: what is missing, what differs, what is there and should not be."""
    missing = expected.copy()
    first: list[str] = []
    differences = count = 0
    absent = object()
    for key, value in found:
        count += 1
        wanted = missing.pop(key, absent)
        if wanted != value:
            differences += 1
            if len(first) < SHOWN:
                first.append(f"{key}: expected {'nothing' if wanted is absent else wanted}, found {value}")
    for key, value in missing.items():
        differences += 1
        if len(first) < SHOWN:
            first.append(f"{key}: expected {value}, found nothing")
    return Part(store, what, len(expected), count, differences, first)


def postgres_rows(url: str, table: str) -> Iterator[tuple[Any, Any]]:
    width, columns = TABLES[table]
    with psycopg.connect(url) as connection, connection.cursor(name="proof") as cursor:
        cursor.itersize = 20_000
        cursor.execute(f"SELECT {columns} FROM {table}")  # both from TABLES
        for row in cursor:
            yield (row[0] if width == 1 else row[:width]), row[width:]


def redis_values(url: str) -> Iterator[tuple[Any, Any]]:
    """Every value under the sink's prefix, whatever wrote it, as (type, key, field or member): value."""
    client = redis.Redis.from_url(url, decode_responses=True)
    keys = list(client.scan_iter("shop:*", count=5_000))
    types = _pipelined(client, keys, "type")
    for kind in sorted(set(types)):
        mine = [key for key, its in zip(keys, types, strict=True) if its == kind]
        if kind == "string":
            for key, value in zip(mine, _pipelined(client, mine, "get"), strict=True):
                yield (kind, key, ""), value
        elif kind == "hash":
            for key, fields in zip(mine, _pipelined(client, mine, "hgetall"), strict=True):
                yield from (((kind, key, name), value) for name, value in fields.items())
        elif kind == "zset":
            for key, scores in zip(mine, _pipelined(client, mine, "zrange", 0, -1, withscores=True), strict=True):
                yield from (((kind, key, member), score) for member, score in scores)
        else:  # nothing of this type is expected; that it is there is the difference
            yield from (((kind, key, ""), f"a {kind}") for key in mine)
    client.close()


def _pipelined(client: redis.Redis, keys: list[str], command: str, *arguments: Any, **named: Any) -> list[Any]:
    answers: list[Any] = []
    for start in range(0, len(keys), 2_000):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + 2_000]:
            getattr(pipeline, command)(key, *arguments, **named)
        answers += pipeline.execute()
    return answers


def opensearch_docs(url: str) -> Iterator[tuple[Any, Any]]:
    """Every document that a reader of the alias can find."""
    client = opensearchpy.OpenSearch(url, timeout=60)
    client.indices.refresh(index="products")
    for hit in opensearchpy.helpers.scan(client, index="products", size=5_000):
        yield hit["_id"], hit["_source"]
    client.close()


def check(lines: int | None) -> list[Part]:
    """Compare everything with the stores that LOGSYNC_POSTGRES, LOGSYNC_REDIS and LOGSYNC_OPENSEARCH name."""
    expected = expect(lines)
    postgres = os.environ["LOGSYNC_POSTGRES"]
    parts = [
        compare("Postgres", f"table {table}", rows, postgres_rows(postgres, table))
        for table, rows in expected.tables.items()
    ]
    parts.append(compare("Redis", "values of keys shop:*", expected.keys, redis_values(os.environ["LOGSYNC_REDIS"])))
    docs = opensearch_docs(os.environ["LOGSYNC_OPENSEARCH"])
    parts.append(compare("OpenSearch", "alias products", expected.docs, docs))
    return parts


def show(parts: list[Part], console: Console) -> None:
    """As a table, and the first differences below it."""
    table = Table("store", "what", "expected", "found", "differences")
    for number in range(2, 5):
        table.columns[number].justify = "right"
    for part in parts:
        table.add_row(part.store, part.what, f"{part.expected:,}", f"{part.found:,}", f"{part.differences:,}")
    console.print(table)
    for part in parts:
        for line in part.first:
            console.print(f"{part.store}, {part.what}: {line}", style="red", markup=False, highlight=False)


def main(lines: int = DEFAULT_LINES, year: str = "") -> None:
    """Exit code 0: equal. 1: at least one difference; the first ones are shown."""
    parts = check(None if year == "full" else lines)
    show(parts, Console())
    loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("logsync", "sinks"))
    if loaded:
        raise SystemExit(f"the proof must stand on its own, yet it loaded {', '.join(loaded)}")
    if any(part.differences for part in parts):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
