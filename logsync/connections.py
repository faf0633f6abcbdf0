"""Which library a connection of the app is of, and our function for it. What is not in use is not imported.

A package that works on such connections has a module per library: ``by_psycopg``, ``by_sqlalchemy``, ``by_django``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from logsync.errors import ConfigError

# Library, its classes, our module, and the end of our function's name. The order is that of how common they are.
_Known = Sequence[tuple[str, tuple[str, ...], str, str]]
_PLAIN: _Known = (
    ("psycopg", ("Connection", "Cursor"), "by_psycopg", ""),
    ("sqlalchemy", ("Connection",), "by_sqlalchemy", ""),
    ("sqlalchemy.orm", ("Session", "scoped_session"), "by_sqlalchemy", "_in_session"),
    ("django.utils.connection", ("ConnectionProxy",), "by_django", ""),
    ("django.db.backends.base.base", ("BaseDatabaseWrapper",), "by_django", ""),
)
_ASYNC: _Known = (
    ("psycopg", ("AsyncConnection", "AsyncCursor"), "by_psycopg", "_async"),
    ("sqlalchemy.ext.asyncio", ("AsyncConnection",), "by_sqlalchemy", "_async"),
    ("sqlalchemy.ext.asyncio", ("AsyncSession", "async_scoped_session"), "by_sqlalchemy", "_in_session_async"),
)
_EXPECTED = (
    "a Connection or Cursor of psycopg 3, a Connection or Session of SQLAlchemy, django.db.connection or one of "
    "django.db.connections"
)
_EXPECTED_ASYNC = "an AsyncConnection or AsyncCursor of psycopg 3, or an AsyncConnection or AsyncSession of SQLAlchemy"


class Ways:
    """The functions of one package, each for one kind of connection, by the class that an object says it is of.

    The proxies of tracing libraries say that they are of the class of the connection that they wrap.
    """

    def __init__(self, package: str, function: str, *, caller: str, usage: str, fix: str) -> None:
        """``function``: what the names of the package's functions begin with.

        For messages: ``caller`` is the app's call that leads here, and ``usage`` how it is made, with ``{}`` where
        ``_async`` stands in the name of its form for asyncio. ``fix``: which connection is meant.
        """
        self._package, self._function = package, function
        self._caller, self._usage, self._fix = caller, usage, fix
        self._of, self._of_async = cache(self._find_plain), cache(self._find_async)

    def of(self, connection: Any) -> Any:
        """The function for this connection. Raises ConfigError for what is none, or is one for asyncio."""
        return self._of(connection.__class__)

    def of_async(self, connection: Any) -> Any:
        """The function for this connection of asyncio. Raises ConfigError for what is none."""
        return self._of_async(connection.__class__)

    def _find_plain(self, kind: type) -> Any:
        instead = f"await {self._usage.format('_async')}" if _entry(kind, _ASYNC) else ""
        return self._found(kind, _PLAIN) or self._refuse(kind, f"{self._caller} takes {_EXPECTED}", instead)

    def _find_async(self, kind: type) -> Any:
        instead = f"it is none of asyncio: {self._usage.format('')}" if _entry(kind, _PLAIN) else ""
        return self._found(kind, _ASYNC) or self._refuse(kind, f"{self._caller}_async takes {_EXPECTED_ASYNC}", instead)

    def _found(self, kind: type, known: _Known) -> Any:
        entry = _entry(kind, known)
        return entry and getattr(import_module(f"{self._package}.{entry[0]}"), self._function + entry[1])

    def _refuse(self, kind: type, expected: str, instead: str) -> Any:
        raise ConfigError(
            f"{expected}; found an object of {kind.__module__}.{kind.__qualname__}", fix=instead or self._fix
        )


def _entry(kind: type, known: _Known) -> tuple[str, str] | None:
    """Our module and the end of the function's name. A library that nobody has imported has made no connection."""
    for library, classes, module, end in known:
        loaded = sys.modules.get(library)
        if loaded is not None and issubclass(kind, tuple(getattr(loaded, name) for name in classes)):
            return module, end
    return None
