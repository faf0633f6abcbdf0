"""From a name on the command line to a Sink or a Log of the user's own code."""

from __future__ import annotations

import shlex
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from logsync.cli import imports
from logsync.cli.imports import import_here
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError
from logsync.sources.source import Source

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


def load_source(name: str) -> Source:
    """The source that ``name`` means: ``shop`` is ``source`` in ``sources/shop`` here, ``pkg.mod:attr`` is any other.

    Raises ConfigError as :func:`load_sink` does.
    """
    module, _, attribute = (name if ":" in name else f"sources.{name}").partition(":")
    source = _attribute(module, attribute or "source", Source)
    source.address = name
    return source


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
    return _names("sinks", "sink", Sink)


def source_names() -> list[str]:
    """The modules under ``./sources`` that have, or cannot be imported to see whether they have, a ``source``."""
    return _names("sources", "source", Source)


def _names(folder: str, attribute: str, kind: type[Sink] | type[Source]) -> list[str]:
    names = []
    for path in Path(folder).glob("*"):
        name = path.stem if path.suffix == ".py" else path.name if (path / "__init__.py").is_file() else ""
        if not name or name.startswith("_"):
            continue
        try:
            if isinstance(getattr(_import(f"{folder}.{name}"), attribute, None), kind):
                names.append(name)
        except LogsyncError:
            names.append(name)  # loading it gives the reason; leaving it out would be silent
    return sorted(names)


def _attribute(module: str, attribute: str, kind: type[T]) -> T:
    loaded = _import(module)
    found = getattr(loaded, attribute, None)
    if isinstance(found, kind):
        return found
    what = "no such name" if found is None else f"a {type(found).__name__}"
    others = [name for name, value in vars(loaded).items() if isinstance(value, kind)]
    raise ConfigError(
        f"expected {kind.__name__.lower()} {attribute!r} in module {module}; found {what}",
        fix=f"name {' or '.join(f'`{module}:{name}`' for name in others)}"
        if others
        else f"define `{attribute} = {kind.__name__}(...)` there, or name another one: pkg.mod:name",
    )


def _import(module: str) -> ModuleType:
    """Import from the working directory first, where a console script would not look by itself."""
    if not all(map(str.isidentifier, module.split("."))):
        raise ConfigError(
            f"{module.removeprefix('sinks.').removeprefix('sources.')!r} names no module", fix=_where_to_look(module)
        )
    try:
        return import_here(module)
    except LogsyncError:
        raise  # a wrong declaration says itself what is wrong
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise ConfigError(f"no module {module}, looked from {Path.cwd()}", fix=_where_to_look(module)) from error
        raise _broken(module, error) from error
    except (Exception, SystemExit) as error:  # a script without `if __name__ == "__main__"` would end the command
        raise _broken(module, error) from error


def _where_to_look(module: str) -> str:
    if meant := _meant(module):
        return f"perhaps you mean {' or '.join(_command(module, address) for address in meant)}"
    if module.startswith("sources.") and "/" not in module:
        return f"write {module.replace('.', '/')}.py with a `source` in it, or run from the folder that holds sources/"
    if not module.startswith("sinks.") or "/" in module:
        return "name a module as pkg.mod:sink, and run logsync from the folder that holds the package"
    known = ", ".join(sink_names()) if Path("sinks").is_dir() else "there is no folder sinks/"
    file = module.replace(".", "/") + ".py"
    return f"write {file} with a `sink` in it, or run from the folder that holds sinks/ (here: {known or '-'})"


def _meant(module: str) -> list[str]:
    """Addresses of sinks that stand here, for a name that is almost one: a file's, or with dots for the colon."""
    name = module.removeprefix("sinks.").removeprefix("./").replace("/", ".").removesuffix(".py")
    found = []
    for candidate in (name, name.rpartition(".")[0], f"sinks.{name}"):
        parts = candidate.split(".")
        path = Path(*parts)
        if (
            candidate != module
            and all(map(str.isidentifier, parts))
            and (path.is_dir() or path.with_suffix(".py").is_file())
        ):
            found += _sinks_in(candidate)
    return [*dict.fromkeys(found)]


def _sinks_in(module: str) -> list[str]:
    try:
        names = [name for name, value in vars(_import(module)).items() if isinstance(value, Sink)]
    except ConfigError:
        return [f"{module}:sink"]  # running that says what is wrong with it
    short = module.removeprefix("sinks.")
    return [short if name == "sink" and short != module and "." not in short else f"{module}:{name}" for name in names]


def _command(module: str, address: str) -> str:
    """The command that the user typed, with ``address`` where ``module`` was named."""
    typed = sys.argv[1:] if {module, module.removeprefix("sinks.")} & {*sys.argv[1:]} else ["consume", module]
    words = [address if word in (module, module.removeprefix("sinks.")) else word for word in typed]
    return f"`logsync {shlex.join(words)}`"


def _broken(module: str, error: BaseException) -> ConfigError:
    """An import error of the user's own: said with the line it came from, not as a wall of frames."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    ours = (__file__, imports.__file__)
    where = f", {frames[-1].filename} line {frames[-1].lineno}" if frames and frames[-1].filename not in ours else ""
    return ConfigError(
        f"module {module} cannot be imported: {type(error).__name__}: {error}{where}", fix=_mended(error)
    )


def _mended(error: BaseException) -> str:
    missing = (getattr(error, "name", None) or "").split(".")[0]
    extra = _EXTRAS.get(missing) if isinstance(error, ModuleNotFoundError) else None
    if extra:
        return f"pip install 'logsync[{extra}]'"
    asked = getattr(getattr(error, "obj", None), "__name__", None) if isinstance(error, AttributeError) else missing
    if file := imports.hidden(asked):
        return f"rename {file.name}: another module of this name is installed, and comes first"
    return "`--debug` shows the whole traceback"
