"""The guards that `python -m tests.mutants` removes one at a time: one entry per guard, by what it guards."""

from __future__ import annotations

from .guard import Guard
from .opensearch import OPENSEARCH
from .outside_stores import OUTSIDE_STORES
from .postgres import POSTGRES
from .reading import READING
from .redis import REDIS
from .sources import SOURCES

GUARDS = (*OUTSIDE_STORES, *POSTGRES, *REDIS, *OPENSEARCH, *SOURCES, *READING)
__all__ = ["GUARDS", "Guard"]
