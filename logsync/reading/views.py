"""What a web app holds to read its own writes: it asks stores how far they are, and never writes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Protocol

from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError
from logsync.reading.brief import viewer
from logsync.reading.judging import Receipts, to_ask
from logsync.reading.poller import Answer, Poller, Waiter
from logsync.reading.seen import Seen, worst
from logsync.settings import Settings, load_settings


class Views:
    """Answers whether sinks have applied an event: ``Views(db, cache, search)``, named by their sinks' names.

    Safe for threads and event loops, and for a fork. Opens one connection per store and process when it is first
    asked, and lets go of it some seconds after nobody waits any more. Nothing here raises because a store is late or
    does not answer: that is a ``Seen``. What is raised is what a person has to mend: ConfigError (an unknown sink,
    wrong rights, a store of another environment, a receipt of another topic) and LogIdentityError (a receipt of a topic
    of the same name that was deleted and made again).
    """

    def __init__(self, *sinks: Sink, settings: Settings | None = None) -> None:
        """Raises ConfigError for a store that cannot be looked at. Opens nothing."""
        self.settings = settings or load_settings()
        self._sinks = {sink.name: sink for sink in sinks}
        environment = self.settings.environment
        self._pollers = {sink.name: Poller(sink, environment, viewer(sink, self.settings)) for sink in sinks}

    def wait(self, receipts: Receipts, *sinks: str, timeout: float = 2.0, searchable: bool = False) -> Seen:
        """Wait until all of ``sinks`` have settled the event, for ``timeout`` seconds at most.

        ``receipts``: what ``append`` returned, or several of them. The answer is about the event and the sink that are
        furthest from APPLIED. ``searchable``: wait until searches find it, too, where a store has searches that are
        late. It costs the store a refresh, shared by all who wait.
        """
        answers = [_Sync() for _ in sinks]
        waiting = self._begin(receipts, sinks, timeout, answers, searchable=searchable)
        try:
            return worst([one.wait(waiter, name) for one, (name, waiter) in zip(answers, waiting, strict=True)])
        finally:
            self._leave(waiting)

    async def seen(self, receipts: Receipts, *sinks: str, timeout: float = 2.0, searchable: bool = False) -> Seen:
        """``wait`` for asyncio."""
        answers = [_Async() for _ in sinks]
        waiting = self._begin(receipts, sinks, timeout, answers, searchable=searchable)
        try:
            return worst([await one.wait(waiter, name) for one, (name, waiter) in zip(answers, waiting, strict=True)])
        finally:
            self._leave(waiting)

    def freshest(self, receipts: Receipts, *sinks: str, timeout: float = 0.2) -> str | None:
        """The first of ``sinks`` whose store a reader finds the event in now, or None: "the cache, else the database".

        All are asked at once, each with one look; one that does not answer within ``timeout`` seconds does not count.
        A sink that passes the event over counts as well: for it, the store is as fresh as it will be.
        """
        answers = [_Sync() for _ in sinks]
        waiting = self._begin(receipts, sinks, timeout, answers, once=True)
        try:
            for one, (name, waiter) in zip(answers, waiting, strict=True):
                if one.wait(waiter, name).fresh:
                    return name
            return None
        finally:
            self._leave(waiting)

    async def freshest_async(self, receipts: Receipts, *sinks: str, timeout: float = 0.2) -> str | None:
        """``freshest`` for asyncio."""
        answers = [_Async() for _ in sinks]
        waiting = self._begin(receipts, sinks, timeout, answers, once=True)
        try:
            for one, (name, waiter) in zip(answers, waiting, strict=True):
                if (await one.wait(waiter, name)).fresh:
                    return name
            return None
        finally:
            self._leave(waiting)

    def close(self) -> None:
        """Let go of all connections. Asking again opens them again."""
        for poller in self._pollers.values():
            poller.close()

    def __enter__(self) -> Views:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(
        self, receipts: Receipts, names: Sequence[str], timeout: float, answers: Sequence[_Told], *,
        searchable: bool = False, once: bool = False,
    ) -> list[tuple[str, Waiter]]:  # fmt: skip
        """A waiter for each sink. What the receipts alone tell is answered before this returns."""
        if not names:
            raise ConfigError("no sink is named", fix=f"name one of: {', '.join(sorted(self._sinks))}")
        given = [receipts] if isinstance(receipts, Receipt) else list(dict.fromkeys(receipts))
        deadline, begun = monotonic() + timeout, list[tuple[str, Waiter]]()
        for name in names:
            if name not in self._sinks:
                raise ConfigError(f"no sink {name!r} in these views", fix=f"known: {', '.join(sorted(self._sinks))}")
        told = [to_ask(given, self._sinks[name]) for name in names]
        for name, answer, (asked, seen) in zip(names, answers, told, strict=True):
            waiter = Waiter(asked, deadline, answer.tell, searchable, once)
            begun.append((name, waiter))
            if seen is None:
                self._pollers[name].add(waiter)
            else:
                answer.tell(seen)
        return begun

    def _leave(self, waiting: Iterable[tuple[str, Waiter]]) -> None:
        for name, waiter in waiting:
            self._pollers[name].leave(waiter)


def _raised(answer: Answer) -> Seen:
    if isinstance(answer, LogsyncError):
        raise answer
    return answer


class _Told(Protocol):
    """Where one answer arrives."""

    def tell(self, answer: Answer, /) -> None: ...


class _Sync:
    """For a thread."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._answer: Answer | None = None

    def tell(self, answer: Answer) -> None:
        self._answer = answer
        self._arrived.set()

    def wait(self, waiter: Waiter, sink: str) -> Seen:
        self._arrived.wait(max(0.0, waiter.deadline - monotonic()))
        return waiter.at_end(sink) if self._answer is None else _raised(self._answer)


class _Async:
    """For a coroutine of the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Answer] = self._loop.create_future()

    def tell(self, answer: Answer) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, answer)

    def _set(self, answer: Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    async def wait(self, waiter: Waiter, sink: str) -> Seen:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, waiter.deadline - monotonic())):
                return _raised(await self._answer)
        return waiter.at_end(sink)
