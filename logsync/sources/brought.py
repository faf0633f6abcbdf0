"""What earlier terms brought into the log already, so that it is left out. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from logsync.core.codec import Encoded
from logsync.errors import ConfigError
from logsync.sources.contract import Fact
from logsync.sources.source import Source


class Brought(Protocol):
    """Knows what counts in the log of one source, above a place up to which all is there."""

    def begin(self, floor: str) -> None:
        """A term begins; the log is read anew. Every fact up to ``floor`` is in it."""

    def note(self, partition: int, at: str, event_id: str | None) -> None:
        """The record of an earlier term counts."""

    def complete(self) -> None:
        """All of the log was read up to this term's barriers."""

    def has(self, source: Source, fact: Fact, at: str) -> bool:
        """Is this fact in the log? Called in the origin's order. Raises ConfigError if the log tells another one."""


class AboveTheFloor:
    """Every place above the floor with its id: a mapping may put a fact into another partition by now. # U4"""

    def __init__(self) -> None:
        self._floor = ""
        self._ids: dict[str, str | None] = {}
        self._unmet: deque[str] = deque()

    def begin(self, floor: str) -> None:
        self._floor = floor
        self._ids.clear()
        self._unmet.clear()

    def note(self, partition: int, at: str, event_id: str | None) -> None:  # noqa: ARG002 - any of them
        if at > self._floor:
            self._ids[at] = event_id

    def complete(self) -> None:
        self._unmet = deque(sorted(self._ids))

    def has(self, source: Source, fact: Fact, at: str) -> bool:
        if at <= self._floor:
            return True
        if not self._unmet or at < self._unmet[0]:
            return False
        known = self._unmet.popleft()
        if at == known:
            found = self._ids.pop(known)
            if found == source.id_of(fact, at):
                return True
            what = f"at {at} it has fact {source.id_of(fact, at)} now, and the log has {found}"
        else:
            what = f"the log has a fact at {known}, and its next one now is at {at}"
        raise ConfigError(
            f"source {source.name}: its database was restored or replaced: {what}",
            fix=f"`logsync source adopt {source.address}` goes on with what comes from now on, on record",
        )


class LastOfEach:
    """The last fact of each partition: enough where a fact always has the same key, as in a file that is read again."""

    def __init__(self, partition: Callable[[bytes], int]) -> None:
        self._partition = partition
        self.last: dict[int, tuple[str, str | None]] = {}

    def begin(self, floor: str) -> None:  # noqa: ARG002 - there is none
        self.last.clear()

    def note(self, partition: int, at: str, event_id: str | None) -> None:
        self.last[partition] = (at, event_id)

    def complete(self) -> None:
        pass

    def has(self, source: Source, fact: Fact, at: str) -> bool:
        assert isinstance(fact.of, Encoded)
        known, event_id = self.last.get(self._partition(fact.of.key), ("", None))
        if at == known and event_id != fact.id:
            raise ConfigError(
                f"{source.name}: the file changed: at place {at} it has {fact.id} now, and the log has {event_id}",
                fix="append the changed file under another source name, if all of it is to be in the log again",
            )
        return at <= known
