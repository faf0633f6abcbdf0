"""Two workers of one group on a topic with four partitions. # S1 S2"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .harness import Case, until

pytestmark = pytest.mark.servers("kafka", "postgres", "redis")

SHARING = ("db", "cache")


def test_two_workers_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    make_case: Callable[..., Case],
) -> None:
    case = make_case(partitions=4)
    case.append_mix(300, keys=40)
    first = {kind: case.start(kind) for kind in SHARING}
    second = {kind: case.start(kind) for kind in SHARING}
    for kind in SHARING:

        def shared(kind: str = kind) -> bool:
            held = list(case.members(kind).values())
            return len(held) == 2 and all(len(parts) == 2 for parts in held) and set().union(*held) == {0, 1, 2, 3}

        until(shared, lambda kind=kind: f"two partitions for each worker of {kind}: {case.members(kind)}")  # type: ignore[misc]
    case.append_mix(600, keys=40)
    for worker in first.values():
        worker.kill()
    case.append_mix(100, keys=40)
    case.catches_up(*SHARING)
    for worker in second.values():
        worker.terminate()
    case.is_the_fold(*SHARING)


def test_two_workers_that_start_on_an_empty_store_at_once_claim_it_once(make_case: Callable[..., Case]) -> None:
    case = make_case(partitions=4)
    case.append_mix(200, keys=40)
    workers = [case.start(kind) for kind in SHARING for _ in range(2)]
    case.catches_up(*SHARING)
    for worker in workers:
        worker.terminate()
    case.is_the_fold(*SHARING)


@pytest.mark.servers("kafka", "opensearch")
def test_opensearch_refuses_a_topic_with_several_partitions(make_case: Callable[..., Case]) -> None:  # O5
    case = make_case(partitions=2)
    case.append_mix(10)
    assert "opensearch takes topics of 1 partition" in case.start("search").ends(3)
    assert case.positions("search") == {}
