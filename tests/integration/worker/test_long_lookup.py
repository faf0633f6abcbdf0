"""A retried append whose range is long: the worker keeps its place meanwhile, and ends when it is told to. # A1"""

from __future__ import annotations

import json

import pytest

from .harness import Case, Process, named
from .sinks import ItemPut

pytestmark = pytest.mark.servers("kafka", "postgres")

COUNT = 300


@pytest.fixture
def retried(case: Case) -> Case:
    """A log whose last event is a retry of its first, and whose last but one is the retry of one that never came."""
    case.append(ItemPut(k="first", n=1), event_id="first")
    case.append_mix(COUNT)
    for event_id in ("never", "first"):
        case.append(ItemPut(k="first", n=2), event_id=event_id, headers=[("logsync-retry-from", b"0")])
    options = {"max.poll.interval.ms": "2000", "session.timeout.ms": "2000", "heartbeat.interval.ms": "400"}
    case.env["LOGSYNC_KAFKA_OPTIONS"] = json.dumps(options)
    case.env["LOGSYNC_STORE_TIMEOUT"] = "1"
    return case


def start(case: Case, milliseconds: int) -> Process:
    arguments = [f"{__package__}.slowly", str(milliseconds), named("db")]
    case.processes.append(Process(arguments, {**case.env, "LOGSYNC_DRAIN_TIMEOUT": "600"}, case.folder))
    return case.processes[-1]


def test_a_lookup_longer_than_the_poll_interval_keeps_the_membership_and_the_verdict(retried: Case) -> None:
    worker = start(retried, 20)  # six seconds, three times the interval
    retried.catches_up("db")
    output = worker.terminate()
    assert output.count("LOOKED") == output.count("LOOKING") == 1
    assert output.count("resumed") == 1
    assert "partitions lost" not in output
    retried.is_the_fold("db")


def test_sigterm_ends_a_lookup_and_the_next_worker_judges_the_retry(retried: Case) -> None:
    worker = start(retried, 100)  # half a minute; nothing else may end it
    worker.sees("LOOKING")
    before = retried.positions("db")
    assert "LOOKED" not in worker.terminate()
    assert retried.positions("db") == before != retried.ends()
    retried.finish("db")
    retried.is_the_fold("db")
