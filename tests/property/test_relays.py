"""Whatever happens to relays and broker, every fact counts once, in order, and only such are confirmed. # U1 U2 U3"""

from __future__ import annotations

import pytest

from .relays import World, history

HISTORIES, AT_ONCE = 100, 20


@pytest.mark.parametrize("first", range(0, HISTORIES, AT_ONCE))
def test_every_fact_enters_the_log_once_and_in_order(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        world = history(seed)
        counted = world.counted()
        assert sorted(number for numbers in counted for number in numbers) == list(range(len(world.facts))), seed
        assert all(numbers == sorted(numbers) for numbers in counted), seed


def test_the_world_is_a_hostile_one() -> None:
    """Else the test above shows nothing: takeovers, repeats, and facts that were told to have failed."""
    worlds: list[World] = [history(seed) for seed in range(AT_ONCE)]
    assert sum(world.ledger.term for world in worlds if world.ledger) > 3 * AT_ONCE
    records = sum(len(records) for world in worlds for records in world.topic)
    assert records > 1.5 * sum(len(world.facts) for world in worlds)
