"""One contestant on one case: started as a process, watched in the store, stopped, and judged by what it left.

Nothing is asked of the contestant itself. Its throughput is the events between the first markers that were seen in the
store and the last one, so start-up counts for nobody; it is stated apart. CPU and memory come from /proc.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.judge import Verdict, judge
from benchmarks.stores import View, view
from benchmarks.workload import Case, Content, Encode, cloudevent

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers" / "bin" / "python"
"""The interpreter that has the peers installed; it knows nothing of logsync."""
Look = Callable[[Case, str, dict[str, str]], View]
POLL = 0.01
"""Seconds between two looks into the store; where a kill is due, a twentieth of it: it has to hit a moment."""
STALL = 120.0
"""Seconds without a new marker after which a contestant is given up."""


@dataclass(frozen=True)
class Job:
    """What a contestant is told."""

    case: Case
    topic: str
    run: str
    """Names everything in the stores and the consumer group."""
    servers: dict[str, str]
    """Addresses: LOGSYNC_KAFKA, LOGSYNC_POSTGRES, ..."""
    directory: Path
    """For files of its own; empty at first, kept over its restart."""

    @property
    def env(self) -> dict[str, str]:
        case = self.case
        return {
            **self.servers,
            "LOGSYNC_ENVIRONMENT": self.run,
            "BENCH_RUN": self.run,
            "BENCH_TOPIC": self.topic,
            "BENCH_STORE": case.store,
            "BENCH_MODEL": case.model,
            "BENCH_COLUMNS": ",".join(case.values),
            "BENCH_PARTITIONS": str(case.partitions),
            "BENCH_KINDS": str(case.kinds),
        }


@dataclass(frozen=True)
class Contestant:
    """``command`` gives argv and environment of a process that consumes ``job.topic`` from its beginning, or from where
    it was, until SIGTERM."""

    name: str
    promise: str
    does: frozenset[tuple[str, str]]
    """(store, model) pairs."""
    command: Callable[[Job], tuple[list[str], dict[str, str]]]
    settings: str = ""
    """What was chosen, and on whose advice; for the report."""
    encode: Callable[[Case], Encode] = cloudevent
    """A contestant that cannot read the common records has a topic of its own, with the same events."""
    own_schema: bool = False
    """True: makes its tables and indices itself."""
    share: float = 1.0
    """The part of the case's events that a slow one gets."""


@dataclass
class Outcome:
    """What one run gave."""

    contestant: str
    events: int
    per_second: float = 0.0
    start_up: float = 0.0
    """Seconds from the start of the process to the first marker."""
    cpu_us: float = 0.0
    """CPU of the process and its children per event, user and system, while it was measured."""
    peak_mb: int = 0
    """VmHWM of the process and its children, added up."""
    progress: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the first marker, events visible)."""
    restart: float = 0.0
    """Seconds from the restart after a kill to the next marker."""
    verdict: Verdict = field(default_factory=Verdict)
    failure: str = ""


class Process:
    """The contestant's process with all its children."""

    def __init__(self, contestant: Contestant, job: Job) -> None:
        argv, env = contestant.command(job)
        self.log = job.directory / "log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, env={**os.environ, **env}, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._root = psutil.Process(self._process.pid)

    def tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """Seconds of CPU so far; those of children that ended are counted by their parent."""
        total = 0.0
        for process in self.tree():
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def peak_mb(self) -> int:
        kilobytes = 0
        for process in self.tree():
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            kilobytes += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return kilobytes // 1024

    def check(self) -> None:
        if self._process.poll() is not None:
            raise Failed(f"ended by itself with {self._process.returncode}", self.log)

    def kill(self) -> None:
        """SIGKILL to all of it. Returns when it is gone."""
        members = self.tree()
        for process in members:
            process.kill()
        psutil.wait_procs(members, timeout=10)
        self._process.wait()

    def stop(self, timeout: float = 15) -> None:
        """SIGTERM, and SIGKILL for what is still there afterwards."""
        members = self.tree()
        if self._process.poll() is None:
            self._process.terminate()
        _, alive = psutil.wait_procs(members, timeout=timeout)
        for process in alive:
            process.kill()
        self._process.wait()


class Failed(Exception):
    """The contestant did not do the work."""

    def __init__(self, what: str, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
        super().__init__("\n".join([what, *lines]))


class Watch:
    """How far the store is, by its markers."""

    def __init__(self, store: View, case: Case) -> None:
        self._store, self._case = store, case
        self._next = [0] * case.partitions

    def look(self) -> float:
        """The part of all events that is visible, from the markers; 0 before the first."""
        case, last = self._case, self._case.marks
        asked = {case.marker(p, at): p for p, at in enumerate(self._next) if at <= last}
        found = self._store.visible(list(asked)) if asked else set()
        for name in found:
            partition = asked[name]
            rest = [case.marker(partition, n) for n in range(self._next[partition] + 1, last + 1)]
            seen = self._store.visible(rest) if rest else set()
            self._next[partition] += 1 + next((n for n, key in enumerate(rest) if key not in seen), len(rest))
        return sum(max(0, at - 1) for at in self._next) / (last * case.partitions)

    @property
    def begun(self) -> bool:
        return any(self._next)

    @property
    def done(self) -> bool:
        return all(at > self._case.marks for at in self._next)


def measure(
    contestant: Contestant, job: Job, count: int, content: Content, *, kill_at: float = 0.0, look: Look = view
) -> Outcome:
    """Run it to the end of the topic. ``kill_at``: SIGKILL once that part is visible, and start it again."""
    outcome = Outcome(contestant.name, count)
    store = look(job.case, job.run, job.servers)
    try:
        if not contestant.own_schema:
            store.prepare()
        _watched(contestant, job, store, outcome, kill_at)
        outcome.verdict = judge(content, store.content())
    except Failed as failed:
        outcome.failure = str(failed)
    finally:
        store.drop()
    return outcome


def _watched(contestant: Contestant, job: Job, store: View, outcome: Outcome, kill_at: float) -> None:
    watch, killed_at = Watch(store, job.case), 0.0
    started = time.perf_counter()
    process = Process(contestant, job)
    first = cpu = share = 0.0
    moved = started
    try:
        while not watch.done:
            before, share = share, watch.look()
            now = time.perf_counter()
            if share != before or (watch.begun and not first):
                moved = now
                if not first:
                    first, cpu = now, process.cpu()
                    outcome.start_up = now - started
                elif killed_at and not outcome.restart:
                    outcome.restart = now - killed_at
                outcome.progress.append((now - first, share * outcome.events))
            if kill_at and not killed_at and share >= kill_at:
                process.kill()
                killed_at = time.perf_counter()
                process = Process(contestant, job)
                continue
            process.check()
            if now - moved > STALL:
                raise Failed(f"no new marker for {STALL:.0f} s at {share:.0%}", process.log)
            time.sleep(POLL / 20 if kill_at and not killed_at else POLL)
        seconds, seen = outcome.progress[-1][0], outcome.progress[-1][1] - outcome.progress[0][1]
        if seconds > 0 and not killed_at:
            outcome.per_second, outcome.cpu_us = seen / seconds, (process.cpu() - cpu) / seen * 1e6
        outcome.peak_mb = process.peak_mb()
    finally:
        process.stop()
    # What it still had in flight has landed or died with it: only now is the content final.


def directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="logsync-bench-")


def python(module: str, *arguments: str) -> Callable[[Job], tuple[list[str], dict[str, str]]]:
    """A contestant that is one of the modules in peers/."""
    return lambda job: ([str(PEERS), "-m", module, *arguments], job.env)


def as_json(outcome: Outcome) -> dict[str, Any]:
    return {**vars(outcome), "verdict": vars(outcome.verdict)}
