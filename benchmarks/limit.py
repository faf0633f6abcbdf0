"""The limit: the loop one would write by hand for one store and this one event. Imports nothing of logsync.

It decodes the same JSON with the same library, keeps its position in the same step, and does nothing else: no types,
no versions, no checks of the log, no way back from trouble.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel

BATCH = 5000


class Order(BaseModel):
    order_id: str
    customer: str
    cents: int


def consume(servers: str, topic: str, count: int, apply: Callable[[list[Any], int], None]) -> tuple[float, float]:
    """Seconds from the first record to the last apply, and the seconds of CPU that all threads took meanwhile."""
    settings = {"bootstrap.servers": servers, "group.id": "limit", "enable.auto.commit": False}
    consumer = Consumer({**settings, "fetch.queue.backoff.ms": 5, "queued.max.messages.kbytes": 16384})
    consumer.assign([TopicPartition(topic, 0, 0)])
    done, started, cpu = 0, 0.0, 0.0
    while done < count:
        first = consumer.poll(1.0)
        if first is None:
            continue
        if not done:
            started, cpu = time.perf_counter(), time.process_time()
        messages: list[Any] = [first, *consumer.consume(BATCH - 1, 0)]
        apply(messages, messages[-1].offset() + 1)
        done += len(messages)
    cost = time.perf_counter() - started, time.process_time() - cpu
    consumer.close()
    return cost


def into_postgres(url: str, name: str) -> Callable[[list[Any], int], None]:
    import psycopg

    connection = psycopg.connect(url)
    connection.execute(f"CREATE TABLE {name}_orders (order_id text PRIMARY KEY, customer text, cents bigint)")
    connection.execute(f"CREATE TABLE {name}_position (next_offset bigint)")
    connection.execute(f"INSERT INTO {name}_position VALUES (0)")
    connection.execute(f"CREATE TEMP TABLE {name}_in (LIKE {name}_orders) ON COMMIT DELETE ROWS")
    connection.commit()
    parse = Order.__pydantic_validator__.validate_json

    def apply(messages: list[Any], end: int) -> None:
        rows = {}
        for message in messages:
            order = parse(message.value())
            rows[order.order_id] = (order.order_id, order.customer, order.cents)
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {name}_in FROM STDIN") as copy:
                for row in rows.values():
                    copy.write_row(row)
            cursor.execute(
                f"INSERT INTO {name}_orders SELECT * FROM {name}_in ON CONFLICT (order_id) "
                "DO UPDATE SET customer = excluded.customer, cents = excluded.cents"
            )
            cursor.execute(f"UPDATE {name}_position SET next_offset = %s", (end,))
        connection.commit()

    return apply


_SCRIPT = """
local p = 2
for i = 1, tonumber(ARGV[1]) do
  redis.call('HSET', ARGV[p], 'customer', ARGV[p + 1], 'cents', ARGV[p + 2])
  p = p + 3
end
redis.call('SET', KEYS[1], ARGV[p])
"""


def into_redis(url: str, name: str) -> Callable[[list[Any], int], None]:
    import redis

    script = redis.Redis.from_url(url).register_script(_SCRIPT)
    parse = Order.__pydantic_validator__.validate_json

    def apply(messages: list[Any], end: int) -> None:
        rows = {}
        for message in messages:
            order = parse(message.value())
            rows[order.order_id] = (f"{name}:{order.order_id}", order.customer, order.cents)
        script(keys=[f"{name}-position"], args=[len(rows), *(part for row in rows.values() for part in row), end])

    return apply


def into_opensearch(url: str, name: str) -> Callable[[list[Any], int], None]:
    from opensearchpy import OpenSearch

    client = OpenSearch(url, timeout=60)
    settings = {"number_of_replicas": 0, "number_of_shards": 1}
    properties = {"customer": {"type": "keyword"}, "cents": {"type": "long"}}
    client.indices.create(index=f"{name}-orders", body={"settings": settings, "mappings": {"properties": properties}})
    parse = Order.__pydantic_validator__.validate_json

    def apply(messages: list[Any], end: int) -> None:
        lines = {}
        for message in messages:
            order = parse(message.value())
            head = {"index": {"_id": order.order_id, "version": message.offset() + 1, "version_type": "external"}}
            lines[order.order_id] = (
                f"{json.dumps(head)}\n{json.dumps({'customer': order.customer, 'cents': order.cents})}\n"
            )
        answer = client.bulk(body="".join(lines.values()), index=f"{name}-orders")
        assert not answer["errors"]
        client.index(index=f"{name}-orders", id="position", body={"next_offset": end})

    return apply
