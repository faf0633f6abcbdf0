"""What readers may ask of a store while workers write to it: one look that belongs to one moment, and changes nothing.

``Viewed`` is no part of the contract of a store. One that keeps it lets web apps wait for their own writes
(``logsync.reading``) and lets another sink stay behind it. One that keeps ``LooksInSql`` or ``LooksInCommands`` can
also be looked at over a connection of the app's own, in the transaction or MULTI of the app's queries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from logsync.core.book import Book
from logsync.core.position import Position
from logsync.core.store import StoreSettings

Place = tuple[int, int]
"""The partition and the offset of one event."""


class Retried(NamedTuple):
    """What is asked besides of a retried append: its first attempt may stand further up, and then counts. # A1"""

    event_id: str
    since: int
    """No attempt of it stands below this offset of its partition."""


NO_RETRIES: Mapping[Place, Retried] = MappingProxyType({})
"""Nothing that is asked about is a retried append."""


class Sight(NamedTuple):
    """What one look has seen."""

    book: Book | None
    """None: the store has never seen the sink."""
    positions: Mapping[int, Position]
    parked: Mapping[Place, str]
    """Of the events that were asked about, those that are set aside, and why. A retried append is if any attempt is."""


class View(Protocol):
    """Looks at one sink in one store, over a connection of its own. Used by one thread at a time."""

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        """What the store holds now. Connects if there is no connection. Bound: the settings' ``store_timeout``.

        ``retried``: those of ``asked`` that are retried appends. They are rare, and may cost more than one look.

        Every event below a position that is told was applied, skipped or parked when the position was read; ``parked``
        and ``book`` are as they were then or later. So an event below its position, not parked and not among the book's
        skips, was applied. Raises StoreUnavailable, and ConfigError if what is there cannot be read or trusted.
        """

    def close(self) -> None:
        """Let go of the connection. Never raises, may be called twice."""


@runtime_checkable
class Searches(Protocol):
    """A view of a store whose searches find what is written only after a refresh."""

    def refresh(self) -> None:
        """When it returns, every search finds what was applied before the call. Raises StoreUnavailable otherwise."""


@runtime_checkable
class Viewed(Protocol):
    """A store that can be looked at."""

    def view(self, sink: str, settings: StoreSettings) -> View:
        """A view of ``sink``. Opens nothing; this store itself may be open or closed, and is left alone."""


class SqlLook(NamedTuple):
    """One look as a SELECT, for a connection of the app's own: it belongs to the snapshot in which it runs."""

    database: str
    """The kind of database that understands it, as SQLAlchemy and Django name it."""
    there: str
    """Asked first, once per connection, because a statement that fails takes the app's transaction with it: this one
    does not. Its row: whether the tables exist, and whether this role may read them."""
    rights: str
    """What mends it if the role may not, in words."""
    transaction: str
    """Its row: the isolation level in SQL's words, and something that no two transactions share."""
    statement: str
    """The look itself, with parameters as ``%(name)s``."""
    parameters: Mapping[str, str]
    sight: Callable[[Sequence[Any]], Sight]
    """What the row says. Raises ConfigError for formats that are too new."""


@runtime_checkable
class LooksInSql(Protocol):
    """A store that a connection of the app's own may lead to."""

    def sql_look(self, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> SqlLook:
        """The look of ``View.look``. Opens nothing; whether this store is open makes no difference."""


class CommandLook(NamedTuple):
    """One look as one command, which the app's client sends, in a MULTI of the app's or alone."""

    words: tuple[str, ...]
    sight: Callable[[Any], Sight]
    """What the answer says, texts as str or bytes. Raises ConfigError for what cannot be read or trusted."""


@runtime_checkable
class LooksInCommands(Protocol):
    """A store to which the app's own client sends commands."""

    def command_look(
        self, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES
    ) -> CommandLook:
        """The look of ``View.look``. Opens nothing; whether this store is open makes no difference."""
