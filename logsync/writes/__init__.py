"""Inert writes: what handlers return. Plain values per store family, without any client library."""

from __future__ import annotations

from typing import ClassVar


class Write:
    """Base of every inert write. A handler returns writes; only a store carries them out.

    ``commutes``: in whatever order such writes from several partitions arrive, the result is the same. All
    others are overwrites, and several partitions may use them only where the sink says ``order="per-key"`` (S2).
    """

    __slots__ = ()
    commutes: ClassVar[bool] = False
