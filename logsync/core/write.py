"""The base of every inert write, which is all that the core knows of them; the families are in logsync.writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")


class Write:
    """Base of every inert write. A handler returns writes; only a store carries them out.

    ``commutes``: in whatever order such writes from several partitions arrive, the result is the same. All
    others are overwrites, and several partitions may use them only where the sink says ``order="per-key"`` (S2).
    """

    __slots__ = ()
    commutes: ClassVar[bool] = False


@dataclass_transform(frozen_default=True)
def inert(cls: type[T]) -> type[T]:
    """A dataclass with slots, frozen for type checkers only: at run time that would take half of making a write, and
    there are several per event."""
    return dataclass(slots=True)(cls)
