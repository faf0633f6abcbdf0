"""Appending from threads: ``append`` for one event, ``append_many`` for volume."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from time import monotonic

from pydantic import BaseModel

from logsync.appending import Item, prepare
from logsync.core.log import Log
from logsync.core.receipt import Receipt
from logsync.errors import AppendRejected, AppendReport
from logsync.log.bulk import BulkAppend
from logsync.log.bulk_client import BulkClient
from logsync.log.config import producer_config
from logsync.log.sending import AppendClient, Pending
from logsync.settings import Settings, load_settings


class Producer:
    """Appends to one log. Safe for threads, cheap to construct: it connects with the first append.

    A module may construct it before the process forks (``gunicorn --preload``), and even use it: each process
    opens a connection of its own. Close it, or use it in a ``with``, to wait for what is under way.
    """

    def __init__(self, log: Log, *, settings: Settings | None = None) -> None:
        """Raises ConfigError for settings that would break the promise. Opens nothing."""
        self.log = log
        self.settings = settings or load_settings()
        producer_config(self.settings)
        self._client: AppendClient | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._finalizer: weakref.finalize[..., Producer] | None = None
        self._bulk = BulkClient(log, self.settings)
        weakref.finalize(self, self._bulk.close)  # at the interpreter's exit, too
        _ALIVE.add(self)

    def append(
        self,
        event: BaseModel,
        *,
        id: str | None = None,
        time: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """Append one event. Returns when all in-sync replicas have it.

        ``id`` names it where it comes from (a webhook's own id), by default it is a new UUIDv7. It does not
        deduplicate: two appends with one id are two events. # A4
        ``time`` (timezone-aware) is when it happened, by default now.
        ``headers`` travel with it; ``traceparent`` and ``tracestate`` carry a W3C trace. ``timeout`` is in
        seconds, by default ``settings.append_timeout``; after that the client gives up in any case. # A3
        Raises AppendRejected (surely not in the log: answer 503 or 400, append again as you like) or
        AppendOutcomeUnknown (may be in the log: only its ``retry()`` sends it again without a double).
        """
        deadline = monotonic() + (self.settings.append_timeout if timeout is None else timeout)
        event_id, _, encoded, kind = prepare(self.log, event, headers, id, time)
        client = self.client(deadline)
        number = client.partition(encoded.key)
        pending = Pending(event_id, encoded, number, client.ends[number], type=kind)
        client.send(pending)
        client.reports.wait(pending, deadline)
        return client.receipt(pending)

    def append_many(
        self,
        events: Iterable[Item],
        *,
        progress: Callable[[int], None] | None = None,
        source: str | None = None,
        places: Iterable[int | str] | None = None,
    ) -> AppendReport:
        """Append events in order, as fast as Kafka takes them. An event with an id, a time or headers of its own comes
        in an ``Envelope``; with headers alone it may come as ``(event, headers)``.

        Takes from ``events`` only what is soon to be sent: a generator of millions needs no memory. Returns when
        all of them are in the log. ``progress`` is called now and then with how many are. The connection is its own,
        and is kept open for the next call for a minute.
        Raises AppendIncomplete at the first failure: it feeds no more, gives up what is queued, and its
        ``report`` says what became of each event. # A2

        ``source`` names a file, or what else can be read again in one order, and ``places`` says where in it each event
        stands: numbers or texts that ascend, by default the numbers from 0. Then a run that was killed is simply run
        again: it goes on after the last place that the log has, and each event counts once, in order, whatever happened
        (U1). Its id is made of source, place and value; a place that has another event now raises ConfigError, "the
        file changed", and of two runs at once one raises AppendRejected. An outage is waited for; LogUnavailable after
        30 seconds without progress.
        """
        if source is not None:
            from logsync.sources.files import append_file

            return append_file(self.log, self.settings, events, source=source, places=places, progress=progress)
        if places is not None:
            raise AppendRejected("places without a source", fix='name what is appended: source="import-2024"')
        deadline = monotonic() + self.settings.append_timeout
        if self._closed:
            raise self._is_closed()
        client = self._bulk.take(deadline - monotonic())
        return BulkAppend(self.log, self.settings, client, self._bulk.give_back).run(events, progress)

    @property
    def open_client(self) -> AppendClient | None:
        client = self._client
        return client if client is not None and client.usable else None

    def client(self, deadline: float) -> AppendClient:
        """The open client. The first caller opens it; no caller waits longer than until its ``deadline``."""
        client = self.open_client
        if client is not None:
            return client
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            raise AppendRejected("nothing was sent: Kafka did not answer in time", fix="try again later")
        try:
            if self._closed:
                raise self._is_closed()
            if self._client is None or not self._client.usable:
                if self._client is not None:
                    self._client.close(0.0)  # it met a fatal error, and so did everything that it had under way
                left = max(0.01, deadline - monotonic())
                # One append waits for no other: what comes while requests are in flight is batched all the same.
                client = AppendClient.open(self.log, self.settings, left, linger=0)
                self._client = client
                # Runs when this producer is forgotten, and at the interpreter's exit: bounded, and a no-op in a child.
                self._finalizer = weakref.finalize(self, client.close, self.settings.append_timeout)
            return self._client
        finally:
            self._lock.release()

    def close(self, timeout: float | None = None) -> None:
        """Wait up to ``timeout`` seconds for appends under way, then end. Appends after it raise AppendRejected.

        An append that is still waiting in another thread gets AppendOutcomeUnknown. May be called twice.
        """
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close(self.settings.append_timeout if timeout is None else timeout)
        self._bulk.close()
        if self._finalizer is not None:
            self._finalizer.detach()

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_closed(self) -> AppendRejected:
        return AppendRejected(f"the producer of {self.log.topic} is closed", fix="append before closing it")

    def after_fork(self) -> None:
        """Runs in a child process: a thread of the parent may have held the lock, and nobody here would release it."""
        self._lock = threading.Lock()
        self._client = None
        self._bulk.after_fork()


_ALIVE: weakref.WeakSet[Producer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for producer in list(_ALIVE):
        producer.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
