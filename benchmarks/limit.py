"""The limit: the loop one would write by hand for one store and this one event. Imports nothing of logsync.

It decodes the same JSON with the same library, keeps its position in the same step as the data, begins where that
position says, and does nothing else: no types, no versions, no checks of the log, no way back from trouble.
"""

from __future__ import annotations

import json
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from pydantic import TypeAdapter, create_model

BATCH = 5000
RUN, TOPIC, MODEL = (os.environ.get(f"BENCH_{name}", "") for name in ("RUN", "TOPIC", "MODEL"))
VALUES = os.environ.get("BENCH_COLUMNS", "customer,cents").split(",")
PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "1"))

_fields: dict[str, Any] = {name: (int if name == "cents" else str, ...) for name in ("order_id", *VALUES)}
Order = create_model("Order", **_fields)
parse = TypeAdapter(Order).validator.validate_json
Ends = dict[int, int]
"""Next offset by partition."""
Apply = Callable[[list[Any], Ends], None]


def consume(positions: Ends, apply: Apply) -> None:
    """Feed ``apply`` until SIGTERM, from the positions on."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    settings = {"bootstrap.servers": os.environ["LOGSYNC_KAFKA"], "group.id": RUN, "enable.auto.commit": False}
    consumer = Consumer({**settings, "fetch.queue.backoff.ms": 5, "queued.max.messages.kbytes": 16384})
    consumer.assign([TopicPartition(TOPIC, number, positions.get(number, 0)) for number in range(PARTITIONS)])
    while not stop:
        first = consumer.poll(0.2)
        if first is not None:
            messages: list[Any] = [first, *consumer.consume(BATCH - 1, 0)]
            apply(messages, {message.partition(): message.offset() + 1 for message in messages})
    consumer.close()


def counted(orders: list[Any]) -> dict[str, list[int]]:
    """[cents, orders] to add, by customer."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for order in orders:
        entry = sums[order.customer]
        entry[0] += order.cents
        entry[1] += 1
    return sums


def postgres() -> tuple[Ends, Apply]:
    import psycopg

    db: Any = psycopg.connect(os.environ["LOGSYNC_POSTGRES"])
    db.execute(f"CREATE TABLE IF NOT EXISTS {RUN}_position (number int PRIMARY KEY, next_offset bigint)")
    db.execute(f"CREATE TEMP TABLE incoming (LIKE {RUN}_orders) ON COMMIT DELETE ROWS")
    db.commit()
    columns = ", ".join(f"{name} = excluded.{name}" for name in VALUES)

    def apply(messages: list[Any], ends: Ends) -> None:
        orders = [parse(message.value()) for message in messages]
        with db.cursor() as cursor:
            if MODEL != "increment":
                rows = {order.order_id: order for order in orders}
                with cursor.copy("COPY incoming FROM STDIN") as copy:
                    for row in rows.values():
                        copy.write_row(row.__dict__.values())
                cursor.execute(
                    f"INSERT INTO {RUN}_orders SELECT * FROM incoming ON CONFLICT (order_id) DO UPDATE SET {columns}"
                )
            if MODEL != "upsert":
                sums = counted(orders)
                cents, count = zip(*sums.values(), strict=True)
                cursor.execute(
                    f"INSERT INTO {RUN}_customers AS t SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) "
                    "ON CONFLICT (customer) DO UPDATE SET cents = t.cents + excluded.cents, "
                    "orders = t.orders + excluded.orders",
                    (list(sums), list(cents), list(count)),
                )
            cursor.execute(
                f"INSERT INTO {RUN}_position SELECT * FROM unnest(%s::int[], %s::bigint[]) "
                "ON CONFLICT (number) DO UPDATE SET next_offset = excluded.next_offset",
                (list(ends), list(ends.values())),
            )
        db.commit()

    stored = dict(db.execute(f"SELECT number, next_offset FROM {RUN}_position").fetchall())
    db.commit()
    return stored, apply


_SCRIPT = """
local p, n = 3, tonumber(ARGV[2])
for i = 1, tonumber(ARGV[1]) do
  redis.call('HSET', ARGV[p], 'customer', ARGV[p + 1], 'cents', ARGV[p + 2])
  p = p + 3
end
for i = 1, n do
  redis.call('HINCRBY', ARGV[p], 'cents', ARGV[p + 1])
  redis.call('HINCRBY', ARGV[p], 'orders', ARGV[p + 2])
  p = p + 3
end
for i = p, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
"""


def redis() -> tuple[Ends, Apply]:
    import redis as client

    db: Any = client.Redis.from_url(os.environ["LOGSYNC_REDIS"])
    script = db.register_script(_SCRIPT)
    position = f"{RUN}-position"

    def apply(messages: list[Any], ends: Ends) -> None:
        orders = [parse(message.value()) for message in messages]
        rows = {order.order_id: order for order in orders}
        args: list[Any] = []
        for key, row in rows.items():
            args += f"{RUN}:order:{key}", row.customer, row.cents
        sums = counted(orders) if MODEL == "mixed" else {}
        for customer, (cents, count) in sums.items():
            args += f"{RUN}:customer:{customer}", cents, count
        for number, end in ends.items():
            args += number, end
        script(keys=[position], args=[len(rows), len(sums), *args])

    return {int(number): int(end) for number, end in db.hgetall(position).items()}, apply


def opensearch() -> tuple[Ends, Apply]:
    """Documents first, each with the offset as its version, then the position: a replay changes nothing."""
    from opensearchpy import OpenSearch

    db: Any = OpenSearch(os.environ["LOGSYNC_OPENSEARCH"], timeout=60)
    index, customers = f"{RUN}-orders", f"{RUN}-customers"

    def action(into: str, key: str, version: int, document: dict[str, Any]) -> str:
        head = {"index": {"_index": into, "_id": key, "version": version, "version_type": "external"}}
        return f"{json.dumps(head)}\n{json.dumps(document)}\n"

    def apply(messages: list[Any], ends: Ends) -> None:
        orders, lines, versions = [], {}, {}
        for message in messages:
            order: Any = parse(message.value())
            orders.append(order)
            version = message.offset() + 1
            document = {"customer": order.customer, "cents": order.cents}
            lines[order.order_id] = action(index, order.order_id, version, document)
            versions[order.customer] = version
        body = list(lines.values())
        if MODEL == "mixed":
            # A counter knows by its version which events it holds already.
            found = db.mget(index=customers, body={"ids": list(versions)})["docs"]
            held = {doc["_id"]: doc for doc in found if doc.get("found")}
            fresh = [
                order
                for message, order in zip(messages, orders, strict=True)
                if order.customer not in held or message.offset() + 1 > held[order.customer]["_version"]
            ]
            for customer, (cents, count) in counted(fresh).items():
                before = held[customer]["_source"] if customer in held else {"cents": 0, "orders": 0}
                document = {"cents": before["cents"] + cents, "orders": before["orders"] + count}
                body.append(action(customers, customer, versions[customer], document))
        answer = db.bulk(body="".join(body))
        if answer["errors"]:
            wrong = [item for item in answer["items"] if item["index"]["status"] not in (200, 201, 409)]
            assert not wrong, wrong[0]
        for number, end in ends.items():
            db.index(index=index, id=f"position-{number}", body={"next_offset": end})

    found = db.mget(index=index, body={"ids": [f"position-{number}" for number in range(PARTITIONS)]})["docs"]
    stored = {int(doc["_id"].split("-")[1]): doc["_source"]["next_offset"] for doc in found if doc.get("found")}
    return stored, apply


if __name__ == "__main__":
    consume(*{"postgres": postgres, "redis": redis, "opensearch": opensearch}[os.environ["BENCH_STORE"]]())
