"""A connection of Django, over psycopg 3 or psycopg2. Imports nothing of it."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from logsync.reading.lines import Ask, Facts, Row

_NOTES: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


class _Line:
    def __init__(self, connection: Any) -> None:
        connection.ensure_connection()
        self._connection = connection
        self.facts = Facts(connection.vendor, _NOTES.setdefault(connection.connection, {}))

    def ask(self, ask: Ask) -> Row:
        with self._connection.cursor() as cursor:
            cursor.execute(ask.statement, ask.parameters)
            (row,) = cursor.fetchall()
        found: Row = row
        return found


def line(connection: Any) -> _Line:
    """``django.db.connection`` or one of ``connections``."""
    return _Line(connection)
