"""A source: its name, its log, its origin, and the mappings from facts to events. Declaring one opens nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from pydantic import BaseModel
from uuid_utils import UUID, uuid5

from logsync.core.codec import Encoded, encode
from logsync.core.log import Log
from logsync.core.raised import in_words, last_lines
from logsync.errors import AppendRejected, ConfigError, FactError, LogsyncError, in_commands
from logsync.sources.contract import Change, Fact, Origin, Unfit

Mapping = Callable[[Change], BaseModel | None]
F = TypeVar("F", bound=Mapping)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_FACTS = UUID("6a2f2a0c-5d0c-5a57-9f0e-7c1b0f6f8a11")


def fact_id(text: str) -> str:
    """The id of the event that is made of the fact ``text``: the same whenever it is made (RFC 9562, UUIDv5)."""
    return str(uuid5(_FACTS, text))


class Source:
    """Carries the facts of one ``origin`` into ``log``, each once and in the origin's order.

    ``name`` stands in the log beside every record, and in the origin's database: it cannot change, and no other
    database may use it. The mappings are pure, as handlers are: a fact may be mapped again after a crash.
    """

    def __init__(self, name: str, log: Log, origin: Origin) -> None:
        """Raises ConfigError for a name that cannot be one."""
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot name a source: use up to 40 of a-z, 0-9, '-', '_'")
        self.name, self.log, self.origin = name, log, origin
        self.address = name
        """What the command line calls it."""
        self._mappings: dict[str, Mapping] = {}

    def on(self, table: str) -> Callable[[F], F]:
        """Register the mapping of a table: a function from one Change to one event of the log, or None for no event.

        Raises ConfigError for a second mapping of a table, and for a function that cannot be one.
        """

        def register(mapping: F) -> F:
            if table in self._mappings:
                raise ConfigError(f"source {self.name}: {table} has two mappings", fix="take one of them out")
            if inspect.iscoroutinefunction(mapping) or inspect.isgeneratorfunction(mapping):
                raise ConfigError(
                    f"source {self.name}: the mapping of {table} must be a plain function: one event, or None"
                )
            self._mappings[table] = mapping
            return mapping

        return register

    def encoded(self, fact: Fact, at: str) -> Encoded | None:
        """The event of this fact, ready to send; None for no event. Pure. Raises FactError.

        ``at`` is its place as it stands in the log. An event of a table gets an id made of source, place and time of
        the commit: the same whenever the fact is read again, and another one for another fact in the same place.
        """
        if isinstance(fact.of, Encoded):
            return fact.of
        if isinstance(fact.of, Unfit):
            raise self.refused(fact, at, f"{fact.of.why}. For later ones: {fact.of.fix}")
        event = self._mapped(fact, fact.of, at)
        if event is None:
            return None
        try:
            return encode(self.log, event, event_id=self.id_of(fact, at), time=fact.time)
        except AppendRejected as error:
            raise self.refused(fact, at, f"it makes no event of {self.log!r}: {error.message}") from error

    def id_of(self, fact: Fact, at: str) -> str:
        """The id of the fact's event."""
        return fact.id or fact_id(f"{self.name} {at} {fact.time.isoformat()}")

    def refused(self, fact: Fact, at: str, why: str) -> FactError:
        """The error that halts a relay at this fact."""
        what = f"a row of {fact.of.table}" if isinstance(fact.of, Change) else f"outbox row {fact.id}"
        what = "a fact" if isinstance(fact.of, Unfit) else what
        return self.unfit(f"{what} at {at}", at, why)

    def unfit(self, what: str, at: str, why: object) -> FactError:
        """The same for what stands at ``at`` in the log's order."""
        return FactError(
            f"source {self.name}: {what} cannot enter the log: {why}",
            fix="deploy a mapping that takes it and start again, or pass over it on record: "
            f'`logsync source skip {self.address} {at} --reason "..." --yes`',
        )

    def _mapped(self, fact: Fact, change: Change, at: str) -> BaseModel | None:
        mapping = self._mappings.get(change.table)
        if mapping is None:
            raise self.refused(fact, at, f"there is no mapping: expected @source.on({change.table!r})")
        try:
            event = mapping(change)
        except Exception as error:
            why = "\n  ".join((f"its mapping raised {in_words(error)}", *last_lines(error)))
            raise self.refused(fact, at, why) from error
        if event is not None and type(event) not in self.log.by_model:
            raise self.refused(
                fact, at, f"its mapping returned {type(event).__name__}, which is no event of {self.log!r}"
            )
        return event

    def addressed(self, error: LogsyncError) -> LogsyncError:
        """The same error, with the commands that mend it as this source is called on the command line."""
        error.fix = in_commands(error.fix, self.address)
        return error

    @contextmanager
    def addressing(self) -> Iterator[None]:
        """Errors that leave the block are :meth:`addressed`."""
        try:
            yield
        except LogsyncError as error:
            self.addressed(error)
            raise

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.log!r})"
