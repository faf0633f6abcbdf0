"""Inert writes: what handlers return. Plain values per store family, without any client library."""

from __future__ import annotations


class Write:
    """Base of every inert write. A handler returns writes; only a store carries them out."""

    __slots__ = ()
