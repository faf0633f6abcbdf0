"""What a writer holds once its event is in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from logsync.core.formats import number, upgraded

_PARTITIONS, _OFFSETS = 1 << 31, (1 << 63) - 1
"""Kafka counts partitions in int32 and offsets in int64; the next offset has to be one, too."""


class Receipt(NamedTuple):
    """Proof that an event is in the log: all in-sync replicas have it."""

    event_id: str
    topic: str
    partition: int
    offset: int
    topic_id: str = ""
    """Which topic of this name it is; empty if that is not known. # I6"""
    type: str = ""
    """The name of the event's type; empty if that is not known."""
    since: int | None = None
    """Of a retried append: its partition's end before the first attempt. If an attempt from there on is in the log as
    well, that one counts, and the one at ``offset`` is passed over. # A1"""

    def dump(self) -> str:
        """The receipt as a short text, for a form or a session. :meth:`load` gives it back."""
        return json.dumps({"format": number("receipt"), **self._asdict()}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Receipt:
        """Read what :meth:`dump` wrote. Raises ValueError for a newer format, and for what is no receipt.

        A receipt may come back by way of a form. What no log can have said (a number that is no partition or offset of
        Kafka's) is none, so a store is never asked about it.
        """
        try:
            fields: Any = json.loads(text)
            known = upgraded("receipt", fields)
            receipt = cls(*(known[name] for name in cls._fields))
        except (TypeError, AttributeError, KeyError, RecursionError) as error:
            raise ValueError(f"{text[:80]!r} is not what Receipt.dump() returns") from error
        since = 0 if receipt.since is None else receipt.since
        kinds = [type(value) for value in (*receipt[:-1], since)]
        if kinds != [str, str, int, int, str, str, int] or not (
            0 <= receipt.partition < _PARTITIONS and 0 <= receipt.offset < _OFFSETS and 0 <= since < _OFFSETS
        ):
            raise ValueError(f"{text[:80]!r} is not what Receipt.dump() returns")
        return receipt


def merge(receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Of receipts of one log, partition and event type the last: whoever has applied that has met the others.

    Types stay apart: a sink that passes over a later event of another type may still be behind an earlier one. What
    became of the events that are left out, a parked one for instance, is asked no more.
    """
    last: dict[tuple[str, str, int, str], Receipt] = {}
    for receipt in receipts:
        place = receipt.topic, receipt.topic_id, receipt.partition, receipt.type
        if place not in last or last[place].offset < receipt.offset:
            last[place] = receipt
    return tuple(last.values())
