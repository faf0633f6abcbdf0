"""Transactions of writers that are open: what is known of them, and who can end them.

Readers of committed records stop at the first event of a transaction that has not ended, and wait. To them the log ends
there: position, committed offset and lag agree, while acknowledged events of other writers stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from logsync.core.codec import EventTypes
from logsync.core.moments import since_1970
from logsync.core.text import short
from logsync.log.lookup import Span
from logsync.ops.reading import reading
from logsync.settings import Settings


class OpenTransaction(NamedTuple):
    """One that holds a partition back."""

    topic: str
    partition: int
    first: int
    """The offset of its first event: readers of committed records get nothing from there on."""
    offsets: int
    """How many offsets stand there, its own and those of others."""
    began: datetime | None
    event: str
    """The id of its first event, or empty."""

    @property
    def found(self) -> str:
        """What holds the partition back, in words."""
        since = f" since {self.began:%Y-%m-%d %H:%M:%S} UTC" if self.began else ""
        event = f" (event {short(self.event, 100)})" if self.event else ""
        return (
            f"{self.offsets:,} offsets stand behind a transaction that is open{since}: its first event is at offset "
            f"{self.first}{event}"
        )

    @property
    def fix(self) -> str:
        """Who can end it."""
        return (
            "its writer commits or aborts it, and Kafka aborts it after the writer's transaction.timeout.ms; one that "
            "hangs for longer: `kafka-transactions --bootstrap-server $LOGSYNC_KAFKA abort --topic "
            f"{self.topic} --partition {self.partition} --start-offset {self.first}`"
        )


def open_transactions(
    log: EventTypes, settings: Settings, spans: Mapping[int, Span], written: Mapping[int, int], *, timeout: float
) -> dict[int, OpenTransaction]:
    """By partition. ``spans`` end where a reader of committed records does, ``written`` where the log does.

    ``written`` has to be read first, or a transaction that ended in between would be told as open.
    Raises LogUnavailable, ConfigError.
    """
    held = {partition: span.high for partition, span in spans.items() if written.get(partition, 0) > span.high}
    if not held:
        return {}
    found = {}
    with reading(log, settings, timeout=timeout, uncommitted=True) as lookup:
        for partition, first in held.items():
            record = next(lookup.read(partition, first, written[partition]), None)
            began = since_1970(record.timestamp) if record is not None and record.fault is None else None
            event = lookup.id_of(record) if record is not None else None
            found[partition] = OpenTransaction(
                log.topic, partition, first, written[partition] - first, began, event or ""
            )
    return found
