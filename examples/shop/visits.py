"""What a visitor has just ordered: receipts, kept for a minute, so that the next pages can wait for them.

They stay in this process. In a cookie they would tell everybody who looks how much the shop sells: an offset counts the
events of the log. The cookie holds an unguessable name and nothing else. A visitor who is not known here (another
process, a restart) is shown the pages as they are, a moment late.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping

from logsync import Receipt
from logsync.reading import Seen, State, merge

COOKIE = "visit"


class Visits:
    """The receipts of this process, of at most ``limit`` visitors and none older than ``keep`` seconds."""

    def __init__(self, *, limit: int = 10_000, keep: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._keep, self._clock = limit, keep, clock
        self._visits: dict[str, list[tuple[float, Receipt]]] = {}  # the one that ordered last is the last
        self.latest: Receipt | None = None
        """The last order that anybody placed here."""

    def note(self, cookies: Mapping[str, str], receipt: Receipt) -> str:
        """Keep the receipt; returns the name that the visitor's cookie has to have."""
        name = cookies.get(COOKIE, "")
        known = self._visits.pop(name, None)
        if known is None:
            name, known = secrets.token_urlsafe(24), []
        while len(self._visits) >= self._limit:
            del self._visits[next(iter(self._visits))]
        self._visits[name] = [*known[-99:], (self._clock(), receipt)]
        self.latest = receipt
        return name

    def receipts(self, cookies: Mapping[str, str]) -> tuple[Receipt, ...]:
        """What this visitor ordered in the last minute."""
        found = self._visits.get(cookies.get(COOKIE, ""), [])
        return merge(receipt for at, receipt in found if self._clock() - at <= self._keep)


def in_words(seen: Seen) -> str:
    """What a page says about an order that it does not show yet; empty if it shows it."""
    if seen.fresh:
        return ""
    if seen.state is State.BEHIND:
        time_left = "" if seen.seconds is None else f", about {max(1, round(seen.seconds))} s"
        return f"it is {seen.events:,} event{'' if seen.events == 1 else 's'} behind{time_left}"
    if seen.state is State.PARKED:
        return "something about it needs a person, and we are told of that"
    return "it is being filled anew" if seen.state is State.REBUILDING else "it does not answer at the moment"
