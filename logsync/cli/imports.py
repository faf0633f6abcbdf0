"""Importing the user's modules, so that they hide nothing which is installed.

A process has one table of modules, and two parties import by name: the user's modules, which stand in the working
directory, and the libraries, which do not know of it. A file ``redis.py`` or ``events.py`` beside a sink must not be
what the store's client gets (seen: opensearch-py imports a package ``events``), and an installed package ``app`` must
not be what ``logsync consume app:sink`` runs. So:

- the working directory stands last on ``sys.path``;
- while a module of the user's is imported, the working directory comes first, except for the names of Python itself and
  of the libraries that logsync imports (``KEPT``); the module that the command line names is always the one there;
- a name that is there and installed as well means both, one after the other: the clients are imported before the
  user's module, and get their own modules back after it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from threading import RLock
from types import ModuleType

_CLIENTS = ("confluent_kafka", "psycopg", "redis", "opensearchpy")
LIBRARIES = frozenset({
    "logsync", *_CLIENTS, "pydantic", "pydantic_core", "pydantic_settings", "typer", "click", "rich", "uuid_utils",
})  # fmt: skip
KEPT = sys.stdlib_module_names | LIBRARIES
"""Top-level names that no import finds in the working directory."""

_lock = RLock()
"""One import at a time: it changes tables of the whole process, and ``status`` loads its sinks on several threads."""
_theirs: dict[str, ModuleType] = {}
"""Modules of the user's whose names belong to installed ones again."""


def import_here(module: str) -> ModuleType:
    """Import ``module`` from the working directory, or else from what is installed. Raises what the import raises."""
    with _lock:
        return _import_here(module)


def _import_here(module: str) -> ModuleType:
    put_last()
    here, named = str(Path.cwd()), module.partition(".")[0]
    both = _both(here, named)
    if both - sys.modules.keys():
        for client in _CLIENTS:
            with suppress(Exception):  # not installed, or broken: the store that needs it says so
                importlib.import_module(client)
    finder = _Here(here, named)
    with _handed_over(both):
        sys.meta_path.insert(0, finder)
        try:
            return importlib.import_module(module)
        finally:
            sys.meta_path.remove(finder)


def put_last() -> None:
    """Move the working directory to the end of the path: ``python -m`` puts it first, and so does PYTHONPATH=. ."""
    here = str(Path.cwd())
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here] + [here]


def hidden(name: str | None) -> Path | None:
    """The file of the working directory that has the ``name`` of one of ``KEPT``, or None."""
    top = (name or "").partition(".")[0]
    return _files(Path.cwd()).get(top) if top in KEPT else None


class _Here:
    """Finds top-level modules in the working directory."""

    def __init__(self, here: str, named: str) -> None:
        self._here, self._named = here, named

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if path is not None or (name in KEPT and name != self._named):
            return None
        found = PathFinder.find_spec(name, [self._here])
        if found is None or found.origin is not None:
            return found
        # A folder without __init__.py, as data/ and docs/ are: it means a package only where nothing else does, or
        # where it was named.
        elsewhere = PathFinder.find_spec(name)
        return found if name == self._named and elsewhere is not None and elsewhere.origin is not None else None


def _files(here: Path) -> dict[str, Path]:
    """The modules and packages of the folder, by name."""
    found = {path.stem: path for path in here.glob("*.py")}
    return found | {path.parent.name: path.parent for path in here.glob("*/__init__.py")}


def _both(here: str, named: str) -> set[str]:
    """The names that the user's modules may find in the folder, and that are installed as well."""
    return {name for name in _files(Path(here)) if (name not in KEPT or name == named) and _installed(name, here)}


def _installed(name: str, here: str) -> bool:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None) if hasattr(finder, "find_spec") else None
        if spec is not None:  # the folder stands last on the path: it is found where nothing else is
            return os.path.dirname(spec.origin or "") not in (here, os.path.join(here, name))
    return False


@contextmanager
def _handed_over(names: Collection[str]) -> Iterator[None]:
    """In the block these names mean the user's modules, and after it what they meant before."""
    libraries = _take(names)
    sys.modules.update({name: module for name, module in _theirs.items() if name.partition(".")[0] in names})
    try:
        yield
    finally:
        _theirs.update(_take(names))
        sys.modules.update(libraries)


def _take(names: Collection[str]) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in names}
