"""Processes that outlive their starter, and can still be found, paused and ended by anybody later."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil


class StackError(Exception):
    """A server could not do what was asked. The text names the server and says what to look at."""


@dataclass(frozen=True)
class Command:
    """What to run. `user` and `group` are set only when a server must not run as root."""

    argv: Sequence[str]
    env: Mapping[str, str]
    user: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class Pid:
    """A process by id *and* start time: a recycled id is somebody else's process and is never touched."""

    pid: int
    started: float

    def process(self) -> psutil.Process | None:
        """Return the live process, or None. A zombie is dead: nobody may have collected its exit code yet."""
        _reap(self.pid)
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.started) < 0.01 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Pid | None:
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


# Children of this very process, kept so that their exit codes are collected and no zombie stays behind.
_children: dict[int, subprocess.Popen[bytes]] = {}


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        _children.pop(pid, None)


def spawn(command: Command, *, cwd: Path, log: Path) -> Pid:
    """Start a server in its own session, so that neither Ctrl-C nor the end of the caller reaches it.

    Its working directory is the mark by which `strays` finds it should we die before its id is on disk.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(command.argv, start_new_session=True, **_how(command, cwd, out))
    _children[child.pid] = child
    started = 0.0  # matches no process
    with suppress(psutil.NoSuchProcess):  # it may have ended already; the log says why
        started = psutil.Process(child.pid).create_time()
    return Pid(child.pid, started)


def run(command: Command, *, cwd: Path, log: Path, timeout: float = 60) -> None:
    """Run a preparing step to its end, `timeout` in seconds. Raises CalledProcessError or TimeoutExpired."""
    with log.open("ab") as out:
        subprocess.run(command.argv, timeout=timeout, check=True, **_how(command, cwd, out))


def _how(command: Command, cwd: Path, out: IO[bytes]) -> dict[str, Any]:
    return {
        "cwd": cwd,
        "env": {**os.environ, **command.env},
        "stdin": subprocess.DEVNULL,
        "stdout": out,
        "stderr": subprocess.STDOUT,
        "user": command.user,
        "group": command.group,
        "extra_groups": None if command.user is None else [],
    }


def strays(cwd: Path, names: Sequence[str]) -> list[psutil.Process]:
    """Return live processes called one of `names` that work in `cwd` or below it.

    Found this way: servers whose starter died before it wrote their id, and Postgres backends (each has
    a session of its own) whose postmaster is gone. The name is checked so that a shell left in the folder is safe.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE or process.name() not in names:
                continue
            if Path(process.cwd()).is_relative_to(cwd):
                found.append(process)
    return found


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return `process` and its descendants, parent first: a stopped parent forks no further child."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def freeze(process: psutil.Process) -> None:
    """SIGSTOP the whole tree; look again until nothing new appeared between the look and the signal."""
    seen: set[int] = set()
    while fresh := [p for p in tree(process) if p.pid not in seen]:
        send(fresh, signal.SIGSTOP)
        seen.update(p.pid for p in fresh)
    # A process in a call of the kernel stops when that call ends: "paused" has to mean that nothing moves any more.
    deadline = time.monotonic() + 10
    while any(not _stands(p) for p in tree(process)) and time.monotonic() < deadline:
        time.sleep(0.005)


def _stands(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    return True


def thaw(process: psutil.Process) -> None:
    send(list(reversed(tree(process))), signal.SIGCONT)


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL and wait until they are gone, so that ports and data locks are free on return."""
    send(processes, signal.SIGKILL)
    wait_gone(processes, timeout=10)


def resident(processes: Sequence[psutil.Process]) -> int:
    """Return the bytes held: each process's own memory plus, once, what the largest of them shares."""
    own, shared = 0, 0
    for process in processes:
        with suppress(psutil.Error):
            memory = process.memory_info()
            theirs = getattr(memory, "shared", 0)  # Linux only
            own += memory.rss - theirs
            shared = max(shared, theirs)
    return own + shared


def wait_gone(processes: Sequence[psutil.Process], *, timeout: float) -> bool:
    """Return True when all have ended within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while any(_lives(p) for p in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _lives(process: psutil.Process) -> bool:
    """True while anything of the process is left.

    A killed JVM is a zombie at once, while its other threads, and with them its ports, take some more milliseconds.
    """
    _reap(process.pid)
    try:
        if not process.is_running():
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:  # includes zombies where the system does not tell their threads
        return False


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel drops it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
