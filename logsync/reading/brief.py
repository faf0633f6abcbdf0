"""How those who only look reach a store: with less patience than a worker, and in one environment."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from logsync.core.sink import Sink
from logsync.core.view import View, Viewed
from logsync.errors import ConfigError
from logsync.settings import Settings, load_settings

LOOK_TIMEOUT = 2.0
"""Seconds that one look at a store may take before the connection is given up."""


def viewer(sink: Sink, settings: Settings) -> Callable[[], View]:
    """What makes views of this sink. Opens nothing. Raises ConfigError for a store that cannot be looked at."""
    store = sink.store
    if not isinstance(store, Viewed):
        raise ConfigError(
            f"sink {sink.name}: a store of kind {store.kind} cannot be looked at",
            fix="give it a method view(sink, settings): logsync.core.view",
        )
    patience = min(LOOK_TIMEOUT, settings.store_timeout)
    return partial(store.view, sink.name, settings.model_copy(update={"store_timeout": patience}))


@cache
def own_environment() -> str:
    """The environment of this process: the settings are read once."""
    return load_settings().environment
