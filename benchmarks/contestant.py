"""One contestant in a process of its own: `python -m benchmarks.contestant WHO STORE COUNT`, one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

from benchmarks import limit, model
from logsync.settings import Settings, load_settings


def main(who: str, store: str, count: int) -> None:
    settings = load_settings()
    seconds = {"limit": by_hand, "logsync": by_logsync}[who](store, count, settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"per_second": count / seconds, "peak_mb": peak}))


def by_hand(store: str, count: int, settings: Settings) -> float:
    name = model.RUN
    if store == "append":
        return raw_append(count, settings)
    into = {
        "postgres": lambda: limit.into_postgres(settings.postgres.get_secret_value(), name),
        "redis": lambda: limit.into_redis(settings.redis.get_secret_value(), name),
        "opensearch": lambda: limit.into_opensearch(settings.opensearch.get_secret_value(), name),
    }[store]()
    return limit.consume(settings.kafka, model.log.topic, count, into)


def by_logsync(store: str, count: int, settings: Settings) -> float:
    if store == "append":
        return append_many(count)
    from logsync.log.reader import KafkaReader
    from logsync.worker import Report, Worker

    sink = getattr(model, store)
    started: list[float] = []

    def done(report: Report) -> bool:
        if not started and report.positions:
            started.append(time.perf_counter())  # resumed; the first poll comes now
        return report.applied >= count

    with Worker(sink, KafkaReader(sink.log.topic, sink.name, settings), settings) as worker:
        worker.run(done)
        return time.perf_counter() - started[0]


def append_many(count: int) -> float:
    from logsync import Producer

    with Producer(model.log) as producer:
        producer.append(next(model.orders(1)))  # connected, before the clock starts
        started = time.perf_counter()
        producer.append_many(model.orders(count))
        return time.perf_counter() - started


def raw_append(count: int, settings: Settings) -> float:
    """The same bytes by the bare client: JSON, a CloudEvent's headers with a constant id, idempotence, all replicas."""
    from confluent_kafka import Producer

    options = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": 5}
    producer = Producer({"bootstrap.servers": settings.kafka, **options})
    stamp = b"0190163d-8694-739b-aea5-966c26f8ad91", b"2026-01-01T00:00:00.000000+00:00"
    names = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type")
    values = (b"1.0", stamp[0], b"order.placed", b"/bench", stamp[1], b"application/json")
    headers: list[tuple[str, str | bytes | None]] = list(zip(names, values, strict=True))
    producer.list_topics(model.log.topic)
    started = time.perf_counter()
    for order in model.orders(count):
        while True:
            try:
                producer.produce(
                    model.log.topic, key=order.order_id, value=order.model_dump_json().encode(), headers=headers
                )
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()
    return time.perf_counter() - started


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
