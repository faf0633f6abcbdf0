"""The contract that every store keeps, in prose. ``logsync.testing.store_contract`` holds each of them to it.

A store belongs to one sink. It keeps four things: the *content* (what the writes made), one *position* per
partition, the *book* (``logsync.core.book``) and the *parked* events (``logsync.core.parked``). What it promises:

1. ``apply(plan)`` is one step. Atomic stores: the writes and the position are durable together or not at
   all. Replayable stores: first the writes, each versioned so that applying it again changes nothing, then
   the position. When it returns, both are durable. # I4
2. ``apply`` compares before it sets: a stored position whose ``place`` is not ``plan.start``'s
   raises PositionConflict and changes nothing (replayable: nothing that an applied event does not already
   cover). This is what fences a worker that lost its partition and does not know it yet. # I1 I2
3. Errors leave in logsync's own classes. StoreUnavailable: nothing was applied. StoreOutcomeUnknown: all or
   nothing was; the position says which. WriteRejected: one event's write was refused for its own sake, nothing
   was applied, ``offset`` names the first such event in log order. ConfigError: the set-up is wrong (no such
   table, no rights, wrong password). No other class leaves, so the worker needs no other ``except``.
4. Every call has a bound in time, shorter together than Kafka's max.poll.interval.ms.
5. Building a store opens nothing. ``open`` connects; it may be called again after an error, and then
   replaces what was there. ``close`` never raises.
6. Writes of one plan take effect as if one by one in log order; how they are batched cannot be seen. (G1
   limits this: a plan with a refused write is run again one by one to find the event at fault.)
7. What a plan says about parked events belongs to the same step (replayable: ``parked`` before the writes and the
   position, so that a replay finds it; ``released`` after the writes). A parked event that the store holds already
   stays as it is there; one in ``still_parked`` replaces it; one in ``released`` is deleted. # K2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from logsync.core.book import Book
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kind of store can and cannot do. The same for all sinks that use it."""

    atomic: bool
    """True: ``apply`` is one transaction. False: replayable, and after an error a part of a plan may be there."""
    most_partitions: int | None = None
    """The most partitions that one topic may have, or None."""
    parked_per_retry: int = 100
    """How many parked events one plan may release: 1 in a store that is not ``atomic``."""
    content_knows_offsets: bool = False
    """True if the content itself remembers which offsets made it, so it fits one log and one epoch only. # O4"""


class StoreSettings(Protocol):
    """What of the settings a store may ask for."""

    @property
    def store_timeout(self) -> float:
        """Seconds that one call to a store may take."""

    def address(self, kind: str) -> str:
        """The address of the server for this kind of store, secrets and all."""


class Store(Protocol):
    """One sink's store. All methods are called on the worker's thread, and by the CLI while no worker runs."""

    @property
    def kind(self) -> str:
        """The store in one word for messages and metrics: ``postgres``."""

    @property
    def accepts(self) -> frozenset[type[Write]]:
        """The write classes that it carries out."""

    @property
    def traits(self) -> Traits:
        """What this kind of store can and cannot do."""

    meanwhile: Callable[[], bool] | None
    """Work that the worker has for the time in which this store waits for its server; set before ``open``. # F1

    Each call does a fraction of a millisecond of it on the caller's thread, touches neither store nor log, and
    returns False when nothing is left. A store may call it while it waits for an answer, within that call's bound in
    time, or leave it alone: whatever is left is done afterwards.
    """

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect and make sure that the store's own bookkeeping exists. Applies the sink's schema (G6).

        Raises StoreUnavailable, ConfigError.
        """

    def close(self) -> None:
        """Let go of everything. Never raises, may be called twice."""

    def read_book(self) -> Book | None:
        """The sink's book, or None if this store has never seen the sink."""

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        """Replace the book whose revision is one less (revision 1: there must be none).

        ``positions`` given: they replace all stored positions in the same step. Raises PositionConflict if
        another revision is stored.
        """

    def positions(self) -> dict[int, Position]:
        """The stored position of every partition, read with the strongest consistency the store has."""

    def apply(self, plan: Plan) -> None:
        """Carry out the writes and move the position from ``plan.start`` to ``plan.end``: points 1 to 3."""

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        """Every sequence that waits in this partition, by name. Read with the strongest consistency there is."""

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        """The first ``limit`` parked events with an offset above ``after``, in log order; of one sequence, or all."""

    def holds_data(self) -> bool:
        """True if any content of the sink exists, whatever wrote it. # P1"""

    def wipe(self, book: Book) -> None:
        """Delete all content that the sink owns, parked events too. Called by rebuild, between two revisions of the
        book that say so; may be repeated after a crash. Leaves the book and positions to the caller.

        Only while ``book`` is the stored one: raises PositionConflict once it is not, so a rebuild that another
        one overtook cannot delete what that one has replayed. (A store that is not one transaction may have
        deleted a part by then: only content that is older than ``book``.)
        """

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:
        """What ``open(sink, settings)`` creates, as text a person can run with their own tools; empty if nothing is
        needed. Opens nothing. A store that is open already knows its sink and settings."""

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        """Look at the server and at what is kept there for the sink, and create or change nothing.

        Instead of ``open``: connects by itself, closes again. A server that is down is a finding; raises nothing
        that logsync raises on purpose. Called by commands that only look.
        """


@runtime_checkable
class ChecksWrites(Protocol):
    """A store that knows some of what it refuses without asking its server. Not part of the contract."""

    def check_writes(self, plan: Plan) -> None:
        """Raise WriteRejected for the first event with a write that no server would take, ConfigError for a set-up
        that cannot be right. What only the server can tell passes. Opens nothing; the store may be closed.
        """


@runtime_checkable
class Rehearses(Protocol):
    """A store that can carry out a plan on empty content and take all of it back. Not part of the contract."""

    def rehearse(self, plan: Plan) -> None:
        """Raise what ``apply`` would raise about the writes of ``plan``, if the store were empty. Changes nothing.

        A ``fix`` in a WriteRejected is a hint of the store's own. The store is open. Raises StoreUnavailable, too.
        """
