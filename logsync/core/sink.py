"""A Sink: which events it handles, and which store holds the result. Declaring one opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from pydantic import BaseModel

from logsync.core.event import Event
from logsync.core.handlers import check_handler, named
from logsync.core.log import Log
from logsync.core.parked import Parking, SequenceBy, by_key
from logsync.core.write import Write
from logsync.errors import ConfigError, EventError, LogsyncError, in_commands

if TYPE_CHECKING:
    from logsync.core.store import Store

A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)
M = TypeVar("M", bound=BaseModel)
Handler = Callable[[Event[Any]], Iterable[Write] | Write | None]
E = TypeVar("E", bound=LogsyncError)
R = TypeVar("R", bound=Iterable[Write] | Write | None)
Choice = Literal["halt", "park"]
OnError = Choice | Mapping[type[EventError], Choice]
# The name becomes part of a consumer group id, of keys and of index names: the strictest of those rules.
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,59}$")


class Registering(Protocol[M]):
    """What ``Sink.on`` returns: takes the handler of these events, and gives it back."""

    def __call__(self, handler: Callable[[Event[M]], R], /) -> Callable[[Event[M]], R]: ...


class Sink:
    """One store kept equal to one log by plain functions, its handlers.

    ``name`` is the sink's identity: its consumer group and its position are filed under it, so it must not
    be used by two programs. ``unknown="skip"`` passes over event types that the log does not know (a topic
    shared with strangers); the default halts, otherwise a writer deployed before its workers loses events.
    ``order="per-key"`` is needed for overwrites on a topic with several partitions: by saying it, the author
    says that every row, key or document belongs to one event key (S2).

    ``on_error`` says what becomes of an event that cannot be applied: "halt" stops the worker at it, "park" sets
    it aside in the store with every later event of its sequence and goes on with the others (I8). A mapping says
    it by error class, as in ``{HandlerError: "park"}``; what it does not name halts. ``parking`` has the limits
    (None: the defaults of Parking).
    ``sequence_by`` finds an event's sequence from its key and headers; the default is its key (K3).
    ``after`` names sinks of the same log that go first: an event is applied here only when their stores are past it, so
    what is found here (a search hit) is there, too (V1). While one of them is down or is rebuilt, this sink waits.
    """

    def __init__(
        self,
        name: str,
        log: Log,
        store: Store,
        *,
        unknown: Literal["halt", "skip"] = "halt",
        order: Literal["total", "per-key"] = "total",
        on_error: OnError = "halt",
        parking: Parking | None = None,
        sequence_by: SequenceBy = by_key,
        after: Iterable[Sink] = (),
    ) -> None:
        if not _NAME.match(name):
            raise ConfigError(f"sink name {name!r}: expected 1 to 60 of a-z, 0-9, '_', '-'")
        self.name = name
        self.address = name
        """How the command line finds this sink, for the commands in messages: ``db``, or ``pkg.mod:sink``."""
        self.log = log
        self.store = store
        self.unknown = unknown
        self.order = order
        self.on_error = on_error
        self.parking = parking or Parking()
        self.sequence_by = sequence_by
        self.after = tuple(after)
        self._check_after()
        self.handlers: dict[type[BaseModel], Handler] = {}
        self._made: dict[type[BaseModel], frozenset[type[Write]]] = {}  # by their handlers, as far as it is known
        self._on_error_of: dict[str, OnError] = {}  # by event name: an undecodable record has no model

    def _check_after(self) -> None:
        """Raise ConfigError for sinks that this one would wait for without end. # V1"""
        ways: list[tuple[Sink, tuple[str, ...]]] = [(each, (self.name, each.name)) for each in self.after]
        while ways:
            first, way = ways.pop()
            if first.log.topic != self.log.topic:
                raise ConfigError(
                    f"sink {self.name} cannot come after sink {first.name}: that one follows topic {first.log.topic}, "
                    f"and this one {self.log.topic}; offsets of two logs do not compare"
                )
            if first.name in way[:-1]:
                raise ConfigError(f"sinks would wait for each other: {' after '.join(way)}", fix="take one `after` out")
            ways += [(each, (*way, each.name)) for each in first.after]

    @overload
    def on(self, model: type[A], /, *, on_error: OnError | None = None) -> Registering[A]: ...
    @overload
    def on(self, one: type[A], two: type[B], /, *, on_error: OnError | None = None) -> Registering[A | B]: ...
    @overload
    def on(
        self, one: type[A], two: type[B], three: type[C], /, *, on_error: OnError | None = None
    ) -> Registering[A | B | C]: ...
    @overload
    def on(self, *models: type[BaseModel], on_error: OnError | None = None) -> Registering[Any]: ...

    def on(self, *models: type[BaseModel], on_error: OnError | None = None) -> Registering[Any]:
        """Register the handler of these event types. It gets the Event and returns or yields writes.

        ``on_error`` overrides the sink's for all versions of these types.

        A handler must be a function of its event: no clock, no random, no network (I5), because events
        are applied again after a crash and in every rebuild. Raises ConfigError for a model that is not an
        event of the log, or that has a handler already; and for a handler that could work for no event, as far as
        that can be known before it runs: ``logsync.core.handlers``.
        """
        if not models:
            raise ConfigError(f"sink {self.name}: on() names no event type", fix="write @sink.on(Model)")
        for model in models:
            if not isinstance(model, type):
                what = getattr(model, "__qualname__", type(model).__name__)
                raise ConfigError(
                    f"sink {self.name}: on() takes event types, found {what}", fix="write @sink.on(Model)"
                )
            if model not in self.log.by_model:
                raise ConfigError(f"{model.__name__} is not an event of {self.log!r}")
            if model in self.handlers:
                raise ConfigError(f"sink {self.name} has two handlers for {model.__name__}")

        def register(handler: Any) -> Any:
            made = check_handler(handler, models)
            for kind in made - self.store.accepts:
                wrong = self.refusal(kind)
                raise ConfigError(f"the handler {named(handler)}: {wrong.message}", fix=wrong.fix)
            for model in models:
                self.handlers[model] = handler
                self._made[model] = made
                if on_error is not None:
                    self._on_error_of[self.log.by_model[model].name] = on_error
            return handler

        return register

    @property
    def handled(self) -> frozenset[str]:
        """The names of the event types that have a handler."""
        return frozenset(self.log.by_model[model].name for model in self.handlers)

    def accepts(self, partitions: int) -> frozenset[type[Write]]:
        """The writes that its handlers may return for a log of so many partitions. # S2"""
        if partitions == 1 or self.order == "per-key":
            return self.store.accepts
        return frozenset(kind for kind in self.store.accepts if kind.commutes)

    def check_order(self, partitions: int) -> None:
        """Raise ConfigError if a handler is known to overwrite, the log has several ``partitions``, and the author has
        not said that this is in order. What a handler makes by a helper is found when it first does. # S2"""
        for model, made in self._made.items():
            for kind in sorted(made - self.accepts(partitions), key=lambda kind: kind.__name__):
                wrong = self.refusal(kind)
                raise ConfigError(
                    f"sink {self.name}, log {self.log.topic} with {partitions} partitions: the handler "
                    f"{named(self.handlers[model])}: {wrong.message}",
                    fix=wrong.fix,
                )

    def refusal(self, kind: type[Write]) -> ConfigError:
        """Why its handlers may not return writes of this ``kind``."""
        if kind in self.store.accepts:
            return ConfigError(
                f"{kind.__name__} overwrites, and nobody can see whether two partitions write one row, key or document",
                fix=f'if each of them belongs to one event key, say so: Sink({self.name!r}, ..., order="per-key"); '
                "otherwise use writes that add, or a topic with one partition",
            )
        names = ", ".join(sorted(each.__name__ for each in self.store.accepts))
        return ConfigError(
            f"{kind.__name__} is no write of {self.store.kind}", fix=f"a {self.store.kind} store takes {names}"
        )

    def parks(self, error: EventError) -> bool:
        """Does the author want an event with this error to be parked? The most specific class that is named decides."""
        choice = self._on_error_of.get(error.event_type or "", self.on_error)
        if not isinstance(choice, str):
            choice = next((choice[kind] for kind in type(error).__mro__ if kind in choice), "halt")
        return choice == "park"

    def addressed(self, error: E) -> E:
        """``error`` with the address of this sink in the commands that mend it."""
        error.fix = in_commands(error.fix, self.address)
        return error

    def with_store(self, store: Store) -> Sink:
        """The same sink over another store: a test's memory, or a shadow copy beside the real one."""
        twin = copy(self)
        twin.store = store
        twin.handlers, twin._made, twin._on_error_of = {**self.handlers}, {**self._made}, {**self._on_error_of}
        return twin

    def __repr__(self) -> str:
        return f"Sink({self.name!r}, {self.log.topic!r}, {self.store!r})"
