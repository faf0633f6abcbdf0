"""What a place of facts must offer so that its facts enter a log once, in its own order.

An *origin* is the database side of a source. It belongs to one relay, on one thread. It orders its facts by ``at``: a
text of ASCII characters, of one width, that grows from fact to fact and is the same whenever the fact is read again.
What was confirmed is never read again; what was not is read again after every ``open``, and in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from logsync.core.codec import Encoded
from logsync.core.position import LogIdentity


class Change(NamedTuple):
    """One row of a table that changed, as a mapping of the source sees it."""

    table: str
    """As the declaration names it: ``transactions``, or with its schema, ``shop.transactions``."""
    kind: str
    """``insert``, ``update`` or ``delete``."""
    new: Mapping[str, Any] | None
    """The row as it is now, by column; None for a delete."""
    old: Mapping[str, Any] | None
    """What the table's replica identity keeps of the row before; None for an insert, and where nothing is kept."""
    committed: datetime
    seeded: bool = False
    """True: the row stood there before the source was made, and was read by ``logsync source seed``."""


class Unfit(NamedTuple):
    """A fact that tells too little to be an event: a value, so that those before it are not held up.

    The relay halts at it, unless a person said that it is to be skipped.
    """

    why: str
    fix: str


class Fact(NamedTuple):
    """One fact in the order of its origin."""

    at: str
    of: Change | Encoded | Unfit
    """Encoded: a row of an outbox, which is an event already."""
    id: str | None
    """The event's id where the fact has one of its own (an outbox); else it is made of the source's name and ``at``."""
    time: datetime
    """When it became one: the commit's time, or the event's own."""


class Portion(NamedTuple):
    """What one call of ``take`` brought."""

    facts: Sequence[Fact]
    end: str | None
    """What may be given to ``confirm`` once all facts up to here are in the log; None within a transaction."""


class Ledger(NamedTuple):
    """What the origin's own database keeps of its source: how far the log surely has its facts."""

    log: LogIdentity
    floor: str
    """Every fact at or below this place is in the log; empty: none."""
    places: Mapping[int, tuple[int, str | None]]
    """Per partition: the next offset to read, and ``Position.sources`` as it is there."""
    term: int = 0
    """Of the relay that wrote it: one that was frozen must not write over its successor's."""
    incarnation: int = 0
    """Raised when a person accepts another database in this place (``logsync source adopt``): it stands before every
    ``at`` in the log, because a restored database gives the same places to other facts."""


class Origin(Protocol):
    """One place of facts. All methods are bounded in time.

    Each raises StoreUnavailable for what time can mend, and ConfigError for what a person has to mend: no logical
    WAL, no rights, a slot that is lost, a publication that is not as it was made.
    """

    kind: str
    """In one word for messages and metrics: ``postgres``."""

    def open(self, source: str, settings: Any) -> None:
        """Connect, and hold the source: nobody else reads it while this origin does. May be called again after errors.

        Raises StoreUnavailable, saying who has it, while somebody else holds it.
        """

    def holds(self) -> bool:
        """Does the hold still stand, as the server sees it at this moment? Asked before a barrier is written."""

    def ledger(self) -> Ledger | None:
        """What ``keep`` wrote last, durable; None before the first."""

    def keep(self, ledger: Ledger, ids: Sequence[str] = ()) -> None:
        """Write the ledger, durable when this returns. Raises PositionConflict if one of a greater term stands there.

        ``ids``: the outbox rows whose facts are in the log since the last call. They go in the same step: no row stands
        there whose fact is not above the floor, or whoever adopts the database would bring it again. In one statement:
        a relay that is frozen in the middle of it must not write when it wakes up. # U3
        """

    def skips(self) -> Mapping[str, str]:
        """The facts that a person had skipped, by their place in the log, with the reason. Read once per ``open``."""

    def now(self) -> str:
        """The end of what the origin holds at this moment, to compare with ``Portion.end`` as a text."""

    def take(self, limit: int, timeout: float) -> Portion:
        """Up to ``limit`` facts in order, each once since ``open``. Waits up to ``timeout`` seconds for the first.

        Called at least once a second, also while nothing more is wanted (``limit`` 0): it is what keeps the hold.
        """

    def confirm(self, end: str) -> None:
        """All facts up to ``end`` are in the log, and in the ledger: the origin may forget them."""

    def close(self) -> None:
        """Let go. Never raises, may be called twice. Leaves nothing that holds up a shutdown of the database."""
