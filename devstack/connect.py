"""Kafka Connect: no server of a stack, but a program that benchmarks and tests start with one plugin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from . import jars
from .server import java
from .stack import HOME

STANDALONE = "org.apache.kafka.connect.cli.ConnectStandalone"
DISTRIBUTED = "org.apache.kafka.connect.cli.ConnectDistributed"


def command(
    folder: Path,
    plugin: str,
    main: str,
    worker: Mapping[str, object],
    connectors: Iterable[str] = (),
    *,
    heap: str,
    bench: bool = False,
    repo: Path = HOME / "jars",
) -> list[str]:
    """The command line of a worker that has one plugin: ``debezium`` or ``debezium-postgres``, see ``jars``.

    Fetches the jars that are missing below ``repo``, and writes the worker's settings into ``folder``.
    ``connectors``: files of settings, for a standalone worker.
    """
    classpath = jars.classpath("connect", repo, lambda _done, _total: None)
    plugins = folder / "plugins" / plugin
    if not plugins.exists():
        plugins.mkdir(parents=True)
        provided = {Path(jar).name for jar in classpath.split(":")}  # Jackson twice would not recognise its own modules
        for jar in map(Path, jars.classpath(plugin, repo, lambda _done, _total: None).split(":")):
            if jar.name not in provided:
                (plugins / jar.name).symlink_to(jar)
    settings = {**worker, "plugin.path": plugins.parent, "plugin.discovery": "only_scan"}
    files = [properties(folder / "worker.properties", settings), *connectors]
    return [*java(heap=heap, bench=bench), "-Dlog4j2.level=WARN", "-cp", classpath, main, *files]


def properties(path: Path, settings: Mapping[str, object]) -> str:
    """Write a file of settings. Returns its path."""
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(path)
