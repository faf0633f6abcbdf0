"""Values of Postgres in Python, from the texts that its output functions write in the pinned settings.

psycopg's own loaders do it. What they have no exact Python value for stays the text that Postgres writes: other types
(interval, money, ranges, enums), and values beyond a Python type's range (``infinity``, the year 10000, 24:00).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import DataError, adapters
from psycopg.adapt import Transformer
from psycopg.pq import Format

Load = Callable[[bytes], Any]

_EXACT = (
    *(
        "bool",
        "int2",
        "int4",
        "int8",
        "oid",
        "float4",
        "float8",
        "numeric",
        "uuid",
        "text",
        "varchar",
        "bpchar",
        "name",
    ),
    *("timestamptz", "timestamp", "date", "time", "json", "jsonb", "bytea"),
)


def _text(value: bytes) -> str:
    return str(value, "utf-8")


class Values:
    """The loaders of one stream. Not for several threads."""

    def __init__(self) -> None:
        self._transformer = Transformer()
        types = [adapters.types[name] for name in _EXACT]
        self._known = {oid for each in types for oid in (each.oid, each.array_oid)}
        self._loaders: dict[int, Load] = {adapters.types["text"].oid: _text, adapters.types["varchar"].oid: _text}

    def loader(self, oid: int) -> Load:
        """From the text of a value of this type to the value. Raises ValueError only, for bytes that are no UTF-8."""
        found = self._loaders.get(oid)
        if found is None:
            found = self._loaders[oid] = self._exact(oid) if oid in self._known else _text
        return found

    def _exact(self, oid: int) -> Load:
        exact: Load = self._transformer.get_loader(oid, Format.TEXT).load

        def load(value: bytes) -> Any:
            try:
                return exact(value)
            except (DataError, ValueError, OverflowError):
                return _text(value)

        return load
