"""A hostile world for relays, in memory: many at once, each frozen at any step, over a broker that is late, drops
records, and says that it failed when it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from pydantic import BaseModel

from logsync import Log
from logsync.core.codec import Encoded
from logsync.core.event import Record
from logsync.core.position import LogIdentity
from logsync.core.sources import at_start, fold
from logsync.errors import LogsyncError, LogUnavailable, PositionConflict, StoreUnavailable
from logsync.sources.channel import Failure, Stretch
from logsync.sources.contract import Change, Fact, Ledger, Portion
from logsync.sources.relay import Relay
from logsync.sources.source import Source

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
log = Log("facts")


@log.event("thing.changed", key="key")
class ThingChanged(BaseModel):
    key: str
    number: int


class World:
    """A database with facts, a topic, and the chance that rules them."""

    def __init__(self, seed: int, partitions: int) -> None:
        self.chance = Random(seed)
        self.identity = LogIdentity("memory", "facts", "id", partitions)
        self.topic: list[list[Record]] = [[] for _ in range(partitions)]
        self.in_transit: list[tuple[Hostile, int, Encoded]] = []  # in the order in which they were sent
        self.facts: list[Fact] = []
        self.confirmed = 0  # facts that the database has forgotten
        self.rows: dict[str, str] = {}  # those that stand in the outbox, with their places
        self.ledger: Ledger | None = None
        self.holder: Database | None = None
        self.relays: list[Relay] = []
        self.calm = False
        self.left_out: set[int] = set()  # facts that are no events
        self._inside = 0

    def commit(self) -> None:
        """One transaction with a few facts."""
        for _ in range(self.chance.randrange(1, 4)):
            number = len(self.facts)
            row = {"key": f"k{self.chance.randrange(4)}", "number": number}
            time = NOON + timedelta(seconds=number)
            self.facts.append(Fact(at := f"{number:06d}", Change("things", "insert", row, None, time), f"r{at}", time))
            self.rows[f"r{at}"] = at

    def start(self) -> None:
        database = Database(self)
        source = Source("shop", log, database)
        source.on("things")(lambda change: ThingChanged(**change.new))  # type: ignore[arg-type]
        ticks = iter(range(10**9))
        self.relays.append(Relay(source, Hostile(self), None, clock=lambda: next(ticks) * 0.3, now=lambda: NOON))

    def disturb(self) -> None:
        """Called in the middle of everything that a relay does: it stands still while others go on."""
        if self.calm or self._inside > 2 or self.chance.random() > 0.15:
            return
        self._inside += 1
        try:
            for _ in range(self.chance.randrange(1, 12)):
                self.turn()
        finally:
            self._inside -= 1

    def turn(self) -> None:
        """Something happens."""
        what = self.chance.random()
        if what < 0.1:
            self.commit()
        elif what < 0.5:
            self.deliver()
        elif what < 0.53:
            self.in_transit[:] = [each for each in self.in_transit if self.chance.random() < 0.7]  # lost in silence
        elif what < 0.56 and len(self.relays) < 6:
            self.start()
        elif what < 0.6:
            self.holder = None  # the server has given the hold up
        else:
            self.step(self.chance.choice(self.relays))

    def step(self, relay: Relay) -> None:
        if relay.status.under_way < 0:
            return  # it is in the middle of a step, below us
        kept, relay.status.under_way = relay.status.under_way, -1
        try:
            relay.step()
            relay.status.under_way = max(relay.status.under_way, 0)
        except LogsyncError:
            relay.close()
            relay.status.under_way = 0
        if relay.status.under_way < 0:
            relay.status.under_way = kept

    def deliver(self) -> None:
        """A record arrives. Those of one producer stay in order, those of different ones do not."""
        if not self.in_transit:
            return
        owner = self.chance.choice(self.in_transit)[0] if not self.calm else self.in_transit[0][0]
        index = next(n for n, each in enumerate(self.in_transit) if each[0] is owner)
        _, partition, encoded = self.in_transit.pop(index)
        stands = self.topic[partition]
        stands.append(Record(partition, len(stands), encoded.key, encoded.value, encoded.headers))
        if not self.calm and self.chance.random() < 0.1:
            owner.failed = Failure(LogUnavailable("it is said to have failed"), partition)

    def counted(self) -> list[list[int]]:
        """By partition, the numbers of the facts that every reader takes."""
        found = []
        for records in self.topic:
            _, passed = fold(at_start(0), log.codec.marks(records), len(records))
            taken = [record for record in records if record.offset not in passed and record.fault is None]
            events = [ThingChanged.model_validate_json(record.value or b"") for record in taken]
            found.append([event.number for event in events])
        return found

    def settle(self) -> None:
        """The weather clears up: one fresh relay, nothing goes wrong. What is late still comes."""
        self.calm, self.holder = True, None
        self.relays.clear()
        self.start()
        for _ in range(3_000):
            self.deliver()
            self.step(self.relays[0])
            if self.confirmed == len(self.facts) and not self.in_transit:
                return
        raise AssertionError(f"it never came to rest: {self.confirmed} of {len(self.facts)} facts confirmed")


class Database:
    """An Origin: one connection to the world's database."""

    kind = "memory"

    def __init__(self, world: World) -> None:
        self.world = world
        self._next = 0
        self._buffered: list[Fact] = []

    def open(self, source: str, settings: object) -> None:
        self.world.disturb()
        if self.world.holder not in (None, self):
            raise StoreUnavailable("somebody else holds it")
        self.world.holder = self
        self._next, self._buffered = self.world.confirmed, []

    def holds(self) -> bool:
        self.world.disturb()
        return self.world.holder is self

    def ledger(self) -> Ledger | None:
        self.world.disturb()
        return self.world.ledger

    def keep(self, ledger: Ledger, ids: Sequence[str] = ()) -> None:
        self.world.disturb()
        if self.world.ledger is not None and self.world.ledger.term > ledger.term:
            raise PositionConflict("another relay has written")
        self.world.ledger = ledger
        for each in ids:
            self.world.rows.pop(each, None)
        below = [at for at in self.world.rows.values() if f"0000-{at}" <= ledger.floor]
        assert not below, "the ledger has facts whose rows still stand: whoever adopts the database brings them again"

    def skips(self) -> Mapping[str, str]:
        return {}

    def now(self) -> str:
        return f"{len(self.world.facts):06d}"

    def take(self, limit: int, timeout: float) -> Portion:
        self.world.disturb()
        if self.world.holder is self:
            self._buffered += self.world.facts[self._next :]
            self._next = len(self.world.facts)
        elif not self._buffered:
            raise StoreUnavailable("the stream has ended")
        facts, self._buffered = self._buffered[:limit], self._buffered[limit:]
        return Portion(facts, f"{int(facts[-1].at) + 1:06d}" if facts else None)

    def confirm(self, end: str) -> None:
        self.world.disturb()
        if self.world.holder is not self:
            raise StoreUnavailable("the stream has ended")
        self.world.confirmed = max(self.world.confirmed, int(end))
        counted = {number for numbers in self.world.counted() for number in numbers}
        assert counted | self.world.left_out >= set(range(self.world.confirmed)), "confirmed what no reader takes"

    def close(self) -> None:
        if self.world.holder is self:
            self.world.holder = None


class Hostile:
    """A Channel, over a broker that does what brokers have been seen to do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failed: Failure | None = None
        self._places: dict[int, int] = {}

    def open(self) -> LogIdentity:
        self.world.disturb()
        self.failed = None
        return self.world.identity

    def identity(self) -> LogIdentity:
        return self.world.identity

    def bounds(self) -> dict[int, tuple[int, int]]:
        return {number: (0, len(records)) for number, records in enumerate(self.world.topic)}

    def records(self, partition: int, start: int, stop: int) -> Iterator[Record]:
        self.world.disturb()
        yield from self.world.topic[partition][start:stop]

    def partition(self, key: bytes) -> int:
        return key[-1] % len(self.world.topic)

    def send(self, partition: int, encoded: Encoded) -> bool:
        self.world.disturb()
        self.world.in_transit.append((self, partition, encoded))
        return True

    def failure(self) -> Failure | None:
        return self.failed

    def follow(self, places: Mapping[int, int]) -> None:
        self._places = dict(places)

    def read_back(self, timeout: float) -> list[Stretch]:
        self.world.disturb()
        found = []
        for partition, place in self._places.items():
            stop = len(self.world.topic[partition])
            if not self.world.calm:
                stop = self.world.chance.randint(place, stop)
            if stop > place:
                found.append(Stretch(partition, self.world.topic[partition][place:stop], stop))
                self._places[partition] = stop
        return found

    def close(self) -> None:
        self._places = {}


def history(seed: int, turns: int = 150) -> World:
    """A world after many troubles, come to rest."""
    world = World(seed, partitions=1 + seed % 3)
    world.start()
    for _ in range(turns):
        world.turn()
    world.commit()
    world.settle()
    return world


Check = Callable[[World], None]
