"""Rows into the transaction of a connection, whichever library it is of. What is not in use is not imported.

What all of them share: the INSERT goes over the app's own connection, and is refused where it would commit by itself,
because then it stands without the app's rows, or they without it: a dual write again.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from logsync.errors import ConfigError
from logsync.outbox.rows import Row

# Library, its classes, our module and function. The order is that of how common they are.
_TAKEN = (
    ("psycopg", ("Connection", "Cursor"), "by_psycopg", "insert"),
    ("sqlalchemy", ("Connection",), "by_sqlalchemy", "insert"),
    ("sqlalchemy.orm", ("Session", "scoped_session"), "by_sqlalchemy", "insert_in_session"),
    ("django.utils.connection", ("ConnectionProxy",), "by_django", "insert"),
    ("django.db.backends.base.base", ("BaseDatabaseWrapper",), "by_django", "insert"),
)
_TAKEN_ASYNC = (
    ("psycopg", ("AsyncConnection", "AsyncCursor"), "by_psycopg", "insert_async"),
    ("sqlalchemy.ext.asyncio", ("AsyncConnection",), "by_sqlalchemy", "insert_async"),
    ("sqlalchemy.ext.asyncio", ("AsyncSession", "async_scoped_session"), "by_sqlalchemy", "insert_in_session_async"),
)
_EXPECTED = (
    "append takes a Connection or Cursor of psycopg 3, a Connection or Session of SQLAlchemy, django.db.connection or "
    "one of django.db.connections"
)
_EXPECTED_ASYNC = (
    "append_async takes an AsyncConnection or AsyncCursor of psycopg 3, or an AsyncConnection or AsyncSession of "
    "SQLAlchemy"
)


def insert(connection: Any, rows: Sequence[Row]) -> None:
    """One INSERT for one row, one batch for several. Raises ConfigError, and else what the driver raises."""
    _way(connection.__class__)(connection, rows)


async def insert_async(connection: Any, rows: Sequence[Row]) -> None:
    """The same for asyncio."""
    await _async_way(connection.__class__)(connection, rows)


# By the class that the object says it is of: the proxies of tracing libraries stand for the connection that they wrap.


@cache
def _way(kind: type) -> Callable[[Any, Sequence[Row]], None]:
    if found := _find(kind, _TAKEN):
        way: Callable[[Any, Sequence[Row]], None] = found
        return way
    instead = "await outbox.append_async(connection, event)" if _find(kind, _TAKEN_ASYNC) else ""
    raise _not_taken(kind, _EXPECTED, instead)


@cache
def _async_way(kind: type) -> Callable[[Any, Sequence[Row]], Awaitable[None]]:
    if found := _find(kind, _TAKEN_ASYNC):
        way: Callable[[Any, Sequence[Row]], Awaitable[None]] = found
        return way
    instead = "it is none of asyncio: outbox.append(connection, event)" if _find(kind, _TAKEN) else ""
    raise _not_taken(kind, _EXPECTED_ASYNC, instead)


def _find(kind: type, taken: Sequence[tuple[str, tuple[str, ...], str, str]]) -> Any:
    """The function for this class, or None. A library that nobody has imported has made no connection."""
    for library, classes, module, function in taken:
        loaded = sys.modules.get(library)
        if loaded is not None and issubclass(kind, tuple(getattr(loaded, name) for name in classes)):
            return getattr(import_module(f"logsync.outbox.{module}"), function)
    return None


def _not_taken(kind: type, expected: str, instead: str) -> ConfigError:
    return ConfigError(
        f"{expected}; found an object of {kind.__module__}.{kind.__qualname__}",
        fix=instead or "give the connection on which the app writes the rows that the event is about",
    )
