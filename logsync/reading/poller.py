"""One thread per sink and process looks at the store for everybody who waits.

A thousand waiters cost one look at a time. Callers, on threads or event loops, hand in what they wait for and are told
by a callback; none of them ever blocks on a store, so their timeouts hold while a store hangs. The thread ends when
nobody has waited for a while. Nothing of it survives a fork.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.core.view import Searches, Sight, View
from logsync.errors import LogsyncError, StoreError
from logsync.reading.judging import answer, asked_for
from logsync.reading.pace import JITTER, Pace, between_looks
from logsync.reading.seen import Seen, State

log = logging.getLogger("logsync.reading")

REFRESH_EVERY = 0.2
"""Seconds between two refreshes: each makes a search engine write a segment."""
ENDS_AFTER = 5.0
"""Seconds without a waiter after which the thread closes its connection and ends."""
FRESH = 1.0
"""Seconds for which an answer may be told after the store fell silent."""

Answer = Seen | LogsyncError


@dataclass(eq=False, slots=True)
class Waiter:
    """Somebody who waits for events of one log in one store."""

    receipts: Sequence[Receipt]
    deadline: float
    """``time.monotonic()`` after which nobody listens any more."""
    done: Callable[[Answer], None]
    """Called once, on the poller's thread, unless the waiter has left. Must not raise and not block."""
    searchable: bool = False
    once: bool = False
    """The first answer will do, whatever it is."""
    began: float = field(default_factory=monotonic)
    last: Seen | None = None
    told: float = 0.0
    """When ``last`` was told."""

    def at_end(self, sink: str) -> Seen:
        """What is known when time has run out."""
        if self.last is not None and monotonic() - self.told <= FRESH:
            return self.last
        return Seen(State.UNREACHABLE, sink, "it did not answer in time")


class Poller:
    """Looks at one sink's store. Safe for threads; opens nothing before somebody waits."""

    def __init__(self, sink: Sink, environment: str, view: Callable[[], View]) -> None:
        self._sink, self._environment, self._make_view = sink, environment, view
        self._pace = Pace()
        self._inherited: list[View] = []  # of the parent process: closing one would say goodbye on the parent's line
        self._view: View | None = None  # the last one that was made
        self._reset()
        _ALIVE.add(self)

    def _reset(self) -> None:
        self._woken = threading.Condition()
        self._waiters: set[Waiter] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, waiter: Waiter) -> None:
        """Look for this one, too, from now on."""
        with self._woken:
            self._waiters.add(waiter)
            self._closed = False
            if self._thread is None:
                name = f"logsync-reading-{self._sink.name}"
                self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._thread.start()
            self._woken.notify()

    def leave(self, waiter: Waiter) -> None:
        """This one does not wait any longer. May be called at any time."""
        with self._woken:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Let the thread end. Those who still wait hear nothing more, and time out. ``add`` begins anew."""
        with self._woken:
            self._closed = True
            self._woken.notify()

    def _serve(self) -> None:
        """The work of the thread."""
        looked = refreshed = float("-inf")
        view: View | None = None
        while (waiters := self._next(looked)) is not None:
            looked = monotonic()
            try:
                if view is None:
                    view = self._view = self._make_view()
                sight = view.look(*asked_for(receipt for waiter in waiters for receipt in waiter.receipts))
            except LogsyncError as error:
                self._failed(waiters, error)
                continue
            except Exception as error:  # whoever waits must hear of it
                log.exception("a look at the store of sink %s failed", self._sink.name)
                self._failed(waiters, LogsyncError(f"a look at the store failed: {type(error).__name__}"))
                continue
            self._pace.note(looked, sight.positions)
            applied = self._tell(waiters, sight, searches=isinstance(view, Searches))
            if applied and isinstance(view, Searches) and monotonic() - refreshed >= REFRESH_EVERY:
                refreshed = monotonic()
                self._refresh(view, applied)
        if view is not None:
            view.close()

    def _next(self, looked: float) -> list[Waiter] | None:
        """Those to look for now; waits until there are any and it is time. None: the thread has to end."""
        jitter = random.uniform(*JITTER)
        with self._woken:
            idle_until = monotonic() + ENDS_AFTER
            while not self._closed:
                now = monotonic()
                self._waiters = {waiter for waiter in self._waiters if waiter.deadline > now}
                if self._waiters:
                    youngest = now - max(waiter.began for waiter in self._waiters)
                    due = looked + between_looks(youngest) * jitter
                    if due <= now:
                        return list(self._waiters)
                    self._woken.wait(due - now)
                elif now >= idle_until:
                    break
                else:
                    self._woken.wait(idle_until - now)
            self._thread = None
            return None

    def _tell(self, waiters: Sequence[Waiter], sight: Sight, *, searches: bool) -> list[Waiter]:
        """Tell what was seen. Returns those for whom searches have to be asked for yet."""
        left, now = [], monotonic()
        for waiter in waiters:
            try:
                seen = answer(waiter.receipts, self._sink, self._environment, sight, self._pace)
            except LogsyncError as error:
                self._answer(waiter, error)
                continue
            waiter.last, waiter.told = seen, now
            if waiter.searchable and searches and seen.state is State.APPLIED:
                left.append(waiter)
            elif seen.settled or waiter.once:
                self._answer(waiter, seen)
        return left

    def _refresh(self, view: Searches, applied: Sequence[Waiter]) -> None:
        """Every search finds what was applied before this."""
        try:
            view.refresh()
        except LogsyncError as error:
            self._failed(applied, error)
            return
        for waiter in applied:
            self._answer(waiter, Seen(State.SEARCHABLE, self._sink.name))

    def _failed(self, waiters: Sequence[Waiter], error: LogsyncError) -> None:
        """An outage passes, and who has time may see that; of everything else people have to hear."""
        for waiter in waiters:
            if not isinstance(error, StoreError):
                self._answer(waiter, error)
            else:
                waiter.last, waiter.told = Seen(State.UNREACHABLE, self._sink.name, error.message), monotonic()
                if waiter.once:
                    self._answer(waiter, waiter.last)

    def _answer(self, waiter: Waiter, told: Answer) -> None:
        with self._woken:
            if waiter not in self._waiters:
                return  # it left
            self._waiters.discard(waiter)
        waiter.done(told)

    def after_fork(self) -> None:
        """In a child the thread does not exist, and the connection is the parent's."""
        if self._view is not None:
            self._inherited.append(self._view)
            self._view = None
        self._reset()


_ALIVE: weakref.WeakSet[Poller] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for poller in list(_ALIVE):
        poller.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
