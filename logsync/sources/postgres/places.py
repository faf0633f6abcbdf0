"""A fact's place in the write-ahead log, as a text that orders as the facts do; and how far the log is confirmed."""

from __future__ import annotations

NOWHERE = "0000000000000000.0000000000000000.00000000"
"""Before every fact."""


def within(final: int) -> str:
    """What the places of all facts of a transaction begin with. ``final``: the LSN of its commit, told by Begin.

    The commit's end would be what is confirmed, but it comes too late: behind the last fact.
    """
    return f"{final:016x}."


def end_of(lsn: int) -> str:
    """The place behind all facts of the transactions that end at or before ``lsn``, and before all later ones."""
    return f"{lsn:016x}.0000000000000000.00000000"


def lsn_of(place: str) -> int:
    """The LSN that ``place`` begins with. Raises ValueError."""
    return int(place.partition(".")[0], 16)


def lsn_in(at: str) -> int:
    """The LSN of a place as it stands in the log, behind its incarnation; 0 if there is none. Raises ValueError."""
    place = at.rpartition("-")[2]
    return lsn_of(place) if place else 0


def shown(lsn: int) -> str:
    """As Postgres writes it: 0/1A2B3C."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def read(text: str) -> int:
    """What Postgres wrote. Raises ValueError."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class Confirmed:
    """The LSN up to which nothing is needed any more.

    The end of a transaction, once all its facts are confirmed. Where nothing of ours is pending, everything that the
    server has looked through: a busy neighbour's changes must not keep the write-ahead log from being removed. The
    server is told ``lsn`` and no more, and every step of it is written down first: see ``ledger.passed``.
    """

    def __init__(self, lsn: int) -> None:
        self.lsn = lsn
        self._last = 0
        self._idle_after = self._idle = 0

    def ended(self, end: int) -> None:
        """A transaction with facts was read up to its end."""
        self._last = end

    def looked_through(self, end: int) -> None:
        """Up to ``end`` there is nothing but what was read. Outside of transactions only."""
        self._idle_after, self._idle = self._last, end

    def confirm(self, end: int) -> None:
        """All facts of transactions that end at or before ``end`` are confirmed."""
        self.lsn = max(self.lsn, end)

    @property
    def free(self) -> int:
        """Up to here nothing of ours is pending: it may be confirmed."""
        return max(self.lsn, self._idle) if self.lsn >= self._idle_after else self.lsn

    @property
    def pending(self) -> bool:
        """Was anything read that is not confirmed?"""
        return self.lsn < self._last
