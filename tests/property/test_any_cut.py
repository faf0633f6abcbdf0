"""Any log, cut anywhere, read by two workers in any weather: the store holds the fold up to its position. # I1 I2 I3

The machine appends, moves partitions between two members of one group, kills workers, and lets their stores fail in
every way that ``logsync.core.store`` names. After each step it looks at the store that both members share.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from logsync.core.book import Book, Skip
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.offsets import Offsets
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict, StoreOutcomeUnknown, StoreUnavailable, WriteRejected
from logsync.log.contract import Batch
from logsync.read_ahead import AHEAD_FROM
from logsync.settings import Settings
from logsync.stores.memory import Memory, Server
from logsync.testing import START, MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.shop import OrderCancelled, OrderPlaced, PageSeen, log, make_sink
from tests.unit.test_worker import Clock

ENVIRONMENT = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]
REFUSED = "refused"
"""The store takes no order of this name."""


class Crash(BaseException):
    """The process dies here: nothing catches it, and the next worker starts with an empty memory."""


class Weather(Memory):
    """One member's client of the shared store. Each apply meets the next trouble, if there is one."""

    def __init__(self, server: Server, late: list[Plan]) -> None:
        super().__init__(server)
        self.late = late
        self.waits = 0
        self.troubles: list[str] = []
        self.raced = False
        self.conflicts = 0
        self.contested = 0  # conflicts under the present assignment

    def apply(self, plan: Plan) -> None:
        for _ in range(self.waits):
            assert self.meanwhile
            self.meanwhile()
        try:
            self._meet(self.troubles.pop(0) if self.troubles else "", plan)
        except PositionConflict:
            self.conflicts += 1
            self.contested += 1
            raise

    def _meet(self, trouble: str, plan: Plan) -> None:
        if trouble == "crash before":
            raise Crash
        if trouble == "down":
            raise StoreUnavailable(trouble)
        if trouble == "unknown":
            raise StoreOutcomeUnknown(trouble)
        if trouble == "refused in company" and len(set(plan.offsets)) > 1:
            raise WriteRejected(trouble, offset=max(plan.offsets))
        for offset, write in zip(plan.offsets, plan.writes, strict=True):
            if getattr(write, "key", {}).get("order") == REFUSED:
                raise WriteRejected(f"{write} is refused", offset=offset)
        if trouble == "unknown, applied later":
            self.late.append(plan)
            raise StoreOutcomeUnknown(trouble)
        super().apply(plan)
        if trouble == "crash after":
            raise Crash
        if trouble == "unknown, applied":
            raise StoreOutcomeUnknown(trouble)
        if trouble == "book_conflict":  # another worker was faster with the same plan
            super().apply(plan)

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        super().write_book(book, positions=positions)
        if self.raced:  # another worker was faster with the same revision
            self.raced = False
            super().write_book(book, positions=positions)


TROUBLES = st.sampled_from(
    [
        "",
        "crash before",
        "crash after",
        "down",
        "unknown",
        "unknown, applied",
        "unknown, applied later",
        "refused in company",
        "book_conflict",
    ]
)


class Reader(MemoryReader):
    """Knows what its worker was told of the group's assignments."""

    def __init__(self, source: MemoryLog, store: Weather, cut: int) -> None:
        super().__init__(source, at_most=cut)
        self.store = store
        self.held: set[int] = set()

    def poll(self, timeout: float, limit: int) -> Batch:
        batch = super().poll(timeout, limit)
        if batch.assigned or batch.revoked:
            self.store.contested = 0
            self.held = (self.held - set(batch.revoked)) | set(batch.assigned)
        return batch


class Member:
    """A worker's process. ``ahead``: it reads ahead whatever a poll brings; else nothing here is enough for that."""

    def __init__(self, source: MemoryLog, server: Server, late: list[Plan], cut: int, *, ahead: bool) -> None:
        self.store = Weather(server, late)
        self.reader = Reader(source, self.store, cut)
        sink = make_sink(self.store, order="per-key")
        environment = ENVIRONMENT.model_copy(update={"batch_records": AHEAD_FROM}) if ahead else ENVIRONMENT
        self.worker = Worker(sink, self.reader, environment, clock=Clock(), chance=lambda: 0.5)

    def turn(self) -> None:
        once = iter([False, True])
        self.worker.run(lambda _: next(once))


class Entry(NamedTuple):
    """What the machine knows of one offset; kept apart from the log, so that the fold is its own."""

    event: OrderPlaced | OrderCancelled | PageSeen
    visible: bool
    original: int | None = None  # of a retried append
    since: int = 0


orders = st.sampled_from("abcd")
events = st.one_of(
    st.builds(OrderPlaced, order=orders, cents=st.integers(0, 100)),
    st.builds(OrderCancelled, order=orders),
    st.builds(PageSeen, page=orders),
    st.just(OrderPlaced(order=REFUSED, cents=1)),
)
partitions = st.integers(0, 1)
members = st.integers(0, 1)


class AnyCut(RuleBasedStateMachine):
    @initialize(cut=st.integers(1, 9), ahead=st.booleans(), appended=st.lists(events, max_size=20))
    def begin(self, cut: int, ahead: bool, appended: list[OrderPlaced | OrderCancelled | PageSeen]) -> None:
        self.ahead = ahead
        self.source, self.server, self.cut = MemoryLog(log, partitions=2), Server(), cut
        self.entries: list[list[Entry | None]] = [[], []]  # None: a marker
        self.late: list[Plan] = []
        self.owners = [0, 0]
        self.reached = [0, 0]
        self.members = [self.hire(0), self.hire(1)]
        for event in appended:
            self.append(event, visible=True)

    def hire(self, number: int) -> Member:
        made = Member(self.source, self.server, self.late, self.cut, ahead=self.ahead)
        made.reader.assign(*(partition for partition in (0, 1) if self.owners[partition] == number))
        return made

    # The log.

    @rule(event=events, visible=st.sampled_from([True, True, True, False]))
    def append(self, event: OrderPlaced | OrderCancelled | PageSeen, visible: bool) -> None:
        partition = ord((event.page if isinstance(event, PageSeen) else event.order)[0]) % 2
        record = self.source.append(event, partition=partition)
        if not visible:  # its transaction was aborted
            self.source.holes[partition].add(record.offset)
        self.entries[partition].append(Entry(event, visible))

    @rule(partition=partitions)
    def append_marker(self, partition: int) -> None:
        self.source.append_marker(partition=partition)
        self.entries[partition].append(None)

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        """A retried append: whether its original is in the log, and in its range, is for the log to say. # A1"""
        places = [(p, n) for p in (0, 1) for n, entry in enumerate(self.entries[p]) if entry and entry.original is None]
        if not places:
            return
        partition, original = data.draw(st.sampled_from(places))
        since = data.draw(st.integers(0, len(self.entries[partition])))
        record, entry = self.source.records[partition][original], self.entries[partition][original]
        assert entry
        headers = [*record.headers, (RETRY_FROM, str(since).encode())]
        self.source.append_raw(record.key, record.value, headers, partition=partition)
        self.entries[partition].append(Entry(entry.event, True, original, since))

    # The weather.

    @rule()
    def late_originals_arrive(self) -> None:  # P4
        store = Memory(self.server)
        store.open("db")
        while self.late:
            with suppress(PositionConflict):
                store.apply(self.late.pop())

    @rule(down=st.booleans())
    def kafka(self, down: bool) -> None:
        self.source.down = down

    @rule(first=members, second=members)
    def assign(self, first: int, second: int) -> None:
        """A member that lost a partition goes on with it until its next turn; the other one may be there already."""
        self.owners = [first, second]
        for number, member in enumerate(self.members):
            member.reader.assign(*(partition for partition in (0, 1) if self.owners[partition] == number))

    @rule(who=members)
    def crash(self, who: int) -> None:
        self.members[who] = self.hire(who)

    # The workers.

    @rule(who=members, troubles=st.lists(TROUBLES, max_size=2), raced=st.booleans(), waits=st.integers(0, 2))
    def turn(self, who: int, troubles: Sequence[str] = (), raced: bool = False, waits: int = 0) -> None:
        """One turn of a member's loop; ``troubles`` are what its next applies meet, if it comes to them."""
        member = self.members[who]
        store, report = member.store, member.worker.status
        store.troubles, store.raced, store.waits = [*troubles], raced, waits
        halted = None
        try:
            member.turn()
        except (Crash, WriteRejected, ConfigError) as error:
            halted = error
            self.members[who] = self.hire(who)  # whatever supervises it starts it again
        if isinstance(halted, WriteRejected):  # somebody looks first, and passes the event over on record
            entries, position = self.entries[halted.partition], store.positions()[halted.partition]
            ahead = next(entry for entry in entries[position.next_offset :] if entry and entry.visible)
            assert ahead is entries[halted.offset]
            assert ahead.event == OrderPlaced(order=REFUSED, cents=1)
            self.skip(halted.partition, halted.offset)
        assert (store.contested == 3) == isinstance(halted, ConfigError), halted  # P3
        assert report.conflicts == store.conflicts
        assert report.positions.keys() <= member.reader.held

    @rule(who=members, troubles=st.lists(TROUBLES, min_size=3, max_size=8), waits=st.integers(0, 2))
    def turns(self, who: int, troubles: Sequence[str], waits: int) -> None:
        """Several turns on end: it takes three until something was read ahead behind a plan that meets trouble."""
        for trouble in troubles:
            self.turn(who, [trouble], waits=waits)

    def skip(self, partition: int, offset: int) -> None:
        book = self.server.books["db"]
        skip = Skip(partition=partition, offsets=Offsets([offset]), reason="refused", at=START)
        self.server.books["db"] = book.next(skips=(*book.skips, skip))

    @rule()
    def calm(self) -> None:
        """Once the weather is fine, positions and bookmarks get to the log's end, whatever the end consists of. # L4"""
        self.source.down = False
        self.late_originals_arrive()
        ends = {partition: len(entries) for partition, entries in enumerate(self.entries)}
        for _ in range(100 + 10 * sum(ends.values())):
            stored = self.server.positions.get("db", {})
            if {partition: at.next_offset for partition, at in stored.items()} == ends == self.source.committed:
                return
            for who in (0, 1):
                self.turn(who)
        raise AssertionError(f"stuck at {stored}, committed {self.source.committed}, the log ends at {ends}")

    # What always holds.

    def applied(self) -> list[Entry]:
        """Every event below the positions that has to have an effect, or to be passed over by its type."""
        found = []
        for partition, position in self.server.positions.get("db", {}).items():
            entries = self.entries[partition]
            for entry in entries[: position.next_offset]:
                if entry is None or not entry.visible:
                    continue
                if entry.original is not None and self.stood_before(entries, entry):
                    continue
                found.append(entry)
        return found

    @staticmethod
    def stood_before(entries: list[Entry | None], retry: Entry) -> bool:
        """Does the event of this retried append stand in the range that it names? # A1"""
        at = next(n for n, entry in enumerate(entries) if entry is retry)
        return any(
            entry is not None and entry.visible and retry.original in (n, entry.original)
            for n, entry in enumerate(entries[:at])
            if n >= retry.since
        )

    @invariant()
    def the_content_is_the_fold_up_to_the_position(self) -> None:  # I3
        orders: dict[str, int] = {}
        total = 0
        for event in (entry.event for entry in self.applied()):
            if isinstance(event, OrderPlaced) and event.order != REFUSED:
                orders[event.order] = event.cents
                total += event.cents
            elif isinstance(event, OrderCancelled):
                orders.pop(event.order, None)
        tables = self.server.contents["db"].tables if "db" in self.server.contents else {}
        assert {row["order"]: row["cents"] for row in tables.get("orders", [])} == orders
        assert sum(row["n"] for row in tables.get("totals", [])) == total

    @invariant()
    def no_bookmark_is_ahead_and_no_position_moves_back(self) -> None:  # I1 I2
        stored = self.server.positions.get("db", {})
        for partition, committed in self.source.committed.items():
            assert committed <= stored[partition].next_offset
        for partition, position in stored.items():
            assert self.reached[partition] <= position.next_offset
            self.reached[partition] = position.next_offset

    @invariant()
    def the_book_names_every_type_that_was_passed_over(self) -> None:  # T2
        if any(isinstance(entry.event, PageSeen) for entry in self.applied()):
            assert self.server.books["db"].skipped == {"page.seen"}


TestAnyCut = AnyCut.TestCase
TestAnyCut.settings = settings(
    max_examples=300,
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    phases=set(Phase) - {Phase.explain},
)
