"""The client of ``append_many``, kept open between calls: to connect takes longer than to append some thousand events.

It is not the client of single appends. A run that fails gives up what is queued, and must not take other threads'
appends along; and it waits for more events to fill a batch, which one append never does. For the same reason two runs
at once never share a client: one that finds it taken opens another, and one of them is kept.
"""

from __future__ import annotations

import threading

from logsync.core.log import Log
from logsync.log.sending import AppendClient
from logsync.settings import Settings

IDLE = 60.0
"""Seconds that a client is kept without a run: it holds connections, and asks for the log's ends now and then."""
_LINGER = 5  # milliseconds that a batch may wait for more


class BulkClient:
    """At most one idle client. Safe for threads."""

    def __init__(self, log: Log, settings: Settings) -> None:
        """Opens nothing."""
        self._log = log
        self._settings = settings
        self._idle: AppendClient | None = None
        self._timer: threading.Timer | None = None
        self._closed = False
        self._lock = threading.Lock()

    def take(self, timeout: float) -> AppendClient:
        """A client for one run. Raises AppendRejected if Kafka does not answer within ``timeout`` seconds."""
        client = self._taken()
        if client is not None:
            client.reports.take(0)  # what it had to say about its connections, while nobody listened
            if client.usable:
                return client
            client.close(0.0)
        return AppendClient.open(self._log, self._settings, timeout, linger=_LINGER, polls=False)

    def give_back(self, client: AppendClient) -> None:
        """Keep ``client``, which has nothing under way, for the next run; for no longer than IDLE."""
        with self._lock:
            kept = self._idle is None and client.usable and not self._closed and self._kept(client)
        if not kept:
            client.close(0.0)

    def close(self) -> None:
        """Keep nothing from now on. A run that is under way ends in its own time."""
        self._closed = True
        client = self._taken()
        if client is not None:
            client.close(0.0)

    def after_fork(self) -> None:
        """In a child: the client's connections are the parent's, and so was the lock, perhaps held."""
        self._lock = threading.Lock()
        self._idle = self._timer = None

    def _kept(self, client: AppendClient) -> bool:
        timer = threading.Timer(IDLE, self._give_up)
        timer.daemon = True
        self._idle, self._timer = client, timer
        try:
            timer.start()
        except RuntimeError:  # the interpreter ends, and starts no thread any more
            self._idle = self._timer = None
        return self._idle is not None

    def _taken(self) -> AppendClient | None:
        with self._lock:
            client, timer = self._idle, self._timer
            self._idle = self._timer = None
        if timer is not None:
            timer.cancel()
        return client

    def _give_up(self) -> None:
        """Called by the timer, perhaps in the moment in which the client is taken, or is back under another timer."""
        with self._lock:
            if self._timer is not threading.current_thread():
                return
            client, self._idle, self._timer = self._idle, None, None
        if client is not None:
            client.close(0.0)
