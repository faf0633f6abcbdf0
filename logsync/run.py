"""A worker as a process: signals, the bound on shutdown, health, and the way to "until the end"."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from logsync.core.sink import Sink
from logsync.errors import LogUnavailable, StoreError
from logsync.log.group import KafkaReader
from logsync.log.member import Membership, membership
from logsync.observe.health import ObservedWorker
from logsync.observe.listening import Listening
from logsync.observe.server import Health
from logsync.ops.access import opened
from logsync.settings import Settings
from logsync.signals import stopped_by_signals
from logsync.worker import Worker
from logsync.worker_status import WorkerStatus

log = logging.getLogger("logsync.worker")
_ALONE = 3.0
"""Seconds without any partition after which "until the end" looks at what the group's other workers have done."""

_OBJECTS = 200_000
"""How many new objects there may be before the collector of cycles looks at them; Python's own figure is 700."""
_OTHERS = 5.0
"""Seconds in which a running worker finds a request; after that the command that asked becomes a worker."""


def run_worker(
    sink: Sink,
    settings: Settings,
    *,
    until_end: bool = False,
    from_log_start: bool = False,
    accept_from_now: bool = False,
    health: Listening | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Run one worker of ``sink`` on this thread until SIGTERM or SIGINT, or until it is caught up.

    ``until_end`` stops once the positions reach the log's end as it was when the worker began. With several
    workers in the group it waits for the partitions assigned to this one, or for all if it has none.
    Meanwhile ``on_progress(done, total)`` is called, often, with offsets since the start of this run, and ``health``
    is where /live, /ready and /metrics are served.
    Raises LogsyncError for what a person has to mend. The first signal lets the plan in the store finish,
    within ``settings.drain_timeout``; a second one ends the process at once. Both are safe at any moment.
    A program that calls this itself, and not by `logsync consume`, ends as ``logsync.log.closing.late`` says.
    """
    kind = membership(settings)
    if until_end and kind is Membership.STAY:
        kind = Membership.LEAVE  # it ends by itself, and nobody takes its place
    reader = KafkaReader(sink.log, sink.name, settings, kind)
    worker = Worker(sink, reader, settings, from_log_start=from_log_start, accept_from_now=accept_from_now)
    with ExitStack() as stack:
        if health is not None:
            bound = 2 * settings.store_timeout + 60
            stack.enter_context(Health(ObservedWorker(sink.name, worker.status), health, bound=bound))
        stack.enter_context(stopped_by_signals(worker, settings.drain_timeout))
        stack.enter_context(collected_rarely())
        stack.enter_context(worker)
        if until_end:
            worker.run(_Goal(sink, settings, reader, on_progress))
        else:
            worker.run()
    log.info("stopped", extra={"sink": sink.name, "positions": worker.status.positions})


def run_retry(sink: Sink, settings: Settings, request: str, *, on_progress: Callable[[int, int], None]) -> None:
    """Wait until the owners of the partitions are through with ``request``; become the owner of those that have none.

    A running worker of the sink finds the request within seconds. This one joins its group in any case: it owns
    what nobody owns, and applies nothing new. Ends early on a signal, as :func:`run_worker` does; the request then
    stays for the next worker. Raises LogsyncError for what a person has to mend. # K1
    """
    deadline = time.monotonic() + _OTHERS
    with opened(sink, settings):
        while _asked(sink, request) and time.monotonic() < deadline:  # joining would make the others rebalance
            time.sleep(0.2)
        if not _asked(sink, request):
            return
    reader = KafkaReader(sink.log, sink.name, settings)
    worker = Worker(sink, reader, settings, only_retry=True)
    looked = 0.0
    total = 0

    def done(report: WorkerStatus) -> bool:
        nonlocal looked, total
        total = max(total, report.released + sum(report.waiting.values()))
        if total:
            on_progress(report.released, total)
        if time.monotonic() - looked < 1:
            return False
        looked = time.monotonic()
        try:
            if not report.positions:
                sink.store.open(sink.name, settings)  # not ours so far: nobody else has opened it
            return not _asked(sink, request)
        except StoreError:
            return False  # the worker meets it too, and waits

    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(worker, settings.drain_timeout))
        stack.enter_context(worker)
        worker.run(done)


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Let Python look for cycles less often than once per plan.

    A plan of 5,000 events has some 70,000 objects that live until it is applied. None of them is part of a cycle, so
    reference counting frees them. Looking through them, and often through everything that was ever imported, took a
    third of a worker's CPU. Cycles that handlers make are still found, a little later.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _asked(sink: Sink, request: str) -> bool:
    book = sink.store.read_book()
    return book is not None and any(asked.id == request for asked in book.requests)


@dataclass
class _Goal:
    """Tells when the end seen at the start is reached, and reports progress towards it."""

    sink: Sink
    settings: Settings
    reader: KafkaReader
    on_progress: Callable[[int, int], None]
    idle_since: float = field(default_factory=time.monotonic)
    starts: dict[int, int] = field(default_factory=dict)
    targets: dict[int, int] = field(default_factory=dict)

    def __call__(self, report: WorkerStatus) -> bool:
        for partition, position in report.positions.items():
            if partition not in self.starts:  # it may have a target already: its owner was waited for
                try:
                    # With what stands behind a transaction that is open: it was appended before, and counts.
                    self.targets.setdefault(partition, self.reader.written([partition])[partition])
                except LogUnavailable:
                    return False  # the worker meets the same outage in its next step, and waits
                self.starts[partition] = position
        mine = report.positions.keys() & self.targets.keys()
        done = sum(report.positions[number] - self.starts[number] for number in mine)
        self.on_progress(done, sum(self.targets[number] - self.starts[number] for number in mine))
        if mine:
            self.idle_since = time.monotonic()
            return all(report.positions[number] >= self.targets[number] for number in mine)
        return time.monotonic() - self.idle_since >= _ALONE and self._others_are_there()

    def _others_are_there(self) -> bool:
        """No partition is ours: other workers of the group hold them all, and the store says how far they are."""
        self.idle_since = time.monotonic()
        try:
            self.sink.store.open(self.sink.name, self.settings)
            stored = self.sink.store.positions()
            for partition in stored.keys() - self.targets.keys():
                self.targets[partition] = self.reader.written([partition])[partition]
        except (StoreError, LogUnavailable):
            return False
        return bool(stored) and all(position.next_offset >= self.targets[n] for n, position in stored.items())
