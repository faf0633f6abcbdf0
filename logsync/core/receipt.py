"""What a writer holds once its event is in the log."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from logsync.core.formats import number, upgraded


class Receipt(NamedTuple):
    """Proof that an event is in the log: all in-sync replicas have it."""

    event_id: str
    topic: str
    partition: int
    offset: int

    def dump(self) -> str:
        """The receipt as a short text, for a form or a session. :meth:`load` gives it back."""
        return json.dumps({"format": number("receipt"), **self._asdict()}, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Receipt:
        """Read what :meth:`dump` wrote. Raises ValueError for a newer format, and for what is no receipt."""
        try:
            fields: Any = json.loads(text)
            known = upgraded("receipt", fields)
            receipt = cls(*(known[name] for name in cls._fields))
        except (TypeError, AttributeError, KeyError, RecursionError) as error:
            raise ValueError(f"{text[:80]!r} is not what Receipt.dump() returns") from error
        if [type(value) for value in receipt] != [str, str, int, int]:
            raise ValueError(f"{text[:80]!r} is not what Receipt.dump() returns")
        return receipt
