"""The base of every inert write, which is all that the core knows of them; the families are in logsync.writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")
Target = tuple[str, ...]
"""What a write is about, its kind first: ``("tables", "orders")``, ``("docs", "products", "7")``."""


class Write:
    """Base of every inert write. A handler returns writes; only a store carries them out.

    ``commutes``: in whatever order such writes from several partitions arrive, the result is the same. All
    others are overwrites, and several partitions may use them only where the sink says ``order="per-key"`` (S2).

    What a write means is its ``law``: from what stands at its ``target`` to what stands there after it. The memory
    store is made of these laws, and the contract kit holds every other store to them. A class of writes says all three.
    """

    __slots__ = ()
    commutes: ClassVar[bool] = False

    @property
    def target(self) -> Target:
        """The one place in a store's content that this write reads and changes."""
        raise NotImplementedError(f"{type(self).__name__} has no target")

    def law(self, found: Any) -> Any:
        """What stands at ``target`` after this write; ``found`` is what stood there before. None: nothing.

        A function: it changes neither. Raises TypeError or ValueError for a write that a store has to refuse.
        """
        raise NotImplementedError(f"{type(self).__name__} has no law")


@dataclass_transform(frozen_default=True)
def inert(cls: type[T]) -> type[T]:
    """A dataclass with slots. Frozen for type checkers only: at run time that would take half the cost of making a
    write, and an event makes several."""
    return dataclass(slots=True)(cls)
