"""The log, as commands read it: in its own format and beside any group."""

from __future__ import annotations

from collections import deque

from logsync.core.codec import EventTypes
from logsync.core.event import Record
from logsync.core.position import LogIdentity
from logsync.log.lookup import ANSWER, Lookup, Span
from logsync.log.topic import identify as identify_topic
from logsync.settings import Settings


def reading(
    log: EventTypes,
    settings: Settings,
    *,
    group_id: str = "logsync-lookup",
    timeout: float = ANSWER,
    uncommitted: bool = False,
) -> Lookup:
    """Read-only access to the records of ``log``; use it in a ``with``. The options are those of ``Lookup``."""
    return Lookup(settings, log.topic, codec=log.codec, group_id=group_id, timeout=timeout, uncommitted=uncommitted)


def identify(log: EventTypes, settings: Settings) -> LogIdentity:
    """Which log the topic's name stands for now. Raises ConfigError (no such topic), LogUnavailable."""
    return identify_topic(settings, log.topic)


def last_before(lookup: Lookup, partition: int, offset: int, span: Span) -> Record | None:
    """The last record below ``offset``. Kafka reads forward only and offsets have holes: look back in growing steps."""
    stop, width = min(offset, span.high), 1
    while stop > span.low:
        start = max(span.low, stop - width)
        found = deque(lookup.scan(progress=lambda _, __: None, spans={partition: Span(start, stop)}), maxlen=1)
        if found:
            return found[0]
        stop, width = start, width * 10
    return None
