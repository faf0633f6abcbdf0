"""The log as a writer of a source sees it: what it appends, it reads back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from logsync.core.codec import Encoded
from logsync.core.event import Record
from logsync.core.position import LogIdentity
from logsync.errors import LogsyncError


class Stretch(NamedTuple):
    """What was read back of one partition."""

    partition: int
    records: list[Record]
    next_offset: int
    """Everything before it was read."""


class Failure(NamedTuple):
    """What went wrong with a record that was sent; it may be in the log all the same."""

    error: LogsyncError
    """AppendRejected: Kafka refuses the record itself, and will again."""
    partition: int


class Channel(Protocol):
    """One topic, on one thread. Reads also what stands in open transactions: a stranger's would hide our own records.

    Every method raises LogUnavailable when Kafka does not answer, and ConfigError for what a person has to mend.
    """

    def open(self) -> LogIdentity:
        """Connect with a producer of its own. May be called again after an error: what was under way is given up then,
        and may still arrive.
        """

    def identity(self) -> LogIdentity:
        """Which log this is now."""

    def bounds(self) -> dict[int, tuple[int, int]]:
        """By partition: its first offset, and the next to be written."""

    def records(self, partition: int, start: int, stop: int) -> Iterator[Record]:
        """The records in [start, stop); where nothing can be read, one with a fault."""

    def partition(self, key: bytes) -> int:
        """Where every event of this key stands."""

    def send(self, partition: int, encoded: Encoded) -> bool:
        """Hand a record over. False: there is no room, try again later. Raises AppendRejected if it is unfit."""

    def failure(self) -> Failure | None:
        """What went wrong first since ``open``, if anything did."""

    def follow(self, places: Mapping[int, int]) -> None:
        """Read back from these offsets on."""

    def read_back(self, timeout: float) -> list[Stretch]:
        """What has come since the last call, in log order. Waits up to ``timeout`` seconds for the first record."""

    def close(self) -> None:
        """Let go. Never raises, may be called twice."""
