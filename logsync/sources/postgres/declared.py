"""What a source declares of a Postgres, and what its objects are called there. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

OUTBOX = "logsync.outbox"


class Declared(NamedTuple):
    """What a source says that it reads."""

    outbox: bool
    append_only: tuple[str, ...]
    capture: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [OUTBOX] * self.outbox + [*self.append_only, *self.capture]


class Names(NamedTuple):
    """What the source's objects are called in the server."""

    slot: str
    inserts: str
    """The publication of the outbox and the append-only tables."""
    changes: str
    """The publication of the tables whose changes are captured."""

    def publications(self, declared: Declared) -> list[str]:
        """Those that are needed for what is declared."""
        wanted = {self.inserts: declared.outbox or declared.append_only, self.changes: declared.capture}
        return [name for name, used in wanted.items() if used]


def names_of(source: str) -> Names:
    """Slots have lower-case letters, digits and underscores, 63 at most."""
    base = "logsync_" + re.sub(r"[^a-z0-9_]", "_", source.lower())[:40]
    return Names(base, f"{base}_inserts", f"{base}_changes")
