"""A Log is one topic and the event types that may stand in it. Declaring one opens nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from logsync.core.cloudevents import CLOUD_EVENTS
from logsync.core.codec import Codec, EventType
from logsync.core.event import Tombstone, is_event_name
from logsync.core.models.keys import by_field, by_function
from logsync.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
# Kafka's own rule for topic names.
_TOPIC = re.compile(r"^[a-zA-Z0-9._-]{1,249}$")


class Log:
    """One Kafka topic and the events that may stand in it.

    ``topic`` is the topic's name; servers come from settings. ``source`` becomes ``ce_source``
    (CloudEvents 1.0: identifies the context in which an event happened) and defaults to ``/<topic>``.
    ``codec`` is the format of its records.
    """

    def __init__(self, topic: str, *, source: str | None = None, codec: Codec = CLOUD_EVENTS) -> None:
        if not _TOPIC.match(topic):
            raise ConfigError(
                f"{topic!r} is not a Kafka topic name: expected 1 to 249 of letters, digits, '.', '_', '-'"
            )
        self.topic = topic
        self.codec = codec
        self.source = source or f"/{topic}"
        self.types: dict[tuple[str, int], EventType] = {}
        self.by_model: dict[type[BaseModel], EventType] = {}
        self.names: set[str] = set()
        self._register(Tombstone.TYPE, 1, Tombstone, by_field(Tombstone.TYPE, Tombstone, "key"))

    def event(self, name: str, *, key: str | Callable[[Any], object], version: int = 1) -> Callable[[type[M]], type[M]]:
        """Register a pydantic model as an event type of this log.

        ``name`` is what stands in the log and cannot change: the class may be renamed, the event may not.
        ``key`` names the field (or is a function of the model) that orders events: events of one key are
        applied in log order. ``version`` grows when old readers could not read the new shape.

        The key is what the event's JSON says there, so a reader of the JSON can name it.

        Raises ConfigError for a name and version used twice, for a key that is not a field or not one value, and for
        a model that its own JSON does not give back.
        """

        def register(model: type[M]) -> type[M]:
            if not is_event_name(name) or name.startswith("logsync."):
                raise ConfigError(
                    f"{name!r} cannot name an event: use letters, digits, '.', '_', '-', and no `logsync.` in front"
                )
            if version < 1:
                raise ConfigError(f"event {name}: version is {version}, expected 1 or more")
            if isinstance(key, str) and key not in model.model_fields:
                raise ConfigError(
                    f"event {name}: key={key!r} is not a field of {model.__name__}",
                    fix=f"use one of: {', '.join(model.model_fields)}",
                )
            self._register(name, version, model, by_function(key) if callable(key) else by_field(name, model, key))
            return model

        return register

    def _register(self, name: str, version: int, model: type[BaseModel], key: Callable[[Any], str]) -> None:
        taken = self.types.get((name, version))
        if taken is not None:
            raise ConfigError(
                f"event {name} version {version} is registered twice: "
                f"by {taken.model.__name__} and by {model.__name__}",
                fix="give one of them another name, or a higher version",
            )
        if model in self.by_model:
            raise ConfigError(f"{model.__name__} is registered twice; one model is one event type")
        event_type = EventType(name, version, model, key, self.codec.shared(name, version, model, self.source))
        self.types[name, version] = event_type
        self.by_model[model] = event_type
        self.names.add(name)

    def __repr__(self) -> str:
        return f"Log({self.topic!r}, {len(self.names) - 1} event types)"
