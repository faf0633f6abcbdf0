"""One topic, its three sinks, and the processes of one test."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import BaseModel

from logsync.core.codec import encode
from logsync.core.position import Position
from logsync.core.store import Store
from logsync.errors import StoreError, StoreUnavailable
from logsync.settings import Settings
from tests.forked import Forked
from tests.waiting import PATIENCE

from . import sinks
from .content import READ, VARIABLE
from .fold import Content, fold, read_log
from .sinks import ItemDropped, ItemLooked, ItemPut

ROOT = Path(__file__).parents[3]
KINDS = ("db", "cache", "search")


def until(condition: Callable[[], object], what: str | Callable[[], str], patience: float = PATIENCE) -> None:
    """Return when ``condition`` holds. Fails with ``what`` was waited for.

    A store that does not answer just now (a shard that is still recovering) is asked again, as a worker does.
    """
    deadline = time.monotonic() + patience
    while True:
        with suppress(StoreUnavailable):
            if condition():
                return
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


class Process:
    """One process of a test; both outputs go to one file."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = " ".join(arguments[-3:])
        self._path = folder / f"{uuid.uuid4().hex}.out"
        self._path.touch()
        self._popen: Forked | subprocess.Popen[bytes]
        if "LD_PRELOAD" in env:  # only a program that begins anew reads it
            with self._path.open("ab") as file:
                command = [sys.executable, "-m", *arguments]
                self._popen = subprocess.Popen(
                    command, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )
        else:
            self._popen = Forked(arguments, folder=folder, env=env, out=self._path, err=self._path)
        self.pid = self._popen.pid

    @property
    def output(self) -> str:
        return self._path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def sees(self, text: str, times: int = 1) -> Process:
        """Wait until its output has ``text``; fails if it ends without."""

        def seen() -> bool:
            ended = not self.running
            if self.output.count(text) >= times:
                return True
            assert not ended, f"{self.name} ended ({self._popen.poll()}) without {text!r}:\n{self.output}"
            return False

        until(seen, lambda: f"{text!r} in the output of {self.name}:\n{self.output}")
        return self

    def ends(self, code: int, patience: float = PATIENCE) -> str:
        """Wait until it ended, with this code (negative: a signal). Returns its output."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience)
        found = self._popen.poll()
        assert found is not None, f"{self.name} does not end:\n{self.output}"
        assert found == code, f"{self.name}: expected exit code {code}, found {found}:\n{self.output}"
        return self.output

    def signal(self, number: signal.Signals) -> None:
        assert self.running, f"{self.name} has ended ({self._popen.poll()}):\n{self.output}"
        self._popen.send_signal(number)

    def is_stopped(self) -> bool:
        assert self.running, f"{self.name} has ended ({self._popen.poll()}):\n{self.output}"
        return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)
        until(self.is_stopped, f"{self.name} stopped")

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def terminate(self) -> str:
        """SIGTERM; it finishes its plan and ends with code 0."""
        self.signal(signal.SIGTERM)
        return self.ends(0)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    @property
    def fate(self) -> dict[str, Any]:
        """The line that deadly.py prints before it does what it was told."""
        lines = [line for line in self.output.splitlines() if line.startswith("FATE ")]
        assert lines, f"{self.name} did not get to its step:\n{self.output}"
        found: dict[str, Any] = json.loads(lines[-1].removeprefix("FATE "))
        return found


class Case:
    """A topic of its own with the three sinks over it. ``order`` is what the sinks say about several partitions."""

    def __init__(self, env: Mapping[str, str], name: str, folder: Path, *, partitions: int = 1) -> None:
        self.name, self.folder, self.partitions = name, folder, partitions
        self.servers = env["LOGSYNC_KAFKA"]
        order = "per-key" if partitions > 1 else "total"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LOGSYNC_")},
            **env,
            "PYTHONPATH": str(ROOT),
            "LOGSYNC_BATCH_RECORDS": "20",  # a few hundred events are many plans
            "LOGSYNC_STORE_TIMEOUT": "20",
            sinks.NAME: name,
            sinks.ORDER: order,
        }
        self.session(1500)
        self.settings = Settings(_env_file=None, **{key.removeprefix("LOGSYNC_").lower(): v for key, v in env.items()})  # type: ignore[arg-type]
        self.sinks = sinks.make(name, order)  # type: ignore[arg-type]
        self.log = self.sinks["db"].log
        self.admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        self.processes: list[Process] = []
        self._opened: set[str] = set()
        self._producer = Producer(
            {"bootstrap.servers": self.servers, "enable.idempotence": True, "linger.ms": 1, "log_level": 0}
        )
        self._sent = 0
        self.create_topic()

    def session(self, milliseconds: int) -> None:
        """How long the group waits for a member of which it hears nothing."""
        options = {"session.timeout.ms": milliseconds, "heartbeat.interval.ms": milliseconds // 5}
        self.env["LOGSYNC_KAFKA_OPTIONS"] = json.dumps({key: str(value) for key, value in options.items()})

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        for kind in self._opened:
            self.sinks[kind].store.close()

    # The log

    def create_topic(self) -> None:
        config = {"retention.ms": "-1", "retention.bytes": "-1"}
        new = NewTopic(self.name, self.partitions, 1, config=config)
        self.admin.create_topics([new])[self.name].result(PATIENCE)

    def delete_topic(self) -> None:
        self.admin.delete_topics([self.name], operation_timeout=20)[self.name].result(PATIENCE)
        until(lambda: self.name not in self.admin.list_topics(timeout=10).topics, "the topic is gone")

    def delete_records(self, before: int) -> None:
        """What retention does: the log begins at ``before`` from now on."""
        part = TopicPartition(self.name, 0, before)
        for future in self.admin.delete_records([part]).values():
            assert future.result(PATIENCE).low_watermark == before

    def append(
        self, *events: BaseModel, event_id: str | None = None, headers: Iterable[tuple[str, bytes]] = ()
    ) -> None:
        """Append as a Producer does. ``headers`` are added as they are, reserved ones too."""
        failures: list[object] = []
        for event in events:
            coded = encode(self.log, event, event_id=event_id or str(uuid.uuid4()), time=datetime.now(UTC))
            while True:
                try:
                    self._producer.produce(
                        self.name, coded.value, coded.key, headers=[*coded.headers, *headers],
                        on_delivery=lambda error, _: failures.append(error) if error else None,
                    )  # fmt: skip
                    break
                except BufferError:
                    self._producer.poll(0.1)
        assert self._producer.flush(60) == 0
        assert not failures, failures

    def append_mix(self, count: int, *, keys: int = 12) -> None:
        """``count`` puts, drops and looks over a few keys; the same ones in every run."""
        chance = random.Random(self._sent)
        events: list[BaseModel] = []
        for n in range(self._sent, self._sent + count):
            k = f"k{chance.randrange(keys)}"
            roll = chance.random()
            if roll < 0.75:
                events.append(ItemPut(k=k, n=n, writer="mix"))
            else:
                events.append(ItemDropped(k=k) if roll < 0.95 else ItemLooked(k=k))
        self._sent += count
        self.append(*events)

    def expected(self) -> Content:
        return fold(read_log(self.servers, self.name))

    # Processes

    def start(
        self,
        kind: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = ("logsync.cli", "consume"),
    ) -> Process:
        """``logsync consume`` for one sink."""
        return self._spawn([*command, named(kind), *options], env)

    def start_deadly(
        self, step: str, count: int, kind: str, action: str = "kill", env: Mapping[str, str] | None = None
    ) -> Process:
        module = f"{__package__}.deadly"
        return self._spawn([module, step, str(count), named(kind), action], env)

    def start_writer(self, writer: str) -> Process:
        return self._spawn([f"{__package__}.writer", self.servers, self.name, writer])

    def rebuild(self, kind: str, *options: str) -> Process:
        return self._spawn(["logsync.cli", "rebuild", named(kind), *options, "--yes"])

    def _spawn(self, arguments: list[str], env: Mapping[str, str] | None = None) -> Process:
        self.processes.append(Process(arguments, {**self.env, **(env or {})}, self.folder))
        return self.processes[-1]

    # What is where

    def positions(self, kind: str) -> dict[int, int]:
        """Next offset by partition, as the store tells it."""
        return {number: position.next_offset for number, position in self.stored(kind).items()}

    def stored(self, kind: str) -> dict[int, Position]:
        return self._store(kind).positions()

    def has_book(self, kind: str) -> bool:
        return self._store(kind).read_book() is not None

    def _store(self, kind: str) -> Store:
        """The sink's store, opened once: conditions are asked for again and again."""
        sink = self.sinks[kind]
        if kind in self._opened:
            try:
                sink.store.read_book()
                return sink.store
            except StoreError:  # its server was killed since
                pass
        sink.store.open(sink.name, self.settings)
        self._opened.add(kind)
        return sink.store

    def group(self, kind: str) -> str:
        return f"logsync.{self.env['LOGSYNC_ENVIRONMENT']}.{self.sinks[kind].name}"

    def committed(self, kind: str) -> dict[int, int]:
        """Committed offset by partition; without those that have none."""
        group = self.group(kind)
        parts = [TopicPartition(self.name, number) for number in range(self.partitions)]
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)])
        return {
            part.partition: part.offset for part in answer[group].result(PATIENCE).topic_partitions if part.offset >= 0
        }

    def pair(self, kind: str) -> tuple[dict[int, int], dict[int, int]]:
        """(positions, committed offsets). Committed is read first: then it cannot look ahead of the position. # P2"""
        committed = self.committed(kind)
        return self.positions(kind), committed

    def members(self, kind: str) -> dict[str, set[int]]:
        """The partitions of each member of the sink's group, by member id."""
        group = self.group(kind)
        found = self.admin.describe_consumer_groups([group])[group].result(PATIENCE)
        return {
            member.member_id: {part.partition for part in member.assignment.topic_partitions}
            for member in found.members
        }

    def content(self, kind: str) -> Content:
        return READ[kind](self.env[VARIABLE[kind]], self.name)

    def ends(self) -> dict[int, int]:
        """The log's end by partition, transaction markers included."""
        from confluent_kafka.admin import OffsetSpec

        parts = {TopicPartition(self.name, number): OffsetSpec.latest() for number in range(self.partitions)}
        answer = self.admin.list_offsets(parts)
        return {part.partition: future.result(PATIENCE).offset for part, future in answer.items()}

    # Claims

    def reaches(self, kind: str, offset: int) -> None:
        """Wait until the sink's position in partition 0 is at least this."""
        until(lambda: self.positions(kind).get(0, -1) >= offset, f"position {offset} of {kind}")

    def catches_up(self, *kinds: str) -> None:
        ends = self.ends()
        for kind in kinds or KINDS:
            until(
                lambda kind=kind: self.positions(kind) == ends,  # type: ignore[misc]
                lambda kind=kind: f"{kind} at {ends}; it is at {self.positions(kind)}\n{self._outputs()}",  # type: ignore[misc]
            )

    def finish(self, *kinds: str) -> None:
        """Ordinary workers apply what is left, cut into other plans than those of the workers before them."""
        other_cut = {"LOGSYNC_BATCH_RECORDS": "50"}
        workers = {kind: self.start(kind, "--until-end", env=other_cut) for kind in kinds or KINDS}
        for worker in workers.values():
            worker.ends(0)

    def is_the_fold(self, *kinds: str) -> None:
        """The position stands at the log's end, Kafka's bookmark too, and the content is that of the log. # I1 I3"""
        ends, expected = self.ends(), self.expected()
        assert expected["tally"], "a fold of nothing proves nothing"
        for kind in kinds or KINDS:
            assert self.positions(kind) == ends, kind
            until(lambda kind=kind: self.committed(kind) == ends, f"{kind} committed")  # type: ignore[misc]
            found = self.content(kind)
            assert found == expected, f"{kind} is not the fold of the log"

    def _outputs(self) -> str:
        return "\n".join(f"--- {process.name}\n{process.output[-3000:]}" for process in self.processes)


def named(kind: str) -> str:
    """What a person writes on the command line for this sink, and what errors name in the commands that mend."""
    return f"{sinks.__name__}:{kind}"
