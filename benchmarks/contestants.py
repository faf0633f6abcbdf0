"""Who takes part. A new one is a module that makes a `Contestant`, and a line in ``ALL``."""

from __future__ import annotations

import sys
from itertools import product

from benchmarks.run import Contestant, Job

STORES = ("postgres", "redis", "opensearch")


def _logsync(job: Job) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "logsync.cli", "consume", "benchmarks.model:sink"], job.env


def _limit(job: Job) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "benchmarks.limit"], job.env


EVERYTHING = frozenset([*product(STORES, ("upsert", "mixed")), ("postgres", "increment")])

LOGSYNC = Contestant(
    "logsync", "exactly once", EVERYTHING, _logsync, settings="as it comes: `logsync consume`", own_schema=True
)
LIMIT = Contestant(
    "limit", "exactly once", EVERYTHING, _limit, settings="a loop by hand for this one event; position beside the data"
)

ALL: dict[str, Contestant] = {contestant.name: contestant for contestant in (LOGSYNC, LIMIT)}
