"""A stack: four real servers under one name, started together and found again by anybody."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .kafka import Kafka
from .opensearch import OpenSearch
from .postgres import Postgres
from .process import StackError, file_lock
from .redis import Redis
from .server import Server, Site, State

HOME = Path(__file__).resolve().parent.parent / ".devstack"
SERVERS: tuple[type[Server], ...] = (Kafka, Postgres, Redis, OpenSearch)
NAMES = tuple(kind.name for kind in SERVERS)

Progress = Callable[[str, str], None]  # (server, what it is doing); called from several threads


@dataclass(frozen=True)
class Status:
    """What one server is doing. `resident` is in bytes, children included."""

    server: str
    version: str
    state: State
    pid: int | None
    port: int | None
    url: str | None
    resident: int | None
    data: str
    log: str


class Stack:
    """The servers called `name`. Holds no state of its own: everything is on disk and in the process table.

    Safe to use from several processes: whatever starts or ends a server holds the stack's lock. `kill`, `pause` and
    `resume` do not wait for it, because a test wants them *now*.
    """

    def __init__(self, name: str = "dev", *, home: Path = HOME) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name) or name == "jars":
            raise StackError(f"a stack is named with a-z, 0-9 and '-', and not 'jars': got {name!r}")
        self.name = name
        self.home = home
        self.directory = home / name
        self.servers: dict[str, Server] = {
            kind.name: kind(Site(name, home, self.directory / kind.name)) for kind in SERVERS
        }

    def up(
        self, *, only: Iterable[str] = NAMES, bench: bool | None = None, progress: Progress = lambda _s, _w: None
    ) -> None:
        """Return when every server of `only` answers; those that do already are left alone.

        A dead server comes back on its port with its data. `bench` switches the Java servers between the frugal and
        the production-like runtime, None keeps what they have. Raises StackError naming each server that failed.
        """
        chosen = [self._server(name) for name in only]
        with self._lock():
            self._configure(chosen, bench)

            def start(server: Server) -> str | None:
                try:
                    server.start(lambda what: progress(server.name, what))
                except StackError as error:
                    progress(server.name, "failed")
                    return str(error)
                return None

            with ThreadPoolExecutor(len(self.servers)) as pool:
                failures = [text for text in pool.map(start, chosen) if text]
        if failures:
            raise StackError("\n\n".join(failures))

    def down(self) -> None:
        """End every process of this stack, in parallel; keep ports and data. No-op when nothing runs."""
        with self._lock():
            self._stop_all()

    def reset(self) -> None:
        """`down`, and delete the data: the next `up` starts empty, on new ports."""
        with self._lock():
            self._stop_all()
            for server in self.servers.values():
                server.delete()
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str) -> None:
        """Start one server, on its old port and data if it had any. Returns when it answers."""
        self.up(only=[name])

    def stop(self, name: str) -> None:
        """End one server in the orderly way."""
        with self._lock():
            self._server(name).stop()

    def restart(self, name: str) -> None:
        """Stop one server if it runs, then start it on the same port and data. Returns when it answers."""
        self.stop(name)
        self.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL one server and all its children. Returns when they are gone."""
        self._server(name).kill()

    def pause(self, name: str) -> None:
        """SIGSTOP one server and all its children: connections stay open and nothing answers."""
        self._server(name).pause()

    def resume(self, name: str) -> None:
        """Let a paused server go on."""
        self._server(name).resume()

    def env(self) -> dict[str, str]:
        """Return the address of every server this stack has ever started, by environment variable."""
        found = {s.variable: s.url for s in self.servers.values() if s.known}
        if not found:
            raise StackError(f"stack {self.name!r} does not exist: python -m devstack up --name {self.name}")
        return found

    def status(self) -> list[Status]:
        return [_status(server) for server in self.servers.values()]

    def log(self, name: str) -> Path:
        """Return where a server's log is."""
        return self._server(name).log

    def _server(self, name: str) -> Server:
        try:
            return self.servers[name]
        except KeyError:
            raise StackError(f"no server {name!r}: choose from {', '.join(NAMES)}") from None

    def _configure(self, chosen: list[Server], bench: bool | None) -> None:
        with file_lock(self.home / "ports.lock"):  # two stacks that choose at once must not choose the same
            taken = [s.port for stack in self._others() for s in stack.servers.values() if s.known]
            for server in chosen:
                before = server.known and server.bench
                server.configure(bench=bench, taken=taken)
                if server.bench != before:
                    server.stop()

    def _others(self) -> Iterator[Stack]:
        for directory in self.home.iterdir():
            if directory.name != self.name and (directory.is_dir() and list(directory.glob("*/settings.json"))):
                yield Stack(directory.name, home=self.home)

    def _stop_all(self) -> None:
        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(lambda server: server.stop(), self.servers.values()))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with file_lock(self.home / f"{self.name}.lock"):
            yield


def _status(server: Server) -> Status:
    process, known = server.process, server.known
    return Status(
        server=server.name,
        version=server.version,
        state=server.state,
        pid=process.pid if process else None,
        port=server.port if known else None,
        url=server.url if known else None,
        resident=server.resident(),
        data=str(server.data),
        log=str(server.log),
    )
