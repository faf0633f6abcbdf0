"""An instance id that a lock on this machine hands out: the successor of a worker that was killed is the same member.

Kafka waits ``session.timeout.ms`` for a member of which it hears nothing. A *static* member (KIP-345: one with a
``group.instance.id``) is not waited for: whoever joins with its id takes its place and its partitions at once, and no
partition of the others moves. What is needed is an id that a successor finds, and that no two living workers have.

The id names a lock. A worker takes the lowest number that is free among the files ``GROUP.LOG.0``, ``.1`` and so on,
by flock, and holds it until its consumer is closed. The kernel takes the lock back when the process ends, however that
comes about, and the next worker of the sink finds the same number free.

- *The same after a restart, never the same twice at once.* The id is a hash of what makes the lock one lock: this boot
  of the kernel, the file system of the folder, and the inode of the file. Two processes with one id would hold one
  lock, and that is what the kernel excludes. A host name or /etc/machine-id would not do: containers of one image share
  them, and not their /tmp. Two containers with folders of their own have two file systems or two inodes; two with one
  mounted folder share its locks. If a cleaner of /tmp removes a file whose lock is held, the next worker makes another
  inode: the file that is still open keeps its number from being used again.
- *What may still go wrong:* two copies of a virtual machine that were made while it ran have one boot id. Then Kafka
  fences the one that joined first, and that one goes on as a member without an id: ``logsync.log.member``.
- *Where:* ``logsync-UID`` in XDG_RUNTIME_DIR, else in the folder for temporary files. It must be a folder, and no
  link, of this user's, which is open to nobody else. Who makes one before us takes this worker's id away, and no more.
- *Without an id* (folders that are read-only or somebody else's, a file system without flock, no boot id as on macOS,
  more than MOST workers) a worker is a member as any other: right, and after a crash waited for. It says so once.

Files are never deleted here: after that, two processes could hold "the same" lock.
Only speed depends on all this. What keeps two workers apart is the store's compare-and-set. # F3
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("logsync.log")
MOST = 100
"""Workers of one sink on one machine that get an instance id."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
_told: set[str] = set()
_held: set[int] = set()  # files whose lock this process holds
_changing = threading.Lock()


class Instance:
    """A lock that is held, and the ``group.instance.id`` that it stands for. ``close`` gives it back."""

    def __init__(self, file: int, number: int, name: str) -> None:
        self._file: int | None = file
        self.number, self.id = number, name
        with _changing:
            _held.add(file)

    def close(self) -> None:
        """Called when the consumer that has this id is closed: from then on another process may be this member."""
        with _changing:
            file, self._file = self._file, None
            if file is None or file not in _held:  # given back, or left to the parent of this forked process
                return
            _held.discard(file)
        os.close(file)


def take(group: str, servers: str, topic: str) -> Instance | None:
    """The lowest free instance id on this machine for a member of ``group``; None where there is none. Never raises."""
    try:
        boot = _boot()
        if boot is None:
            _say_once("this system tells no boot id", logging.INFO)
            return None
        name = f"{group}.{_hash(servers, topic)}"  # two clusters may have groups of one name
        folder = _folder()
        try:
            return _lowest(folder, name, boot)
        finally:
            os.close(folder)
    except OSError as error:
        _say_once(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        return None


def _boot() -> str | None:
    with suppress(OSError):
        return BOOT.read_text().strip() or None
    return None


def _lowest(folder: int, name: str, boot: str) -> Instance:
    for number in range(MOST):
        file = _locked(folder, f"{name}.{number}")
        if file is not None:
            device, inode = os.fstat(folder).st_dev, os.fstat(file).st_ino
            return Instance(file, number, f"logsync-{number}-{_hash(boot, str(device), str(inode))}")
    raise OSError(f"{MOST} workers of this sink run here")


def _locked(folder: int, name: str) -> int | None:
    """The file with its lock, or None if somebody else has that. Raises OSError where a file cannot be locked."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(f"{name} is no file")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(file)  # cleaners of /tmp go by the time
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == os.fstat(file).st_ino:
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except FileNotFoundError:  # deleted between open and flock: a lock that nobody else would find
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _folder() -> int:
    """The folder of the locks, open. Raises OSError if there is none that is this user's alone."""
    first: OSError | None = None
    for base in (os.environ.get("XDG_RUNTIME_DIR"), _temporary()):
        if not base or not os.path.isabs(base):
            continue
        try:
            return _own(os.path.join(base, f"logsync-{os.geteuid()}"))
        except OSError as error:
            first = first or error
    raise first or OSError("there is no folder for temporary files")


def _temporary() -> str | None:
    with suppress(OSError):
        return tempfile.gettempdir()
    return None


def _own(path: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(folder)
        raise OSError(f"{path} is not this user's alone; expected its owner to be {os.geteuid()} and its mode 700")
    return folder


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _say_once(why: str, level: int = logging.WARNING) -> None:
    if why not in _told:
        _told.add(why)
        log.log(
            level,
            "no instance id for this worker, so its group waits session.timeout.ms for it after a crash",
            extra={"reason": why},
        )


def _after_fork_in_child() -> None:
    """A child shares the open file, and with it the lock: it would hold the number of a parent that was killed."""
    global _changing
    _changing = threading.Lock()
    for file in _held:
        with suppress(OSError):
            os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
