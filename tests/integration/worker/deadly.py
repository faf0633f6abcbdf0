"""A worker that ends, stops or hangs itself at one named step: one wrapper around Store and LogReader.

    python -m tests.integration.worker.deadly STEP N SINK [kill|stop|hang]

``kill`` is SIGKILL: no handler runs, nothing is flushed, nobody is told. ``stop`` is SIGSTOP: the process goes on
from there when a test continues it. ``hang`` waits for ever, as a store that neither answers nor breaks.

Before it kills itself it waits until Kafka has every commit that was asked for so far, because commits travel in the
background: then the pair (store's position, committed offset) tells exactly where it died. The line it prints names
the plan that it had in hand.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

import logsync.run
from logsync import Log
from logsync.cli.load import load_sink
from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import Store
from logsync.log.contract import Batch
from logsync.log.group import KafkaReader
from logsync.log.member import Membership
from logsync.observe.logs import log_to_stderr
from logsync.settings import Settings, load_settings
from tests.waiting import PATIENCE

STEPS = (
    "before-book",  # opened, nothing of the sink is stored
    "before-start",  # resume: the book is claimed, nothing is read yet
    "before-poll",  # the n-th plan is through, the next poll has not begun
    "after-poll",  # the n-th batch with records is in memory
    "before-apply",  # the n-th plan is made
    "between-documents-and-position",  # OpenSearch only: of the n-th plan
    "after-apply",  # the n-th plan is durable, Kafka does not know
    "after-commit",  # and now Kafka does
    "before-release",  # the n-th plan that retries parked events is made
    "after-release",  # and is durable
    "within-release",  # OpenSearch only: before the n-th request of such a plan that writes
)


READS = ("/_mget", "/_search", "/_refresh", "/_count")  # POST, and yet they only read


class Fate:
    """Counts how often each step was reached; at the chosen one, the process meets its fate."""

    def __init__(self, step: str, count: int, action: str) -> None:
        if step not in STEPS:
            raise SystemExit(f"expected a step of {', '.join(STEPS)}; found {step}")
        self._step, self._left, self._action = step, count, action
        self.commits = Commits()
        self.plan: Plan | None = None

    def reach(self, step: str) -> None:
        if step != self._step:
            return
        self._left -= 1
        if self._left:
            return
        if self._action == "kill":
            self.commits.settle()
        plan = self.plan
        ends = {"start": plan.start.next_offset, "end": plan.end.next_offset} if plan else {}
        print("FATE " + json.dumps({"step": step, **ends}), flush=True)
        match self._action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                threading.Event().wait()


class Commits:
    """What the reader was last asked to commit, and a way to wait until the broker has it."""

    def __init__(self) -> None:
        self.group = ""
        self.topic = ""
        self.asked: dict[int, int] = {}
        self.servers = ""
        self.serve: Callable[[], object] = lambda: None

    def settle(self) -> None:
        if not self.asked:
            return
        admin = AdminClient({"bootstrap.servers": self.servers})
        parts = [TopicPartition(self.topic, number) for number in self.asked]
        request = [ConsumerGroupTopicPartitions(self.group, parts)]
        while True:
            answer = admin.list_consumer_group_offsets(request)[self.group].result(PATIENCE)
            if {part.partition: part.offset for part in answer.topic_partitions} == self.asked:
                return
            self.serve()
            time.sleep(0.02)


class DeadlyReader(KafkaReader):
    """The real reader; ``fate`` is set by ``main``."""

    fate: Fate

    def __init__(self, log: Log, sink: str, settings: Settings, membership: Membership) -> None:
        super().__init__(log, sink, settings, membership)
        commits = self.fate.commits
        commits.group, commits.topic, commits.servers = self.group, self.topic, settings.kafka
        # Waiting commits are sent when earlier ones are answered, and answers arrive in poll. The records that it
        # swallows are never missed: the process is about to die.
        commits.serve = lambda: KafkaReader.poll(self, 0, 1)
        self._through = False

    def poll(self, timeout: float, limit: int) -> Batch:
        if self._through:
            self._through = False
            self.fate.reach("before-poll")
        batch = super().poll(timeout, limit)
        if any(part.records for part in batch.parts):
            self.fate.reach("after-poll")
        return batch

    def start(self, position: Position) -> None:
        self.fate.reach("before-start")
        super().start(position)

    def commit(self, position: Position) -> None:
        applied = self.fate.plan is not None and self.fate.plan.end == position
        if applied:
            self.fate.reach("after-apply")
        super().commit(position)
        self.fate.commits.asked[position.partition] = position.next_offset
        if applied:
            self._through = True
            self.fate.reach("after-commit")


class DeadlyStore:
    """A real store with the steps around it; everything else is handed through."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self._store, self._fate = store, fate

    @property
    def meanwhile(self) -> Callable[[], bool] | None:
        return self._store.meanwhile

    @meanwhile.setter
    def meanwhile(self, work: Callable[[], bool] | None) -> None:
        self._store.meanwhile = work

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        self._fate.reach("before-book")
        self._store.write_book(book, positions=positions)

    def apply(self, plan: Plan) -> None:
        self._fate.plan = plan
        self._fate.reach("before-release" if plan.released else "before-apply")
        try:
            self._store.apply(plan)
            if plan.released:
                self._fate.reach("after-release")
        except Exception as error:
            print(f"REFUSED {type(error).__name__}", flush=True)
            raise


def watch_documents(fate: Fate) -> None:
    """Reach a step before the bulk request that moves the position, which is the one without versions; and one
    before every request with which a retry writes."""
    from opensearchpy import Transport

    send = Transport.perform_request

    def perform(self: Transport, method: str, url: str, *args: Any, **options: Any) -> Any:
        body = options.get("body") or b""
        if url == "/_bulk" and fate.plan is not None and b'"version"' not in bytes(body).partition(b"\n")[0]:
            fate.reach("between-documents-and-position")
        if fate.plan is not None and fate.plan.released and method != "GET" and not url.endswith(READS):
            fate.reach("within-release")
        return send(self, method, url, *args, **options)

    Transport.perform_request = perform  # type: ignore[method-assign]


def main(step: str, count: str, name: str, action: str = "kill") -> None:
    settings, sink = load_settings(), load_sink(name)
    fate = Fate(step, int(count), action)
    if step in ("between-documents-and-position", "within-release"):
        watch_documents(fate)
    DeadlyReader.fate = fate
    logsync.run.KafkaReader = DeadlyReader  # type: ignore[misc, attr-defined]
    sink.store = DeadlyStore(sink.store, fate)  # type: ignore[assignment]
    log_to_stderr("human")
    logsync.run.run_worker(sink, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
