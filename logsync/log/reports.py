"""Who takes the delivery reports of one client, which many threads may use.

A thread that waits for its own record polls for it: to be told by another thread costs two switches between threads,
a third of the time of an append. One thread polls at a time, or one could sit in its poll after another was handed its
report. A thread that leaves while more is under way leaves that to the client's own thread. That one also polls for
records that no thread waits for, and a few times per second for what the client has to say about its connections.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Producer

from logsync.log.config import log

if TYPE_CHECKING:
    from logsync.log.sending import Pending

TICK = 0.1
"""Seconds; how late a poll notices that it should stop."""


class Reports:
    """Takes the reports of ``kafka``. Safe for threads."""

    def __init__(self, kafka: Producer, last: Callable[[KafkaError], None]) -> None:
        """``last`` is told of fatal errors; what they ended has reports of its own."""
        self._kafka = kafka
        self._last = last
        self._polling = threading.Lock()
        self._left = threading.Event()

    def wait(self, record: Pending, deadline: float) -> bool:
        """Wait for its report until ``deadline`` (``time.monotonic``). False: it is not there."""
        while not record.reported:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._polling.acquire(blocking=False):
                self._poll_for(record, deadline)
            else:  # it is told; or that one leaves, and so does the client's own thread
                record.arrived.acquire(timeout=min(left, TICK))
        return True

    def _poll_for(self, record: Pending, deadline: float) -> None:
        try:
            while not record.reported and (left := deadline - time.monotonic()) > 0:
                self.take(min(left, TICK))
        finally:
            self._polling.release()
            if len(self._kafka):
                self._left.set()

    def leave(self) -> None:
        """Nobody waits for what was just sent: the client's own thread is to take its report."""
        self._left.set()

    def serve(self, stop: threading.Event) -> None:
        """The work of the client's own thread, until ``stop``."""
        while not stop.is_set():
            self._left.wait(TICK)
            self._left.clear()
            self._poll_if_free(0)
            while len(self._kafka) and not stop.is_set():
                self._poll_if_free(TICK)

    def _poll_if_free(self, timeout: float) -> None:
        if self._polling.acquire(timeout=TICK):
            try:
                self.take(timeout)
            finally:
                self._polling.release()

    def take(self, timeout: float) -> None:
        """Take the reports that are there, or wait up to ``timeout`` seconds for one. For a client of one thread."""
        try:
            self._kafka.poll(timeout)
        except KafkaException as error:  # a fatal error is raised by every poll
            self._last(error.args[0])
        except Exception:  # noqa: BLE001 - a callback's; it must not end an append of another thread
            log.exception("a delivery report could not be passed on")
