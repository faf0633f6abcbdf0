"""Writes for OpenSearch. ``index`` is the alias that readers use; the sink owns the indices behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from logsync.core.write import Write


@dataclass(frozen=True, slots=True)
class IndexDoc(Write):
    """The document is exactly this one from now on."""

    index: str
    id: str
    doc: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpdateDoc(Write):
    """Set top-level fields and add to integer fields; a missing document starts empty, counters from 0.

    Exact under replay: the document's version says which events it already holds (O3).
    """

    index: str
    id: str
    set: Mapping[str, Any] = field(default_factory=dict)
    add: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeleteDoc(Write):
    """The document is gone for readers of the alias; a versioned tombstone stays behind it (O1)."""

    index: str
    id: str
