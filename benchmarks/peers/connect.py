"""Kafka Connect with the Debezium JDBC sink: what a team with Java would put beside Postgres.

`python -m benchmarks.peers.connect` tries its settings for throughput, turn by turn; ``BEST`` is what the harness runs.

It upserts and deletes, and has no increments. Its position is Kafka's committed offset, written once a minute and not
beside the rows: at least once, which upserts forgive. Its records carry their own schema, so it has a topic of its own.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from benchmarks import report
from benchmarks.run import Contestant, Job, as_json, directory, measure
from benchmarks.workload import Case, Encode, Headers, Row, expected, fill
from devstack import Stack, connect

HEAP = "1g"
BEST: Mapping[str, str] = {
    "batch.size": "2000",
    "use.reduction.buffer": "true",  # one write per key and batch; its documentation advises it for throughput
    "consumer.max.poll.records": "2000",  # else a batch never holds more than 500
    "reWriteBatchedInserts": "true",
}
_JDBC = frozenset({"reWriteBatchedInserts"})
"""Settings of the driver; they belong into the connection's URL."""


def command(job: Job, tuned: Mapping[str, str] = BEST) -> tuple[list[str], dict[str, str]]:
    worker = {
        "bootstrap.servers": job.servers["LOGSYNC_KAFKA"],
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "offset.storage.file.filename": job.directory / "offsets",
        "listeners": f"http://127.0.0.1:{_free_port()}",
        **{name: value for name, value in tuned.items() if name.startswith("consumer.")},
    }
    database = urlsplit(job.servers["LOGSYNC_POSTGRES"])
    driver = "&".join(f"{name}={value}" for name, value in tuned.items() if name in _JDBC)
    sink = {
        "name": job.run,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": job.case.partitions,
        "topics": job.topic,
        "connection.url": f"jdbc:postgresql://{database.hostname}:{database.port}{database.path}?{driver}",
        "connection.username": database.username,
        "connection.password": database.password or "any",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "order_id",
        "collection.name.format": f"{job.run}_orders",
        "schema.evolution": "none",
        **{name: value for name, value in tuned.items() if name not in _JDBC and not name.startswith("consumer.")},
    }
    file = connect.properties(job.directory / "sink.properties", sink)
    return connect.command(job.directory, "debezium", connect.STANDALONE, worker, [file], heap=HEAP, bench=True), {}


def encode(case: Case) -> Encode:
    """JSON that carries its schema, as Connect's JsonConverter reads it: the same values in every event."""
    fields = [
        {"field": name, "type": "int64" if name == "cents" else "string", "optional": name != "order_id"}
        for name in ("order_id", *case.values)
    ]
    schema = json.dumps({"type": "struct", "name": "order", "optional": False, "fields": fields}, separators=(",", ":"))

    def record(_: int, row: Row) -> tuple[bytes, bytes, Headers]:
        payload = json.dumps(row, separators=(",", ":"))
        return str(row["order_id"]).encode(), f'{{"schema":{schema},"payload":{payload}}}'.encode(), []

    return record


DEBEZIUM = Contestant(
    "Kafka Connect + Debezium JDBC",
    "at least once",
    frozenset({("postgres", "upsert")}),
    command,
    settings="connect-runtime 4.1.1, debezium-connector-jdbc 3.4.0, a task per partition, full compiler, heap 1 GB; "
    + ", ".join(f"{name}={value}" for name, value in BEST.items()),
    encode=encode,
)

TRIED: dict[str, Mapping[str, str]] = {
    "best": BEST,
    "defaults": {},
    "no rewriting": {name: value for name, value in BEST.items() if name != "reWriteBatchedInserts"},
    "no reduction": {name: value for name, value in BEST.items() if name != "use.reduction.buffer"},
    "5000 rows": {**BEST, "batch.size": "5000", "consumer.max.poll.records": "5000"},
    "10000 rows": {**BEST, "batch.size": "10000", "consumer.max.poll.records": "10000"},
    "larger fetches": {
        **BEST,
        "consumer.max.partition.fetch.bytes": "16777216",
        "consumer.fetch.max.bytes": "67108864",
        "consumer.fetch.min.bytes": "1048576",
        "consumer.fetch.max.wait.ms": "100",
    },
    "one connection": {**BEST, "connection.pool.min_size": "1", "connection.pool.max_size": "2"},
}


def _free_port() -> int:
    """For its REST server, which cannot be turned off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(
    events: Annotated[int, typer.Option(help="Events per run.")] = 200_000,
    rounds: Annotated[int, typer.Option(help="Rounds; each runs every setting once, in turn.")] = 2,
    partitions: Annotated[int, typer.Option(help="Partitions of the topic, and tasks.")] = 1,
    only: Annotated[str, typer.Option(help="Which settings, with commas; default: all.")] = "",
    kill_at: Annotated[float, typer.Option(help="SIGKILL when this part is visible, and start again.")] = 0.0,
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
) -> None:
    """Try the connector's settings for throughput. Prints a table and JSON."""
    console = Console(stderr=True)
    stack = Stack(name)
    stack.up(only=["kafka", "postgres"], bench=True)
    from logsync.log.topic import create_topic
    from logsync.settings import Settings

    servers, case = stack.env(), Case("tuning", events=events, partitions=partitions)
    started = f"c{int(time.time()) % 100_000_000}"
    create_topic(Settings(_env_file=None, kafka=servers["LOGSYNC_KAFKA"]), started, partitions=partitions)  # type: ignore[call-arg]
    count, _ = fill(servers["LOGSYNC_KAFKA"], started, case, encode(case))
    content = expected(case)
    chosen = only.split(",") if only else list(TRIED)
    found: dict[str, list[dict[str, Any]]] = {one: [] for one in chosen}
    for number in range(rounds):
        for one in chosen:
            contestant = replace(DEBEZIUM, name=one, command=partial(command, tuned=TRIED[one]))
            with directory() as folder:
                job = Job(
                    case, started, f"{started}r{number}x{len(found[one])}{chosen.index(one)}", servers, Path(folder)
                )
                outcome = measure(contestant, job, count, content, kill_at=kill_at)
            found[one].append(as_json(outcome))
            console.print(f"{one}: {outcome.per_second:,.0f} per s {outcome.failure}", style="dim")
    print(report.markdown("Debezium JDBC sink", report.HEADINGS, report.rows(found)), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
