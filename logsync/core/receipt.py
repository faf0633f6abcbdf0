"""What a writer holds once its event is in the log."""

from __future__ import annotations

from typing import NamedTuple


class Receipt(NamedTuple):
    """Proof that an event is in the log: all in-sync replicas have it."""

    event_id: str
    topic: str
    partition: int
    offset: int
