"""A file, or what else can be read again in one order, enters the log once: ``append_many(source=..., places=...)``.

The same go-back-N as a relay's, over an origin that keeps nothing: the log alone tells what is there. So a run that was
killed is simply run again.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import Any

from logsync.appending import Item, enveloped, prepare
from logsync.core.log import Log
from logsync.errors import (
    AppendRejected,
    AppendReport,
    ConfigError,
    LogUnavailable,
    PositionConflict,
)
from logsync.settings import Settings
from logsync.sources.brought import LastOfEach
from logsync.sources.channel import Channel
from logsync.sources.contract import Fact, Ledger, Portion
from logsync.sources.kafka import KafkaChannel
from logsync.sources.relay import Relay
from logsync.sources.source import Source, fact_id

_DIGITS = 19  # of a place that is a number
_PLACE = re.compile("[!-~]{1,150}")
_PATIENCE = 30.0
"""Seconds for which an outage of Kafka is waited for without any progress, unless the timeout of appends is longer."""
_PAUSE = 0.2
_FILLING = 0.5
"""Seconds for which one call collects events that come slowly: those before them enter the log meanwhile."""


class _File:
    """An Origin over events that come in order. What is not confirmed is kept, to be given again."""

    kind = "file"

    def __init__(
        self, log: Log, source: str, items: Iterable[Item], places: Iterable[int | str], channel: Channel
    ) -> None:
        self._log, self._source, self._channel = log, source, channel
        self._items, self._places = iter(items), iter(places)
        self._unconfirmed: deque[Fact] = deque()
        self._given = 0  # of those
        self._last = ""
        self.taken = 0
        self.ended = False

    @property
    def through(self) -> bool:
        return self.ended and not self._unconfirmed

    def open(self, source: str, settings: Any) -> None:  # noqa: ARG002 - nothing to connect to
        self._given = 0

    def holds(self) -> bool:
        return True  # nothing holds a file: a rival's greater term ends this run

    def ledger(self) -> Ledger:
        return Ledger(self._channel.identity(), "", {})

    def keep(self, ledger: Ledger, ids: Sequence[str] = ()) -> None:
        pass

    def skips(self) -> Mapping[str, str]:
        return {}

    def now(self) -> str:
        return self._last

    def take(self, limit: int, timeout: float) -> Portion:  # noqa: ARG002 - it is there, or there is none
        until = time.monotonic() + _FILLING
        while len(self._unconfirmed) < self._given + limit and not self.ended:
            self._read_one()
            if time.monotonic() >= until:
                break
        facts = list(islice(self._unconfirmed, self._given, self._given + limit))
        self._given += len(facts)
        return Portion(facts, facts[-1].at if facts else None)

    def confirm(self, end: str) -> None:
        while self._unconfirmed and self._unconfirmed[0].at <= end:
            self._unconfirmed.popleft()
            self._given -= 1

    def close(self) -> None:
        pass

    def _read_one(self) -> None:
        try:
            item = next(self._items)
        except StopIteration:
            self.ended = True
            return
        try:
            place = _written(next(self._places))
        except StopIteration:
            raise AppendRejected(f"there are fewer places than events: none for event {self.taken}") from None
        if place <= self._last:
            raise AppendRejected(
                f"places must ascend: after {self._last} comes {place}, for event {self.taken}",
                fix="give the number of the line, or what else grows from event to event",
            )
        given = enveloped(item)
        made = prepare(self._log, given.event, given.headers, given.id or "0", given.time)
        event_id, encoded = made.id, made.encoded
        if not given.id:
            event_id = fact_id(f"{self._source} {place} {(encoded.value or b'').hex()}")
            encoded = self._log.codec.renamed(encoded, event_id)
        self._last, self.taken = place, self.taken + 1
        self._unconfirmed.append(Fact(place, encoded, event_id, made.time))


def _written(place: int | str) -> str:
    """A place as it stands in the log, ordered as a text. Raises AppendRejected."""
    if type(place) is int and 0 <= place < 10**_DIGITS:
        return f"{place:0{_DIGITS}d}"
    if isinstance(place, str) and _PLACE.fullmatch(place):
        return place
    raise AppendRejected(
        f"{place!r:.200} is no place: expected a number from 0, or up to 150 printable ASCII characters without spaces"
    )


def append_file(
    log: Log,
    settings: Settings,
    events: Iterable[Item],
    *,
    source: str,
    places: Iterable[int | str] | None = None,
    progress: Callable[[int], None] | None = None,
    channel: Channel | None = None,
) -> AppendReport:
    """See ``Producer.append_many`` with ``source``."""
    channel = channel or KafkaChannel(log, settings)
    file = _File(log, source, events, count() if places is None else places, channel)
    brought = LastOfEach(channel.partition)
    relay = Relay(Source(source, log, file), channel, settings, brought=brought, confirm_every=0)
    patience = max(_PATIENCE, settings.append_timeout)
    moved, told = time.monotonic(), 0
    try:
        while not file.through:
            before = relay.status.relayed
            try:
                relay.step()
            except LogUnavailable:
                relay.close()
                if time.monotonic() - moved > patience:
                    raise
                time.sleep(_PAUSE)
            except PositionConflict as error:
                raise AppendRejected(
                    f"another run appends {source} at this moment, and goes on with it: {error.message}",
                    fix="let it end; then this one may run again",
                ) from error
            if relay.status.relayed != before:
                moved = time.monotonic()
                if progress is not None and relay.status.relayed - told >= 1_000:
                    told = relay.status.relayed
                    progress(told)
        beyond = max((at for at, _ in brought.last.values()), default="").partition("-")[2]
        if beyond > file.now():
            raise ConfigError(
                f"{source}: the file changed: it ends at place {file.now() or '(empty)'}, and the log has {beyond}",
                fix="append the changed file under another source name, if all of it is to be in the log again",
            )
    finally:
        relay.close()
    if progress is not None:
        progress(relay.status.relayed)
    return AppendReport(relay.status.relayed, file.taken, relay.last, {}, {})
