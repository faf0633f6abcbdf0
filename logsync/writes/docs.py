"""Writes for OpenSearch. ``index`` is the alias that readers use; the sink owns the indices behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from logsync.core.write import Target, Write

__all__ = ["DeleteDoc", "Doc", "IndexDoc", "UpdateDoc"]

Doc = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IndexDoc(Write):
    """The document is exactly this one from now on."""

    commutes: ClassVar[bool] = False
    index: str
    id: str
    doc: Mapping[str, Any]

    @property
    def target(self) -> Target:
        return "docs", self.index, self.id

    def law(self, found: Doc | None) -> Doc:  # noqa: ARG002 - whatever stands there
        return dict(self.doc)


@dataclass(frozen=True, slots=True)
class UpdateDoc(Write):
    """Set top-level fields and add to integer fields; a missing document starts empty, counters from 0.

    Exact under replay: the document's version says which events it already holds (O3).
    """

    commutes: ClassVar[bool] = False
    index: str
    id: str
    set: Mapping[str, Any] = field(default_factory=dict)
    add: Mapping[str, int] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        return "docs", self.index, self.id

    def law(self, found: Doc | None) -> Doc:
        doc = {**(found or {}), **self.set}
        return {**doc, **{name: _integer(doc.get(name, 0)) + _integer(by) for name, by in self.add.items()}}


@dataclass(frozen=True, slots=True)
class DeleteDoc(Write):
    """The document is gone for readers of the alias; a versioned tombstone stays behind it (O1)."""

    commutes: ClassVar[bool] = False
    index: str
    id: str

    @property
    def target(self) -> Target:
        return "docs", self.index, self.id

    def law(self, found: Doc | None) -> None:  # noqa: ARG002 - whatever stands there
        return None


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected an integer, found {type(value).__name__} {value!r}")
    return value
