"""One contestant in a process of its own: `python -m benchmarks.contestant WHO STORE COUNT`, one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks import limit, model
from logsync.settings import Settings, load_settings

Cost = tuple[float, float, int]
"""Seconds, seconds of CPU of all threads, and the peak of memory in MB after a quarter of the events (0: not taken)."""


def main(who: str, store: str, count: int) -> None:
    settings = load_settings()
    seconds, cpu, quarter = {"limit": by_hand, "logsync": by_logsync}[who](store, count, settings)
    result = {"per_second": count / seconds, "cpu_us": cpu / count * 1e6}
    print(json.dumps({**result, "peak_mb": peak_mb(), "quarter_mb": quarter}))


def peak_mb() -> int:
    """The most memory this process held. getrusage would count what its parent held when it was started, too."""
    status = Path("/proc/self/status")
    if status.exists():
        found = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(found.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def by_hand(store: str, count: int, settings: Settings) -> Cost:
    name = model.RUN
    if store == "append":
        return (*raw_append(count, settings), 0)
    into = {
        "postgres": lambda: limit.into_postgres(settings.postgres.get_secret_value(), name),
        "redis": lambda: limit.into_redis(settings.redis.get_secret_value(), name),
        "opensearch": lambda: limit.into_opensearch(settings.opensearch.get_secret_value(), name),
    }[store]()
    return (*limit.consume(settings.kafka, model.log.topic, count, into), 0)


def by_logsync(store: str, count: int, settings: Settings) -> Cost:
    if store == "append":
        return (*append_many(count), 0)
    from logsync.log.reader import KafkaReader
    from logsync.report import Report
    from logsync.run import collected_rarely
    from logsync.worker import Worker

    sink = getattr(model, store)
    started: list[float] = []
    quarter: list[int] = []

    def done(report: Report) -> bool:
        if not started and report.positions:
            started[:] = time.perf_counter(), time.process_time()  # resumed; the first poll comes now
        if not quarter and report.applied >= count // 4:
            quarter.append(peak_mb())
        return report.applied >= count

    with collected_rarely(), Worker(sink, KafkaReader(sink.log.topic, sink.name, settings), settings) as worker:
        worker.run(done)
        return time.perf_counter() - started[0], time.process_time() - started[1], quarter[0]


def append_many(count: int) -> tuple[float, float]:
    from logsync import Producer

    with Producer(model.log) as producer:
        producer.append(next(model.orders(1)))  # connected, before the clock starts
        started, cpu = time.perf_counter(), time.process_time()
        producer.append_many(model.orders(count))
        return time.perf_counter() - started, time.process_time() - cpu


def raw_append(count: int, settings: Settings) -> tuple[float, float]:
    """The same bytes by the bare client: JSON, a CloudEvent's headers with a constant id, idempotence, all replicas."""
    from confluent_kafka import Producer

    options = {"enable.idempotence": True, "acks": "all", "compression.type": "lz4", "linger.ms": 5}
    producer = Producer({"bootstrap.servers": settings.kafka, **options})
    stamp = b"0190163d-8694-739b-aea5-966c26f8ad91", b"2026-01-01T00:00:00.000000+00:00"
    names = ("ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type")
    values = (b"1.0", stamp[0], b"order.placed", b"/bench", stamp[1], b"application/json")
    headers: list[tuple[str, str | bytes | None]] = list(zip(names, values, strict=True))
    producer.list_topics(model.log.topic)
    started, cpu = time.perf_counter(), time.process_time()
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
    return time.perf_counter() - started, time.process_time() - cpu


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
