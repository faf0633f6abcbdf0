"""The successor of a worker is the same member of its group: nobody is waited for, and no partition moves. # F3

The group waits 25 minutes for a member of which it hears nothing. So whatever comes true here does so without that.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .harness import Case, Process, until

pytestmark = pytest.mark.servers("kafka", "redis")
SESSION = 1_500_000  # milliseconds; a test waits 5 minutes for a condition


def waiting(case: Case, membership: str) -> None:
    options = {"session.timeout.ms": SESSION, "max.poll.interval.ms": SESSION, "heartbeat.interval.ms": 300}
    case.env["LOGSYNC_KAFKA_OPTIONS"] = json.dumps(options)
    case.env["LOGSYNC_MEMBERSHIP"] = membership


def spread(case: Case, workers: int) -> Callable[[], bool]:
    """The condition that this many members have all partitions between them, as evenly as it goes."""

    def true() -> bool:
        held = list(case.members("cache").values())
        return len(held) == workers and sorted(map(len, held)) == sorted(
            len(range(number, case.partitions, workers)) for number in range(workers)
        )

    return true


def started(case: Case, workers: int) -> list[Process]:
    """Workers whose number is the order in which they were started."""
    made = []
    for _ in range(workers):
        made.append(case.start("cache").sees("instance id"))
    until(spread(case, workers), lambda: f"{workers} workers share: {case.members('cache')}")
    return made


@pytest.mark.parametrize("membership", ["stay", "leave"])
def test_the_successor_of_a_worker_that_was_killed_does_not_wait_for_its_session(case: Case, membership: str) -> None:
    waiting(case, membership)
    case.append_mix(50)
    worker = case.start("cache")
    case.catches_up("cache")
    (before,) = case.members("cache")
    worker.kill()
    case.append_mix(50)
    successor = case.start("cache")
    case.catches_up("cache")
    (after,) = case.members("cache")
    assert before != after  # the place is the same, its holder another
    successor.terminate()
    case.is_the_fold("cache")


def test_a_rolling_restart_moves_no_partition(make_case: Callable[..., Case]) -> None:
    case = make_case(partitions=6)
    waiting(case, "stay")
    case.append_mix(200, keys=40)
    workers = started(case, 3)
    case.append_mix(200, keys=40)  # each partition has some: who applies them has begun there
    case.catches_up("cache")
    for number in range(3):
        others = [worker for worker in workers if worker is not workers[number]]
        before, resumed = case.members("cache"), [other.output.count("resumed") for other in others]
        workers[number].terminate()
        case.append_mix(50, keys=40)
        workers[number] = case.start("cache")
        case.catches_up("cache")
        after = case.members("cache")
        assert len(before.keys() & after.keys()) == 2
        assert sorted(map(sorted, before.values())) == sorted(map(sorted, after.values()))
        assert {name: after[name] for name in before.keys() & after.keys()}.items() <= before.items()
        assert [other.output.count("resumed") for other in others] == resumed
    for worker in workers:
        worker.terminate()
    case.is_the_fold("cache")


def test_a_worker_that_leaves_hands_its_partitions_on_at_once(make_case: Callable[..., Case]) -> None:
    case = make_case(partitions=4)
    waiting(case, "leave")
    first, second = started(case, 2)
    second.terminate()
    until(spread(case, 1), lambda: f"the first has all: {case.members('cache')}")
    first.terminate()
    until(lambda: not case.members("cache"), "the group is empty")


def test_a_run_until_the_end_takes_the_place_of_one_that_was_killed_and_leaves(case: Case) -> None:
    waiting(case, "stay")
    case.append_mix(50)
    worker = case.start("cache")
    case.catches_up("cache")
    worker.kill()
    case.append_mix(50)
    case.finish("cache")
    case.is_the_fold("cache")
    until(lambda: not case.members("cache"), "the group is empty")


@pytest.mark.parametrize("log", ["idle", "busy"])  # told by its heartbeat, or by its commit
def test_two_living_workers_with_one_instance_id_end_as_two_members_and_lose_nothing(
    make_case: Callable[..., Case], log: str
) -> None:
    case = make_case(partitions=2)
    waiting(case, "stay")
    case.append_mix(50, keys=40)
    copied = [f"{__package__}.cloned", "consume"]
    first = case.start("cache", command=copied).sees("instance id")
    case.catches_up("cache")
    second = case.start("cache", command=copied).sees("instance id")
    while log == "busy" and "another living member" not in first.output:
        case.append_mix(20, keys=40)
        assert first.running, first.output
        assert second.running, second.output
    first.sees("another living member")
    until(spread(case, 2), lambda: f"one partition each: {case.members('cache')}")
    case.append_mix(50, keys=40)
    case.catches_up("cache")
    assert "another living member" not in second.output
    for worker in (first, second):
        worker.terminate()
    case.is_the_fold("cache")
