"""From a name on the command line to a Sink or a Log of the user's own code."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError

T = TypeVar("T")
_EXTRAS = {"psycopg": "postgres", "redis": "redis", "opensearchpy": "opensearch"}


def load_sink(name: str) -> Sink:
    """The sink that ``name`` means: ``db`` is ``sink`` in ``sinks/db`` here, ``pkg.mod:attr`` is any other.

    Raises ConfigError for a module that is not there or cannot be imported, and for anything but a Sink.
    """
    module, _, attribute = (name if ":" in name else f"sinks.{name}").partition(":")
    sink = _attribute(module, attribute or "sink", Sink)
    sink.address = name
    return sink


def load_log(name: str) -> Log:
    """The Log that ``pkg.mod:attr`` (default attribute: ``log``) names. Raises ConfigError."""
    module, _, attribute = name.partition(":")
    return _attribute(module, attribute or "log", Log)


def find_log(sink: str | None, log: str | None) -> tuple[Log, Sink | None]:
    """The log that ``--sink`` or ``--log`` names, or the one that all sinks under ``sinks/`` share."""
    if sink is not None:
        loaded = load_sink(sink)
        return loaded.log, loaded
    if log is not None:
        return load_log(log), None
    logs = {loaded.log.topic: loaded.log for loaded in (load_sink(name) for name in sink_names())}
    if len(logs) != 1:
        raise ConfigError(
            f"which log? The sinks under {Path.cwd() / 'sinks'} read {', '.join(sorted(logs)) or 'none'}",
            fix="name one: --sink SINK, or --log pkg.mod:log",
        )
    return next(iter(logs.values())), None


def named_or_all(names: list[str] | None) -> list[str]:
    """These sinks, or else all that are here. Raises ConfigError if there are none."""
    found = names or sink_names()
    if not found:
        raise ConfigError("no sinks here", fix="run from the folder that holds sinks/, or name one: pkg.mod:sink")
    return found


def sink_names() -> list[str]:
    """The modules under ``./sinks`` that have, or cannot be imported to see whether they have, a ``sink``."""
    names = []
    for path in Path("sinks").glob("*"):
        name = path.stem if path.suffix == ".py" else path.name if (path / "__init__.py").is_file() else ""
        if not name or name.startswith("_"):
            continue
        try:
            if isinstance(getattr(_import(f"sinks.{name}"), "sink", None), Sink):
                names.append(name)
        except LogsyncError:
            names.append(name)  # whoever loads it gets the reason; leaving it out would be silent
    return sorted(names)


def _attribute(module: str, attribute: str, kind: type[T]) -> T:
    found = getattr(_import(module), attribute, None)
    if isinstance(found, kind):
        return found
    what = "no such name" if found is None else f"a {type(found).__name__}"
    raise ConfigError(
        f"expected {kind.__name__.lower()} {attribute!r} in module {module}; found {what}",
        fix=f"define `{attribute} = {kind.__name__}(...)` there, or name another one: pkg.mod:name",
    )


def _import(module: str) -> ModuleType:
    """Import from the working directory first, where a console script would not look by itself."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except LogsyncError:
        raise  # a wrong declaration says itself what is wrong
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigError(f"no module {module}, looked from {here}", fix=_where_to_look(module)) from error
        raise _broken(module, error) from error
    except Exception as error:
        raise _broken(module, error) from error


def _where_to_look(module: str) -> str:
    if not module.startswith("sinks."):
        return "run logsync from the folder that holds the package"
    known = ", ".join(sink_names()) if Path("sinks").is_dir() else "there is no folder sinks/"
    file = module.replace(".", "/") + ".py"
    return f"write {file} with a `sink` in it, or run from the folder that holds sinks/ (here: {known or '-'})"


def _broken(module: str, error: Exception) -> ConfigError:
    """An import error of the user's own: said with the line it came from, not as a wall of frames."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    where = f", {frames[-1].filename} line {frames[-1].lineno}" if frames and frames[-1].filename != __file__ else ""
    package = (getattr(error, "name", None) or "").split(".")[0]
    extra = _EXTRAS.get(package) if isinstance(error, ModuleNotFoundError) else None
    fix = f"pip install 'logsync[{extra}]'" if extra else "`--debug` shows the whole traceback"
    return ConfigError(f"module {module} cannot be imported: {type(error).__name__}: {error}{where}", fix=fix)
