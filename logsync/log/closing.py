"""Consumers are closed within a bound, whatever the brokers do.

librdkafka's own close has none: it waits for the answer to every commit that is under way, and a broker that stands
still, or comes back with a certificate that has expired, never gives it (librdkafka#3740).
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

log = logging.getLogger("logsync.log")
CLOSE = 10.0
"""Seconds that closing may take: as long as Kafka may take for an answer (a commit, and that the member leaves)."""
_late: list[threading.Thread] = []


class Closable(Protocol):
    """A Consumer, or what holds one."""

    def close(self) -> None: ...


def close(*consumers: Closable) -> None:
    """Close one after the other. Returns after CLOSE seconds at the latest; never raises.

    A close that takes longer goes on in a thread that keeps no process alive. If the process ends first, only time is
    lost: the group gives the partitions away after session.timeout.ms, and the bookmark stays behind.
    """
    thread = threading.Thread(target=_close, args=(consumers,), name="logsync-close", daemon=True)
    thread.start()
    thread.join(CLOSE)
    if thread.is_alive():
        _late.append(thread)
        log.warning(
            "Kafka did not confirm that this member leaves; the group will notice by itself, and nothing is lost"
        )


def late() -> bool:
    """True while a consumer that did not close in time is still there.

    A process must then end by ``os._exit``: librdkafka's threads go on with TLS while exit() takes it down beneath
    them, and the process crashes instead of giving its exit code (seen, with handshakes that fail fast, in 5 of 60).
    """
    return any(thread.is_alive() for thread in _late)


def _close(consumers: tuple[Closable, ...]) -> None:
    for consumer in consumers:
        try:
            consumer.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed, too
            log.warning("closing a consumer failed", extra={"error": str(error)})
