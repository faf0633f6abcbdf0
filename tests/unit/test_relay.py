"""One relay and its troubles. What several of them do to each other is in tests/property/test_relays.py. # U2 U3 U4"""

from __future__ import annotations

from datetime import timedelta

import pytest

from logsync.core.codec import Encoded
from logsync.core.event import Fault, Record
from logsync.errors import (
    ConfigError,
    FactError,
    LogIdentityError,
    LogUnavailable,
    PositionConflict,
    StoreUnavailable,
)
from logsync.sources.contract import Change, Fact, Portion
from logsync.sources.relay import Relay
from tests.property.relays import NOON, Database, Hostile, World, log


class Calm(World):
    """Nothing goes wrong by itself."""

    def __init__(self, facts: int = 0, partitions: int = 1) -> None:
        super().__init__(1, partitions)
        self.calm = True
        self.add(facts)

    def add(self, count: int) -> None:
        for number in range(len(self.facts), len(self.facts) + count):
            row, time = {"key": "k", "number": number}, NOON + timedelta(seconds=number)
            self.facts.append(Fact(f"{number:06d}", Change("things", "insert", row, None, time), None, time))

    def new(self) -> Relay:
        self.start()
        return self.relays[-1]

    def run(self, relay: Relay, steps: int = 60) -> None:
        for _ in range(steps):
            relay.step()
            self.deliver()

    def lead(self, relay: Relay) -> None:
        while relay.status.state.value != "running":
            relay.step()
            self.deliver()


def database(relay: Relay) -> Database:
    assert isinstance(relay.origin, Database)
    return relay.origin


def hostile(relay: Relay) -> Hostile:
    assert isinstance(relay.channel, Hostile)
    return relay.channel


def test_facts_are_appended_read_back_and_confirmed() -> None:
    world = Calm(5)
    relay = world.new()
    world.run(relay)
    assert world.counted() == [[0, 1, 2, 3, 4]]
    assert world.confirmed == 5
    assert relay.status.relayed == 5


def test_what_is_acknowledged_and_not_read_back_is_not_confirmed() -> None:
    world = Calm(3)
    relay = world.new()
    world.lead(relay)
    for _ in range(4):
        relay.step()  # sent; the broker has it, and does not show it
    assert world.confirmed == 0
    world.run(relay)
    assert world.confirmed == 3


def test_a_hole_in_the_log_begins_a_new_term_and_loses_nothing() -> None:
    world = Calm(4)
    relay = world.new()
    world.lead(relay)
    relay.step()
    del world.in_transit[1]  # the second of four
    with pytest.raises(LogUnavailable, match="dropped"):
        world.run(relay)
    relay.close()
    world.run(relay, 120)
    assert world.counted() == [[0, 1, 2, 3]]
    assert relay.status.term == 2


def test_silence_of_the_log_ends_the_term_so_that_nothing_holds_the_database_up() -> None:
    world = Calm(1)
    relay = world.new()
    world.lead(relay)
    while relay.status.under_way == 0:
        relay.step()
    world.in_transit.clear()
    with pytest.raises(LogUnavailable, match="read back"):
        world.run(relay, 500)


def test_a_hold_that_was_lost_while_the_log_was_read_writes_no_barrier() -> None:
    world = Calm(2)
    relay = world.new()
    database(relay).holds = lambda: False  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="hold was lost"):
        relay.step()
    assert world.in_transit == []


def test_a_relay_that_was_replaced_ends_and_its_late_records_do_not_count() -> None:
    world = Calm(2)
    first, second = world.new(), world.new()
    world.lead(first)
    first.step()  # its facts are on their way
    late, world.in_transit[:] = world.in_transit[:], []
    world.holder = None
    world.run(second)
    world.in_transit[:] = late
    world.deliver()
    world.deliver()
    database(first).take = lambda limit, timeout: Portion([], None)  # type: ignore[method-assign]
    with pytest.raises(PositionConflict, match="another relay has taken over: term 2"):
        first.step()
    assert world.counted() == [[0, 1]]


def test_a_relay_that_was_frozen_does_not_write_over_the_ledger_of_its_successor() -> None:
    world = Calm(2)
    first, second = world.new(), world.new()
    world.lead(first)
    world.holder = None
    world.run(second)
    kept = world.ledger
    with pytest.raises(PositionConflict):
        first._keep(first._term)  # type: ignore[arg-type]
    assert world.ledger == kept


def test_a_fact_that_has_no_mapping_halts_and_what_stands_before_it_is_in_the_log() -> None:
    world = Calm(3)
    fact = world.facts[2]
    world.facts[2] = fact._replace(of=Change("others", "insert", {}, None, fact.time))
    relay = world.new()
    with pytest.raises(FactError, match="no mapping") as found:
        world.run(relay)
    assert "source skip shop 0000-000002" in found.value.fix
    assert world.counted() == [[0, 1]]


@pytest.mark.parametrize(
    ("row", "why"), [({"key": "", "number": 2}, "empty key"), ({"key": "k", "number": "x"}, "raised ValidationError")]
)
def test_a_fact_that_makes_no_event_halts(row: dict[str, object], why: str) -> None:
    world = Calm(2)
    world.facts[1] = world.facts[1]._replace(of=Change("things", "insert", row, None, NOON))
    with pytest.raises(FactError, match=why):
        world.run(world.new())
    assert world.counted() == [[0]]


def test_what_a_person_had_skipped_is_passed_over_and_counted() -> None:
    world = Calm(3)
    world.left_out = {1}
    relay = world.new()
    database(relay).skips = lambda: {"0000-000001": "a test row"}  # type: ignore[method-assign]
    world.run(relay)
    assert world.counted() == [[0, 2]]
    assert relay.status.skipped == 1
    assert world.confirmed == 3


def test_a_mapping_may_make_no_event() -> None:
    world = Calm(3)
    world.left_out = {0, 1, 2}
    relay = world.new()
    relay.source._mappings["things"] = lambda change: None
    world.run(relay)
    assert world.counted() == [[]]
    assert world.confirmed == 3
    assert relay.status.passed_over == 3


def killed(world: Calm, facts: int) -> None:
    """A relay that was killed when the log had this many facts, and before any was confirmed."""
    relay = world.new()
    world.lead(relay)
    for _ in range(2):
        relay.step()
    while world.in_transit and len(world.counted()[0]) < facts:
        world.deliver()
    world.in_transit.clear()
    world.holder = None


def test_what_a_killed_relay_brought_is_left_out() -> None:
    world = Calm(4)
    killed(world, 2)
    world.run(world.new())
    assert world.counted() == [[0, 1, 2, 3]]


def test_a_database_that_has_another_fact_in_its_place_is_refused() -> None:
    world = Calm(2)
    killed(world, 2)
    world.facts[1] = world.facts[1]._replace(time=NOON)
    with pytest.raises(ConfigError, match="restored or replaced") as found:
        world.run(world.new())
    assert "source adopt shop" in found.value.fix


def test_a_database_that_has_lost_a_fact_that_the_log_has_is_refused() -> None:
    world = Calm(3)
    killed(world, 2)
    del world.facts[1]
    with pytest.raises(ConfigError, match="restored or replaced"):
        world.run(world.new())


def test_a_log_that_was_replaced_is_refused() -> None:
    world = Calm(2)
    relay = world.new()
    world.run(relay)
    world.holder, world.identity = None, world.identity._replace(topic_id="another")
    with pytest.raises(LogIdentityError, match="topic_id"):
        world.new().step()
    world.add(1)
    with pytest.raises((LogIdentityError, StoreUnavailable)):
        world.run(relay)


def test_a_log_that_lost_its_tail_is_refused() -> None:
    world = Calm(2)
    world.run(world.new())
    world.holder = None
    del world.topic[0][1:]
    with pytest.raises(LogIdentityError, match="ends at 1"):
        world.new().step()


def test_a_name_that_another_database_uses_is_refused() -> None:
    world = Calm(2)
    world.run(world.new())
    world.holder, world.ledger, world.confirmed = None, None, 0
    with pytest.raises(ConfigError, match="another database uses this name"):
        world.new().step()


def test_what_cannot_be_read_in_the_log_is_passed_and_nothing_is_doubled() -> None:
    world = Calm(2)
    world.run(world.new())
    world.holder = None
    damaged = world.topic[0][1]
    world.topic[0][1] = Record(0, damaged.offset, None, None, [], fault=Fault("damaged", damaged.offset))
    world.left_out = {0}
    world.add(2)
    world.run(world.new())
    assert world.counted() == [[1, 2, 3]]
    assert world.confirmed == 4


def test_a_successor_reads_little_again_although_the_source_was_quiet_and_others_were_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("logsync.sources.relay._REREAD", 50)
    world = Calm(3)
    relay = world.new()
    world.run(relay)
    for _ in range(200):
        stands = world.topic[0]
        stands.append(Record(0, len(stands), b"k", b"{}", []))
    world.left_out = {0}
    world.counted = lambda: [[0, 1, 2]]  # type: ignore[method-assign]
    world.run(relay)
    assert world.ledger is not None
    assert world.ledger.places[0][0] > 200


def test_an_outbox_row_enters_as_it_was_encoded() -> None:
    world = Calm()
    coded = log.codec.encode(log, log.types["thing.changed", 1].model(key="k", number=0), event_id="mine", time=NOON)
    world.facts.append(Fact("000000", Encoded(*coded), "mine", NOON))
    world.run(world.new())
    [record] = [record for record in world.topic[0] if record.value != b"{}"]
    assert (record.key, record.value, record.headers[: len(coded.headers)]) == (coded.key, coded.value, coded.headers)
