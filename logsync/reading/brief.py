"""Settings for those who only look: they have less patience than a worker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from logsync.settings import Settings, load_settings

LOOK_TIMEOUT = 2.0
"""Seconds that one look at a store may take before the connection is given up."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a view is opened with."""

    settings: Settings

    @property
    def store_timeout(self) -> float:
        return min(LOOK_TIMEOUT, self.settings.store_timeout)

    def address(self, kind: str) -> str:
        return self.settings.address(kind)


@cache
def own_environment() -> str:
    """The environment of this process: the settings are read once."""
    return load_settings().environment
