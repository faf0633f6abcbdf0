"""SIGTERM and SIGINT end a process in order, within a bound, whatever its thread does meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger("logsync.worker")
_STOP = (signal.SIGTERM, signal.SIGINT)

EXIT_DRAIN_TIMEOUT = 75
"""The time limit for shutdown passed and the process ended at once. Nothing is lost: the position decides."""


class Stoppable(Protocol):
    """A loop that ends when it is told to."""

    stopping: bool

    def stop(self) -> None:
        """May be called from any thread."""


@contextmanager
def stopped_by_signals(loop: Stoppable, drain_timeout: float) -> Iterator[None]:
    """SIGTERM and SIGINT stop the loop, within ``drain_timeout`` seconds whatever its thread does meanwhile.

    Python runs signal handlers between two bytecodes of the main thread, and that thread may sit in a call of a
    client library for long. So the handlers do nothing; a thread of its own reads which signals arrived.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals; a loop that runs elsewhere is stopped by its ``stop``
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in _STOP}
    fd = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard, loop, drain_timeout), name="logsync-signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        told.close()


def _listen(heard: socket.socket, loop: Stoppable, drain_timeout: float) -> None:
    with heard:
        while numbers := heard.recv(64):  # empty: the loop has ended
            for number in numbers:
                if number not in _STOP:
                    continue
                if loop.stopping:
                    os._exit(128 + number)  # asked twice: at once. The store rolls back what it did not commit.
                loop.stop()
                timer = threading.Timer(drain_timeout, _give_up)
                timer.daemon = True
                timer.start()


def _give_up() -> None:
    # From a thread of its own: a log line can block on a full pipe, and this must end whatever happens.
    said = threading.Thread(target=log.error, args=("LOGSYNC_DRAIN_TIMEOUT has passed: ending now; nothing is lost",))
    said.daemon = True
    said.start()
    said.join(0.5)
    os._exit(EXIT_DRAIN_TIMEOUT)
