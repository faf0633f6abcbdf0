"""What people do to a source, and what they are shown of it. A relay does none of this by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from logsync.core.inspection import Finding
from logsync.errors import ConfigError, LogsyncError
from logsync.settings import Settings
from logsync.sources.contract import Ledger
from logsync.sources.kafka import KafkaChannel
from logsync.sources.reading import log_so_far
from logsync.sources.source import Source

_INCARNATION = re.compile("[0-9a-f]{4}-")
_MOST_INCARNATIONS = 0xFFFF  # four digits stand before each place


@dataclass
class Look:
    """A source as its database shows it, and nothing of it is changed by looking."""

    held_by: str = ""
    """Who reads it at this moment, in words; empty: nobody, so no relay runs."""
    ledger: Ledger | None = None
    confirmed: str = ""
    """The place up to which the database may forget, as it writes it."""
    failover: bool | None = None
    """Does that follow to a standby? None: there is nothing that could."""
    retained: int | None = None
    """Bytes that the database keeps because this source has not confirmed them."""
    error: LogsyncError | None = None
    """What keeps a relay from running; None: nothing."""
    findings: list[Finding] = field(default_factory=list)
    """What else a person should know of it: limits, standbys."""
    waiting: int | None = None
    """Rows in the outbox that are not in the log, or not deleted yet."""
    oldest: datetime | None = None
    """Since when the oldest of them waits."""
    skips: Mapping[str, str] = field(default_factory=dict)
    audit: list[dict[str, Any]] = field(default_factory=list)


class Manager(Protocol):
    """The commands' half of an origin. Every method connects, and lets go again.

    Raises StoreUnavailable, ConfigError.
    """

    def create(self, source: str, settings: Settings, *, failover: bool | None = None, anew: bool = False) -> list[str]:
        """Make what a relay needs in the database. May be repeated. Returns what is there now, in words.

        What was lost since it was made is not made anew here: that is for ``adopt``, on record. ``failover``: whether
        what the database keeps for a relay follows to its standbys; None: as it is. ``anew``: make what somebody else
        has changed as it should be, although what was committed meanwhile may be missing.
        """

    def drop(self, source: str, settings: Settings) -> None:
        """Remove what ``create`` made; the outbox stays. Raises StoreUnavailable while a relay holds the source."""

    def look(self, source: str, settings: Settings) -> Look:
        """What is there."""

    def skip(self, source: str, settings: Settings, at: str, reason: str) -> None:
        """Pass over one fact, on record. ``at``: its place in the log's order, as the relay's error tells it."""

    def adopt(self, source: str, settings: Settings, ledger: Ledger, reason: str, known: Collection[str] = ()) -> None:
        """Begin at the present with this ledger, on record: what was committed before is not read any more.

        What stands in an outbox is relayed; the rows of events that are ``known``, by id, to be in the log are deleted.
        """

    def seed(
        self, source: str, settings: Settings, tables: Sequence[str], *, chunk: int, told: Callable[[str, int], None]
    ) -> None:
        """Bring the rows that stand in these tables already, by default in all whose changes are captured.

        Goes on where it was cut off. ``told`` is called after each chunk with the table and its rows so far.
        """

    def ddl(self) -> str:
        """What ``create`` makes in the database, for people's own migrations."""


def manager_of(source: Source) -> Manager:
    """Raises ConfigError for an origin that has nothing to be managed."""
    made = getattr(source.origin, "manager", None)
    if made is None:
        raise ConfigError(f"source {source.name}: a {source.origin.kind} has nothing to create, drop or look at")
    manager: Manager = made()
    return manager


def adopt(source: Source, settings: Settings, reason: str) -> Ledger:
    """Go on with what comes from now on, whatever the log and the database have seen before. On record.

    Places get a new incarnation in front: a restored database gives old places to new facts. What stands in an outbox
    is relayed, but for what the log has: a restored outbox may hold events again that were deleted.
    """
    manager, channel = manager_of(source), KafkaChannel(source.log, settings)
    before, known = manager.look(source.name, settings).ledger, set[str]()
    floor = before.floor if before else ""

    def note(_: int, at: str, event_id: str | None) -> None:
        if at > floor and event_id is not None:
            known.add(event_id)

    try:
        log = channel.open()
        read, greatest = log_so_far(source, channel, note=note)
    finally:
        channel.close()
    incarnation = _next_incarnation(source, [each.state(source.name).at for each in read.values()], before)
    # Greater than all: a relay that is frozen in the middle of writing its ledger must not take this one back.  # U3
    term = max(greatest, before.term if before else 0) + 1
    places = {number: each.known.place for number, each in read.items()}
    ledger = Ledger(log, f"{incarnation:04x}-", places, term, incarnation)
    manager.adopt(source.name, settings, ledger, reason, known)
    return ledger


def _next_incarnation(source: Source, seen: Sequence[str], before: Ledger | None) -> int:
    """``seen``: places in the log. One that is no relay's was written by somebody else."""
    used = [int(at[:4], 16) for at in seen if _INCARNATION.match(at)] + ([before.incarnation] if before else [])
    found = max(used, default=-1) + 1
    if found > _MOST_INCARNATIONS:
        raise ConfigError(
            f"source {source.name}: it was adopted {found:,} times, as the log has it, and cannot be once more",
            fix="create the source under another name",
        )
    return found
