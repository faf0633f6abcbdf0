"""`logsync wait` as a script runs it, over real Kafka and Postgres."""

from __future__ import annotations

import json
import subprocess
import sys

from logsync.cli.exits import Exit

from .conftest import Deploy, Shell, Topic

APPEND = """
from logsync import Producer
from sinks.db import ThingLost, ThingMade, log

with Producer(log) as producer:
    for event in ({events}):
        print(producer.append(event).dump())
"""
DEAD = "127.0.0.1:1"


def append(shell: Shell, events: str) -> list[str]:
    """The receipts that a script prints which appends these."""
    done = subprocess.run(
        [sys.executable, "-c", APPEND.format(events=events)], cwd=shell.folder, env=shell.env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_wait_goes_from_not_started_over_behind_to_applied(shell: Shell, topic: Topic, deploy: Deploy) -> None:
    (first,) = append(shell, "ThingMade(name='a', size=1),")
    assert "not started" in shell("wait", first, "db", "--timeout", "3", code=Exit.BEHIND).stdout
    shell("consume", "db", "--until-end")
    assert shell("wait", first, "db").stdout == "db: applied\n"
    receipts = append(shell, "ThingMade(name='b'), ThingMade(name='c')")
    assert "db: behind by 2" in shell("wait", *receipts, "db", "--timeout", "3", code=Exit.BEHIND).stdout
    worker = shell.start("consume", "db")
    try:
        (row,) = json.loads(shell("wait", *receipts, "db", "--timeout", "300", "--json").stdout)
        assert (row["sink"], row["state"], row["visible"]) == ("db", "applied", True)
    finally:
        worker.terminate()
        worker.communicate()


def test_wait_needs_no_kafka_and_names_a_type_that_is_passed_over(shell: Shell, topic: Topic, deploy: Deploy) -> None:
    applied, lost = append(shell, "ThingMade(name='a', size=1), ThingLost(name='a')")
    shell("consume", "db", "--until-end")
    shell.env["LOGSYNC_KAFKA"] = DEAD
    shell("wait", applied, "db")
    shell("wait", applied, lost, "db")  # of the two, one concerns this sink
    assert "thing.lost has no handler" in shell("wait", lost, "db", code=Exit.PASSED_OVER).stdout


def test_wait_for_a_store_that_does_not_answer_ends_in_time_and_shows_no_secret(
    shell: Shell, topic: Topic, deploy: Deploy
) -> None:
    (receipt,) = append(shell, "ThingMade(name='a', size=1),")
    shell.env["LOGSYNC_POSTGRES"] = f"postgresql://somebody:hunter2@{DEAD}/shop"
    answer = shell("wait", receipt, "db", "--timeout", "1", code=Exit.UNAVAILABLE)
    assert "db: unreachable" in answer.stdout
    assert "hunter2" not in answer.stdout + answer.stderr
