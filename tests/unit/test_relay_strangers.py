"""A relay whose records are refused, or stand among many of others, or of somebody who uses its name. # U2 U3"""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from logsync.core.codec import Encoded
from logsync.core.event import Record
from logsync.core.sources import MOST_TERMS, Mark
from logsync.errors import AppendRejected, ConfigError, FactError, LogUnavailable
from logsync.ops.records import describe
from logsync.sources.contract import Change, Fact, Ledger, Portion
from logsync.sources.relay import Relay
from logsync.sources.status import ObservedRelay
from tests.property.relays import NOON, World, log
from tests.unit.test_relay import Calm, database, hostile


def refusing(relay: Relay, number: int) -> None:
    """The client takes no record of this fact: it is too large."""
    channel = hostile(relay)
    real = channel.send

    def send(partition: int, encoded: Encoded) -> bool:
        if encoded.value is not None and f'"number":{number}}}'.encode() in encoded.value:
            raise AppendRejected("Kafka refuses its record: too large")
        return real(partition, encoded)

    channel.send = send  # type: ignore[method-assign]


def test_a_record_that_the_client_refuses_halts_and_is_neither_confirmed_nor_deleted() -> None:
    world = Calm(3)
    world.facts = [fact._replace(id=f"row-{number}") for number, fact in enumerate(world.facts)]
    relay = world.new()
    deleted = list[str]()
    keep = database(relay).keep
    database(relay).keep = lambda ledger, ids=(): (deleted.extend(ids), keep(ledger, ids))  # type: ignore[method-assign, assignment, func-returns-value]
    refusing(relay, 2)
    with pytest.raises(FactError, match="too large"):
        world.run(relay)
    relay.close()
    assert deleted == ["row-0", "row-1"]
    assert world.ledger is not None
    assert world.ledger.floor == "0000-000001"
    refusing(again := world.new(), 2)
    with pytest.raises(FactError, match="too large"):
        world.run(again)


def test_a_long_look_at_the_log_keeps_the_hold() -> None:
    world = Calm(1)
    world.run(world.new())
    world.holder, world.ledger = None, world.ledger._replace(places={0: (0, None)})  # type: ignore[union-attr]
    coded = log.codec.encode(log, log.types["thing.changed", 1].model(key="k", number=0), event_id="x", time=NOON)
    world.topic[0] += [Record(0, len(world.topic[0]) + n, *coded) for n in range(5_000)]
    relay = world.new()
    taken, turned = set[int](), set[float]()
    take = database(relay).take

    def kept(limit: int, timeout: float) -> Portion:
        taken.add(limit)
        turned.add(relay.status.turned_at)
        return take(limit, timeout)

    database(relay).take = kept  # type: ignore[method-assign]
    relay.step()
    assert taken == {0}
    assert len(turned) > 1  # for whoever watches whether it is alive


def test_a_source_whose_facts_come_late_is_not_taken_for_a_silent_log() -> None:
    world = Calm(2)
    relay = world.new()
    world.lead(relay)
    take = database(relay).take

    def late(limit: int, timeout: float) -> Portion:
        for _ in range(100):  # seconds go by
            relay._clock()
        return take(limit, timeout)

    database(relay).take = late  # type: ignore[method-assign]
    world.run(relay)
    assert world.counted() == [[0, 1]]


def test_a_mapping_that_is_slow_lets_go_of_nothing() -> None:
    world = Calm(30)
    relay = world.new()
    world.lead(relay)
    real, asked = relay.source._mappings["things"], list[int]()

    def slow(change: Change) -> BaseModel | None:
        for _ in range(10):  # seconds go by
            relay._clock()
        return real(change)

    take = database(relay).take

    def kept(limit: int, timeout: float) -> Portion:
        asked.append(limit)
        if limit == 0:
            return Portion((), "000030")  # the end of the transaction whose facts are on their way comes just now
        return take(limit, timeout)._replace(end=None)

    relay.source._mappings["things"] = slow
    database(relay).take = kept  # type: ignore[method-assign]
    relay.step()
    assert asked.count(0) > 20
    world.run(relay)
    assert world.confirmed == 30


def test_a_relay_is_ready_when_a_fact_comes_after_a_long_quiet() -> None:
    world = Calm(1)
    relay = world.new()
    world.run(relay, 500)
    world.add(1)
    while relay.status.under_way == 0:
        relay.step()
    assert ObservedRelay("shop", relay.status).ready(relay._clock())[0]


def forged(world: World, mark: Mark) -> None:
    coded = log.codec.encode(log, log.types["thing.changed", 1].model(key="k", number=9), event_id="forged", time=NOON)
    stands = world.topic[0]
    stands.append(Record(0, len(stands), *log.codec.marked(coded, mark)))


def test_a_copy_of_a_relays_own_record_changes_nothing() -> None:
    world = Calm(2)
    relay = world.new()
    world.run(relay)
    copied = world.topic[0][-1]
    world.topic[0].append(copied._replace(offset=len(world.topic[0])))
    world.add(1)
    world.run(relay)
    assert relay.status.term == 1
    assert world.counted() == [[0, 1, 2]]


def test_a_record_that_somebody_forged_in_a_relays_name_ends_its_term() -> None:
    world = Calm(1)
    relay = world.new()
    world.run(relay)
    writer = relay._term.writer  # type: ignore[union-attr]
    forged(world, Mark("shop", 1, writer, 2, "0000-000009"))
    with pytest.raises(LogUnavailable, match="did not write"):
        world.run(relay)


def test_a_term_beyond_which_there_is_none_is_refused_by_name() -> None:
    world = Calm(1)
    world.run(world.new())
    world.holder = None
    forged(world, Mark("shop", MOST_TERMS, "f" * 16, 1, "0000-000001"))
    with pytest.raises(ConfigError, match="another name"):
        world.new().step()


def test_after_adopting_a_new_log_the_first_relay_writes_its_ledger() -> None:
    world = Calm(1)
    world.ledger = Ledger(world.identity, "0001-", {0: (0, None)}, 7, 1)
    world.run(world.new())
    assert world.ledger.term == 8
    assert world.confirmed == 1


def test_an_outbox_row_with_too_few_headers_to_be_told_halts() -> None:
    world = Calm()
    few = [("ce_specversion", b"1.0"), ("ce_id", b"mine"), ("ce_type", b"thing.changed")]
    world.facts.append(Fact("000000", Encoded(b"k", b"{}", few), "mine", NOON))
    with pytest.raises(FactError, match="headers"):
        world.run(world.new())


def test_a_record_of_a_source_is_shown_as_what_it_is() -> None:
    world = Calm(1)
    world.run(world.new())
    barrier, fact = (describe(record, log) for record in world.topic[0])
    assert barrier["source"].startswith("shop, term 1, writer ")
    assert barrier["source"].endswith("the barrier with which it begins")
    assert barrier["undecodable"] is None  # else a person would skip it
    assert fact["source"].endswith("record 1, for the fact at 0000-000000")
