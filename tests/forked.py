"""Python processes of tests, forked from one that has imported logsync and its clients already.

A start of ``python -m logsync.cli`` is half a second of work, nearly all of it imports, and the tests with servers
make many hundreds. What is forked is a process like any other: it has its own id, environment, folder and output, and
is stopped and killed by signals. That the commands also start from nothing is proven where people start them so: in
tests/acceptance, tests/packaging and tests/unit/test_imports.py.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import PATIENCE

_IMPORTED = (
    "confluent_kafka.admin", "psycopg", "redis", "opensearchpy", "rich.console", "rich.table", "rich.box", "runpy",
    "logsync", "logsync.cli", "logsync.run", "logsync.ops.doctor", "logsync.ops.status", "logsync.ops.rebuild",
    "logsync.ops.trial", "logsync.ops.parked", "logsync.ops.positions", "logsync.ops.records",
    "logsync.stores.postgres.link", "logsync.stores.postgres.transaction", "logsync.stores.postgres.opening",
    "logsync.stores.postgres.inspect", "logsync.stores.redis", "logsync.stores.opensearch", "logsync.observe.server",
)  # fmt: skip
"""Nothing of the tests and no sinks: those are found from the folder in which a process is started."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(_IMPORTED))


class Forked:
    """``python -m MODULE ARGUMENTS`` in ``folder``, with this environment and no input."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, env: Mapping[str, str], out: Path, err: Path) -> None:
        given = (list(arguments), str(folder), dict(env), str(out), str(err))
        self._process = _forks.Process(target=_become, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit code; negative: the signal that ended it. None while it runs."""
        return self._process.exitcode

    def wait(self, patience: float = PATIENCE) -> int | None:
        """The same, once it has ended or ``patience`` is over."""
        self._process.join(patience)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _become(arguments: list[str], folder: str, env: dict[str, str], out: str, err: str) -> None:
    for number, (path, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), *[(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for path in (out, err)]]
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(folder)
    installed = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path[:] = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *installed]
    sys.argv[:] = arguments
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
