"""A relay as a process: troubles that time mends, signals, health, and the way to "until the end"."""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack

from logsync.backoff import Backoff, Conflicts
from logsync.errors import LogsyncError
from logsync.observe.listening import Listening
from logsync.observe.server import Health
from logsync.settings import Settings
from logsync.signals import stopped_by_signals
from logsync.sources.kafka import KafkaChannel
from logsync.sources.relay import Relay
from logsync.sources.source import Source
from logsync.sources.status import ObservedRelay, RelayState

log = logging.getLogger("logsync.relay")
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
    conflicts = Conflicts(_RIVALS_WITHIN, _REPLACED_WAIT, lambda error, *_: error)
    backoff = Backoff({"source": source.name}, log, conflicts, time.monotonic, random.random)
    goal, end_by = "", float("inf")
    while True:
        if relay.stopping:
            end_by = min(end_by, time.monotonic() + _LAST)
            if relay.through or time.monotonic() >= end_by:
                return
        try:
            with source.addressing():
                relay.step()
                if until_end and not goal and relay.status.state is RelayState.RUNNING:
                    goal = source.origin.now()
        except LogsyncError as error:
            relay.close()
            backoff.obey(error)
            relay.status.state, relay.status.reason = RelayState.WAITING, error.message
            relay.status.retries += 1
            while backoff.left and not _told_to_stop(relay):
                time.sleep(min(_TICK, backoff.left))
            continue
        if relay.status.state is RelayState.RUNNING:
            backoff.over()
            if goal and relay.status.confirmed >= goal:
                return


def _told_to_stop(relay: Relay) -> bool:
    return relay.stopping  # another thread sets it
