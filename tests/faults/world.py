"""One stack, one writer that never stops, and a lane per store: its worker processes and the eyes on it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import BaseModel

from devstack import Stack, process
from logsync import Producer
from logsync.log.topic import create_topic
from logsync.settings import Settings
from sinks.events import log
from tests.integration.kafka.cluster import Cluster
from tests.integration.worker.content import SERVER, VARIABLE
from tests.integration.worker.harness import KINDS, ROOT, Process, until
from tests.waiting import PATIENCE

from .fold import TOPIC, Fold, Tail
from .proxy import Proxy
from .writer import append

WAITING = "waiting, nothing is lost"
STORE_TIMEOUT, SESSION = 2.0, 6.0  # seconds; see docs/faults.md


class World:
    """Use as a context. The stack is emptied first, because the sinks' names are those of `sinks/`.

    Kafka is a broker of its own: writer and workers reach it by a listener that only ``kafka_proxy`` leads to, those
    who check it by the plain one.
    """

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack, self.seed = stack, seed

    def __enter__(self) -> World:
        process.kill(process.strays(self.stack.directory, ("java",)))  # the broker of a run that was killed
        self.stack.reset()
        self.stack.up(only=SERVER.values())
        self.folder = Path(tempfile.mkdtemp(prefix="logsync-faults-"))
        broker = Path(tempfile.mkdtemp(prefix="broker-", dir=self.stack.directory))
        self.kafka = Cluster(broker, 1, listeners={"FRONT": "PLAINTEXT"}, fronts={"FRONT": self._kafka_proxy})
        try:
            self._begin()
        except BaseException:
            self.kafka.close()
            raise
        return self

    def _begin(self) -> None:
        self.kafka.start()
        plain = {key: value for key, value in os.environ.items() if not key.startswith("LOGSYNC_")}
        session = {
            "session.timeout.ms": f"{SESSION * 1000:.0f}",
            "heartbeat.interval.ms": "1500",
            # A broker that comes back can forget to time out a member that has left (seen on 4.1.1: a worker that had
            # lost its session, a broker ended by a full disk); the others then wait for it so long.
            "max.poll.interval.ms": "20000",
        }
        self.env = {
            **plain,
            **self.stack.env(),
            "LOGSYNC_KAFKA": f"127.0.0.1:{self.kafka_proxy.port}",
            "PYTHONPATH": str(ROOT),
            "LOGSYNC_ENVIRONMENT": "faults",
            "LOGSYNC_BATCH_RECORDS": "200",  # many plans, so that faults meet them
            "LOGSYNC_STORE_TIMEOUT": str(STORE_TIMEOUT),
            "LOGSYNC_APPEND_TIMEOUT": "2",  # so that appends of unknown outcome and their retries happen
            "LOGSYNC_KAFKA_OPTIONS": json.dumps(session),
        }
        own = {key.removeprefix("LOGSYNC_").lower(): value for key, value in self.env.items() if "LOGSYNC_" in key}
        self.settings = Settings(_env_file=None, **{**own, "kafka_options": session})  # type: ignore[arg-type]
        create_topic(self.settings, TOPIC)
        self.tail = Tail(self.kafka.servers)
        self.producer = Producer(log, settings=self.settings)
        self.lanes = {kind: Lane(self, kind) for kind in KINDS}
        self.writer = Process(["tests.faults.writer", str(self.seed)], self.env, self.folder)
        self.grows(100)

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes.values():
            lane.close()
        self.writer.kill()
        self.producer.close(0)
        self.tail.close()
        self.kafka.close()
        self.stack.reset()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kafka_proxy(self, port: int) -> int:
        self.kafka_proxy = Proxy("127.0.0.1", port)
        return self.kafka_proxy.port

    def mend(self) -> None:
        """After a failed cell: Kafka runs and passes again."""
        self.kafka_proxy.pass_again()
        for number, node in self.kafka.nodes.items():
            node.resume()
            if not node.running:
                self.kafka.run(number)

    def append(self, *events: BaseModel) -> None:
        for event in events:
            append(self.producer, event)

    def grows(self, count: int) -> None:
        """Wait until the writer has put so many more events into the log."""
        goal = self.tail.end() + count
        until(lambda: self.tail.end() >= goal, lambda: f"the log grows to {goal}\n{self.writer.output[-2000:]}")

    def every_acknowledged_event_is_in_the_log(self) -> str:
        """Returns how many, and what became of those that were retried. # A1"""
        acknowledged = [line for line in self.writer.output.split("\n")[:-1] if len(line) == 36]
        facts, fold = self.tail.up_to(self.tail.end()), Fold()
        for fact in facts:
            fold.add(fact)
        found = {fact.id for fact in facts}
        lost = [event_id for event_id in acknowledged if event_id not in found]
        assert acknowledged, self.writer.output
        assert not lost, f"{len(lost)} acknowledged events are not in the log, the first is {lost[0]}"
        retried = f"{fold.retried} retries, {fold.doubles} of them twice in the log"
        return f"{len(acknowledged):,} appends acknowledged ({retried})"


class Lane:
    """One store with its sink's workers. ``position`` and ``committed`` are read without logsync."""

    def __init__(self, world: World, kind: str) -> None:
        self.world, self.kind, self.server, self.stack = world, kind, SERVER[kind], world.stack
        self.url = world.env[VARIABLE[kind]]
        self.group = f"logsync.{world.env['LOGSYNC_ENVIRONMENT']}.{kind}"
        self.proxy = self.new_proxy()
        self.processes: list[Process] = []
        self.worker: Process
        self._waited = 0
        self._fold = Fold()
        self.samples = 0
        self._eyes = Eyes(kind, self.url)  # this thread's; the watch has its own

    def new_proxy(self) -> Proxy:
        where = urlsplit(self.url)
        return Proxy(where.hostname or "", where.port or 0)

    def through(self, proxy: Proxy) -> dict[str, str]:
        """The environment of a worker that reaches its store by way of ``proxy``."""
        where = urlsplit(self.url)
        user = f"{where.username}@" if where.username else ""
        return {VARIABLE[self.kind]: where._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()}

    def close(self) -> None:
        for worker in self.processes:
            if worker.running:
                worker.kill()

    def mend(self) -> None:
        """After a failed cell: the store runs and passes again, no worker is left, and it holds what it must."""
        self.proxy.pass_again()
        self.proxy.release()
        self.close()
        self.stack.start(self.server)
        self.rebuild()

    def rebuild(self) -> None:
        env = {**self.world.env, "LOGSYNC_BATCH_RECORDS": "2000"}  # the log is long, and every cut of it must do
        Process(["logsync.cli", "rebuild", self.kind, "--yes"], env, self.world.folder).ends(0)

    def position(self) -> int | None:
        return self._eyes.position()

    def start(self, *, proxied: bool = False, env: Mapping[str, str] | None = None) -> Process:
        """An ordinary worker; the lane's one from now on. ``env``: what it has besides the world's."""
        given = {**self.world.env, **(self.through(self.proxy) if proxied else {}), **(env or {})}
        self.worker = Process(["logsync.cli", "consume", self.kind], given, self.world.folder)
        self.processes.append(self.worker)
        self._waited = 0
        return self.worker

    def catches_up(self, patience: float = PATIENCE) -> float:
        """Wait until the store holds all that the log holds now. Returns the seconds that it took."""
        end, began = self.world.tail.end(), time.monotonic()

        def there() -> bool:
            assert self.worker.running, f"the worker of {self.kind} has ended:\n{self.worker.output[-3000:]}"
            return (self.position() or 0) >= end

        said = lambda: f"{self.kind} at {end}; it is at {self.position()}\n{self.worker.output[-3000:]}"  # noqa: E731
        until(there, said, patience)
        return time.monotonic() - began

    def waits(self) -> None:
        """The worker says that it waits. An outage is said once, and again only after something was applied."""
        self._waited += 1
        self.worker.sees(WAITING, self._waited)

    def quiet(self) -> None:
        """Whatever the worker has said so far, the next ``waits`` is about what comes now."""
        self._waited = self.worker.output.count(WAITING)

    def is_the_fold(self) -> None:
        """SIGTERM drains; then the store's content is that of the log up to its position, value by value. # I3"""
        self.worker.terminate()
        position = self.position()
        assert position is not None
        if position < self._fold.at:  # the store went back, or was rebuilt
            self._fold = Fold()
        for fact in self.world.tail.up_to(position)[self._fold.at :]:
            self._fold.add(fact)
        found = self._fold.differences(self.kind, self.url)
        assert not found, f"{self.kind} is not the fold of the log up to {position}: {found}"

    @contextmanager
    def watched(self, *, may_go_back: bool) -> Iterator[None]:
        """I1 and I2 hold all the time: bookmark <= position, and no position moves back.

        ``may_go_back``: the store itself goes back in this block, so neither holds before the next resume (P2).
        """
        stop, broken = threading.Event(), list[str]()

        def watch() -> None:
            try:
                self._watch(stop, broken, may_go_back)
            except BaseException as error:
                broken.append(f"{self.kind} was not watched to the end: {error!r}")
                raise

        thread = threading.Thread(target=watch, name=f"watch-{self.kind}")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not broken, broken

    def _watch(self, stop: threading.Event, broken: list[str], may_go_back: bool) -> None:
        eyes, highest = Eyes(self.kind, self.url, self.world.kafka.servers, self.group), 0
        while not stop.wait(0.02):
            committed = eyes.committed()  # first: then it cannot look ahead of the position. # P2
            position = eyes.position()
            if committed is None or position is None:
                continue  # Kafka or the store is down: that is the fault
            self.samples += 1
            if not may_go_back:
                if committed > position:
                    broken.append(f"{self.kind}: bookmark {committed} > position {position}")  # I1
                if position < highest:
                    broken.append(f"{self.kind}: the position went from {highest} back to {position}")  # I2
            highest = position
        eyes.close()


class Eyes:
    """Position and bookmark, as plain clients see them; None if there is none, or nobody answers. For one thread."""

    def __init__(self, kind: str, url: str, kafka: str = "", group: str = "") -> None:
        self._kind, self._url = kind, url
        self._postgres: psycopg.Connection[Any] | None = None
        self._redis = redis.Redis.from_url(url, socket_timeout=1) if kind == "cache" else None
        self._http = httpx.Client(base_url=url, timeout=1) if kind == "search" else None
        config = {"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        self._kafka = Consumer(config) if kafka else None

    def close(self) -> None:
        for client in (self._postgres, self._redis, self._http, self._kafka):
            if client is not None:
                client.close()

    def committed(self) -> int | None:
        assert self._kafka is not None
        try:
            return max(0, self._kafka.committed([TopicPartition(TOPIC, 0)], timeout=1)[0].offset)
        except KafkaException:
            return None

    def position(self) -> int | None:
        with suppress(psycopg.Error, redis.RedisError, httpx.HTTPError):
            return {"db": self._in_db, "cache": self._in_cache, "search": self._in_search}[self._kind]()
        return None

    def _in_db(self) -> int | None:
        if self._postgres is None or self._postgres.closed:
            # Its own name: faults that end connections spare it, and a server that stands still cannot hold it.
            options = "-c default_transaction_read_only=off"
            self._postgres = psycopg.connect(
                self._url, autocommit=True, connect_timeout=2, application_name="eyes", options=options
            )
        row = self._postgres.execute("SELECT next_offset FROM logsync.position WHERE sink = 'db'").fetchone()
        return row and row[0]

    def _in_cache(self) -> int | None:
        assert self._redis is not None
        text: Any = self._redis.hget("logsync:cache:positions", "0")
        return None if text is None else json.loads(text)["next_offset"]

    def _in_search(self) -> int | None:
        assert self._http is not None
        found = self._http.get("/_alias/products")
        if found.status_code != 200:
            return None
        answer = self._http.get(f"/{next(iter(found.json()))}/_doc/logsync-position")
        if answer.status_code != 200:
            return None
        return answer.json()["_source"]["logsync_position"]["0"]["next_offset"]
