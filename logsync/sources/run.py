"""A relay as a process: troubles that time mends, signals, health, and the way to "until the end"."""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack

from logsync.core.policy import Retry, disposition
from logsync.errors import LogsyncError, PositionConflict
from logsync.observe.listening import Listening
from logsync.observe.server import Health
from logsync.settings import Settings
from logsync.signals import stopped_by_signals
from logsync.sources.kafka import KafkaChannel
from logsync.sources.relay import Relay
from logsync.sources.source import Source
from logsync.sources.status import ObservedRelay, RelayState

log = logging.getLogger("logsync.relay")
_SAY_EVERY = 30.0  # seconds between two lines about the same outage
_RIVALS_WITHIN = 60.0  # seconds in which other relays add up
_REPLACED_WAIT = 2.0  # seconds before one that was replaced tries again
_LAST = 5.0
"""Seconds that a relay takes at its end to read back and confirm what is under way. What is left comes again."""
_TICK = 0.1


def run_relay(source: Source, settings: Settings, *, until_end: bool = False, health: Listening | None = None) -> None:
    """Relay on this thread until SIGTERM or SIGINT; with ``until_end``, until the origin's present end is confirmed.

    An outage of the database or of Kafka is waited for. Raises LogsyncError for what a person has to mend. The first
    signal reads back and confirms what is under way, for a few seconds; a second one ends the process at once. Nothing
    is lost either way: what was not confirmed comes again.
    """
    relay = Relay(source, KafkaChannel(source.log, settings), settings)
    with ExitStack() as stack:
        if health is not None:
            observed = ObservedRelay(source.name, relay.status)
            stack.enter_context(Health(observed, health, bound=2 * settings.store_timeout + 60))
        stack.enter_context(stopped_by_signals(relay, settings.drain_timeout))
        stack.callback(relay.close)
        _turn(relay, source, until_end=until_end)
        relay.status.state = RelayState.STOPPED
    log.info("stopped", extra={"source": source.name, "relayed": relay.status.relayed})


def _turn(relay: Relay, source: Source, *, until_end: bool) -> None:
    attempt, said_at, goal, end_by = 0, float("-inf"), "", float("inf")
    rivals = list[float]()
    while True:
        if relay.stopping:
            end_by = min(end_by, time.monotonic() + _LAST)
            if relay.through or time.monotonic() >= end_by:
                return
        try:
            relay.step()
        except LogsyncError as error:
            now = time.monotonic()
            attempt += 1
            if isinstance(error, PositionConflict):
                rivals = [*(at for at in rivals if now - at < _RIVALS_WITHIN), now]
            verdict = disposition(error, attempt=attempt, conflicts=len(rivals), chance=random.random())
            relay.close()
            if not isinstance(verdict, Retry):
                raise
            if relay.stopping:
                return
            relay.status.state, relay.status.reason = RelayState.WAITING, error.message
            relay.status.retries += 1
            if attempt == 1 or now - said_at >= _SAY_EVERY:
                said_at = now
                extra = {"source": source.name, "attempt": attempt, "why": str(error)}
                log.warning("waiting, nothing is lost", extra=extra)
            pause = _REPLACED_WAIT if isinstance(error, PositionConflict) else verdict.after
            until = now + pause
            while (left := until - time.monotonic()) > 0 and not _told_to_stop(relay):
                time.sleep(min(_TICK, left))
            continue
        if relay.status.state is RelayState.RUNNING:
            attempt = 0
            if until_end:
                goal = goal or source.origin.now()
                if relay.status.confirmed >= goal:
                    return


def _told_to_stop(relay: Relay) -> bool:
    return relay.stopping  # another thread sets it
