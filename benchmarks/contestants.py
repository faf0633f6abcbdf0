"""Who takes part. A new one is a module that makes a `Contestant`, and a line in ``ALL``."""

from __future__ import annotations

import sys
from itertools import product

from benchmarks.peers.connect import DEBEZIUM
from benchmarks.run import Contestant, Job, python

STORES = ("postgres", "redis", "opensearch")
MODELS = ("upsert", "mixed")


def _logsync(job: Job) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "logsync.cli", "consume", "benchmarks.model:sink"], job.env


def _limit(job: Job) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "benchmarks.limit"], job.env


EVERYTHING = frozenset([*product(STORES, MODELS), ("postgres", "increment")])

LOGSYNC = Contestant(
    "logsync", "exactly once", EVERYTHING, _logsync, settings="as it comes: `logsync consume`", own_schema=True
)
LIMIT = Contestant(
    "limit", "exactly once", EVERYTHING, _limit, settings="a loop by hand for this one event; position beside the data"
)

CONFLUENT = Contestant(
    "confluent-kafka + psycopg", "at least once", frozenset(product(["postgres"], MODELS)),
    python("benchmarks.peers.confluent"), settings="batches of 5,000, executemany, then the offsets",
)  # fmt: skip
AIO = Contestant(
    "aiokafka + asyncpg", "auto-commit", frozenset(product(["postgres"], MODELS)),
    python("benchmarks.peers.aio"), settings="one statement per event, offsets committed by the client", share=0.02,
)  # fmt: skip
MESSAGES = Contestant(
    "FastStream per message", "auto-commit", frozenset(product(STORES, MODELS)),
    python("benchmarks.peers.faststream", "message"), settings="confluent broker, its defaults", share=0.02,
)  # fmt: skip
BATCHES = Contestant(
    "FastStream in batches", "at least once", frozenset(product(STORES, MODELS)), share=0.5,
    command=python("benchmarks.peers.faststream", "batch"), settings="confluent broker, max_records=5000, ACK",
)  # fmt: skip
QUIX = Contestant(
    "Quix Streams", "at least once", frozenset([("postgres", "upsert"), ("redis", "upsert")]), share=0.25,
    command=python("benchmarks.peers.quix"), settings="its own sink, commit_every=5000; its sinks cannot add, and the "
    "client of its Elasticsearch sink refuses OpenSearch (UnsupportedProductError), so it is not there",
)  # fmt: skip

ALL = {one.name: one for one in (LOGSYNC, LIMIT, DEBEZIUM, CONFLUENT, AIO, MESSAGES, BATCHES, QUIX)}
