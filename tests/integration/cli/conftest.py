"""A topic of its own per test, raw records in it, and a working directory with one sink for `logsync`."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.forked import Forked
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]
Headers = list[tuple[str, bytes]]
FOR_EVER = {"retention.ms": "-1"}


@dataclass
class Topic:
    """One topic, written to with the plain client: records as strangers would send them."""

    servers: str
    name: str
    partitions: int = 1
    config: dict[str, str] = field(default_factory=lambda: dict(FOR_EVER))

    def create(self) -> Topic:
        new = NewTopic(self.name, self.partitions, 1, config=self.config)
        admin = AdminClient({"bootstrap.servers": self.servers})  # it must outlive its futures
        for future in admin.create_topics([new]).values():
            future.result(PATIENCE)
        return self

    def delete(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.servers})
        for future in admin.delete_topics([self.name]).values():
            future.result(PATIENCE)

    def delete_before(self, offset: int) -> None:
        """What retention does: partition 0 begins at ``offset`` from now on."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        for future in admin.delete_records([TopicPartition(self.name, 0, offset)]).values():
            future.result(PATIENCE)

    def send(
        self, value: bytes | None, *, headers: Headers, key: bytes | None = b"k", partition: int = 0, at: int = 0
    ) -> int:
        """Append one record and return its offset; ``at`` is its timestamp in milliseconds (0: now)."""
        offsets: list[int] = []

        def done(error: object, message: object) -> None:
            assert error is None, error
            offsets.append(message.offset())  # type: ignore[attr-defined]

        producer = Producer({"bootstrap.servers": self.servers, "acks": "all", "linger.ms": 0})
        producer.produce(self.name, value, key, partition=partition, headers=headers, on_delivery=done, timestamp=at)
        assert producer.flush(20) == 0
        return offsets[0]

    def event(self, type: str, value: bytes | None, *, id: str = "", key: bytes | None = b"k", **more: object) -> int:
        """Append a well-formed CloudEvent and return its offset."""
        headers: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", (id or str(uuid.uuid4())).encode()),
            ("ce_type", type.encode()),
            ("ce_source", b"/tests"),
        ]
        return self.send(value, headers=headers, key=key, **more)  # type: ignore[arg-type]


@pytest.fixture
def topic(env: Mapping[str, str], unique: str) -> Topic:
    """A topic that exists, with one partition."""
    return Topic(env["LOGSYNC_KAFKA"], unique).create()


@dataclass
class Shell:
    """`logsync` as a person runs it: in a folder of its own, as a process of its own."""

    folder: Path
    env: dict[str, str]

    def __call__(
        self, *arguments: str, code: int | None = 0, timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end and check the exit code (None: any). Output is in the answer."""
        with TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            forked = Forked(["logsync.cli", *arguments], folder=self.folder, env=self.env, out=out, err=err)
            found = forked.wait(timeout)
            if found is None:
                forked.kill()
                raise AssertionError(f"{arguments} does not end:\n{out.read_text()}\n{err.read_text()}")
            done = subprocess.CompletedProcess(arguments, found, out.read_text(), err.read_text())
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "logsync.cli", *arguments],
            cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def database(env: dict[str, str], unique: str) -> Iterator[str]:
    """A database of its own: sinks are told apart by name within one, and here all are called `db`."""
    server = env["LOGSYNC_POSTGRES"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {unique}".encode())
    yield urlunsplit(urlsplit(server)._replace(path=f"/{unique}"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {unique} WITH (FORCE)".encode())


@pytest.fixture
def shell(env: dict[str, str], database: str, tmp_path: Path) -> Shell:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks/__init__.py").touch()
    # -m puts the working directory first on the path, as `logsync` does itself; the package is found behind it.
    here = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "LC_ALL": "C.UTF-8"}
    return Shell(tmp_path, {**here, **env, "LOGSYNC_POSTGRES": database})


@dataclass
class Deploy:
    """Writes a sink module: `thing.made` events become rows of one table. Any part can be replaced."""

    folder: Path
    topic: str
    table: str

    def __call__(
        self,
        *,
        name: str = "db",
        module: str = "db",
        topic: str = "",
        table: str = "",
        body: str = "yield Upsert(TABLE, key={'name': event.data.name}, values={'size': event.data.size})",
        more: str = "",
    ) -> None:
        ddl = f"CREATE TABLE {self.table} (name text PRIMARY KEY, size bigint);"
        (self.folder / f"sinks/{module}.sql").write_text(ddl)
        parts = {"name": name, "module": module, "topic": topic or self.topic, "table": table or self.table}
        (self.folder / f"sinks/{module}.py").write_text(SINK.format(**parts, owned=self.table, body=body, more=more))


@pytest.fixture
def deploy(shell: Shell, unique: str) -> Deploy:
    deploy = Deploy(shell.folder, unique, "things")
    deploy()
    return deploy


SINK = """
from pathlib import Path
from tempfile import TemporaryDirectory
from pydantic import BaseModel
from logsync import Event, Log, Sink
from logsync.stores.postgres import Increment, Postgres, Upsert

TABLE = "{table}"
log = Log("{topic}")


@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str
    size: int = 0


@log.event("thing.lost", key="name")
class ThingLost(BaseModel):
    name: str


sink = Sink("{name}", log, Postgres(schema=Path(__file__).with_name("{module}.sql"), tables=["{owned}"]))


@sink.on(ThingMade)
def thing_made(event: Event[ThingMade]):
    {body}

{more}
"""
