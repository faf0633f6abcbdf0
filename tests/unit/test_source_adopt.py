"""The ledger of a source that a person had go on, whatever the log and the database have seen before. # U3 U4"""

from __future__ import annotations

from typing import Any

import pytest

from logsync.core.sources import Mark
from logsync.errors import ConfigError
from logsync.sources import managing
from logsync.sources.contract import Ledger
from logsync.sources.managing import Look, adopt
from logsync.sources.source import Source
from tests.property.relays import Hostile, World, log
from tests.unit.test_relay import Calm
from tests.unit.test_relay_strangers import forged


class Managed:
    """An Origin of which only its manager is asked."""

    kind = "memory"

    def __init__(self, world: World) -> None:
        self.world = world

    def manager(self) -> Managed:
        return self

    def look(self, source: str, settings: object) -> Look:
        return Look(ledger=self.world.ledger)

    def adopt(self, source: str, settings: object, ledger: Ledger, reason: str, known: object = ()) -> None:
        self.world.ledger = ledger


def adopted(world: World, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    origin: Any = Managed(world)
    monkeypatch.setattr(managing, "KafkaChannel", lambda log, settings: Hostile(world))
    return adopt(Source("shop", log, origin), None, "restored")  # type: ignore[arg-type]


def test_a_relay_that_is_frozen_does_not_take_back_what_was_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Calm(2)
    frozen = world.new()
    world.run(frozen)
    ledger = adopted(world, monkeypatch)
    assert ledger.term > frozen.status.term
    assert ledger.floor == "0001-"


def test_a_log_that_was_made_anew_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Calm(2)
    for _ in range(3):
        world.run(world.new())
        world.holder = None
    world.topic[0].clear()
    world.left_out = {0, 1}  # gone with it
    adopted(world, monkeypatch)
    world.add(1)
    world.run(world.new())
    assert world.counted() == [[2]]


def test_a_place_that_no_relay_wrote_does_not_stand_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Calm()
    forged(world, Mark("shop", 1, "f" * 16, 0, ""))
    forged(world, Mark("shop", 1, "f" * 16, 1, "zz"))
    assert adopted(world, monkeypatch).incarnation == 0


def test_incarnations_beyond_the_last_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Calm()
    forged(world, Mark("shop", 1, "f" * 16, 0, ""))
    forged(world, Mark("shop", 1, "f" * 16, 1, "ffff-1"))
    with pytest.raises(ConfigError, match="another name"):
        adopted(world, monkeypatch)
