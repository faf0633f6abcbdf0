"""Health for an orchestrator: does the loop turn, and does the worker make progress against the log?

Everybody who can reach the port may read this, without a password. So it tells states and numbers: no names or
addresses of servers and nothing that they or their clients said. Those are in the worker's log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from logsync.observe.metrics import Family
from logsync.worker_status import WorkerState, WorkerStatus

STALE = 30.0
"""Seconds without progress, while behind the log's end, after which a worker is not ready."""


def alive(report: WorkerStatus, now: float, bound: float) -> tuple[bool, str]:
    """Liveness: the loop still turns. A worker that waits for its store is alive; restarting it mends nothing."""
    still = now - report.turned_at
    return still <= bound, f"the loop turned {still:.1f} s ago"


def ready(report: WorkerStatus, now: float) -> tuple[bool, str]:
    """Readiness: progress against the log's end as the broker tells it, not the worker's own opinion."""
    if report.state is WorkerState.STANDBY:
        return True, "standby: no partition is assigned, other workers of the sink hold them all"
    if report.waits_for:
        return False, f"waits for sink {report.waits_for}, which goes first"
    if report.state is not WorkerState.RUNNING:
        return False, f"{report.state.value}: the worker's log says why"
    if report.positions and now - report.looked_at > STALE:
        return False, f"the log's end was last read {now - report.looked_at:.0f} s ago"
    if report.lag and now - report.moved_at > STALE:
        held = sum(report.held.values())
        why = f": {held} of them stand behind a transaction that is open" if held else ""
        return False, f"{report.lag} offsets behind and no progress for {now - report.moved_at:.0f} s{why}"
    return True, f"{report.lag} offsets behind the log's end"


def families(report: WorkerStatus, now: float) -> Iterator[Family]:
    yield Family("applied_events", "counter", "Events that a handler saw.", [({}, report.applied)])
    rules = sorted(dict(report.skipped).items())
    skipped = [({"rule": rule}, count) for rule, count in rules]
    yield Family("skipped_events", "counter", "Events passed over by a stated rule.", skipped)
    yield Family("parkings", "counter", "Events that were set aside.", [({}, report.parked)])
    yield Family("released_events", "counter", "Parked events that were applied later.", [({}, report.released)])
    yield Family("plans", "counter", "Plans applied to the store.", [({}, report.batches)])
    yield Family("retries", "counter", "Times the worker began again from the store.", [({}, report.retries)])
    yield Family("conflicts", "counter", "Positions found moved by somebody else.", [({}, report.conflicts)])
    for name, values, text in (
        ("position", report.positions, "Next offset to read, as stored with the data."),
        ("log_end", report.ends, "The log's end, as read from the broker."),
        ("parked_events", report.waiting, "Events that are set aside now."),
        ("held_back", report.held, "Offsets behind a transaction that is open: nobody can read them yet."),
    ):
        yield Family(name, "gauge", text, [({"partition": str(p)}, value) for p, value in sorted(values.items())])
    yield Family("lag", "gauge", "Offsets between the positions and the log's end.", [({}, report.lag)])
    yield Family("ready", "gauge", "1 if the worker is ready.", [({}, int(ready(report, now)[0]))])


@dataclass(frozen=True)
class ObservedWorker:
    """A worker as health and metrics see it."""

    sink: str
    report: WorkerStatus

    @property
    def label(self) -> tuple[str, str]:
        return "sink", self.sink

    def alive(self, now: float, bound: float) -> tuple[bool, str]:
        return alive(self.report, now, bound)

    def ready(self, now: float) -> tuple[bool, str]:
        return ready(self.report, now)

    def families(self, now: float) -> Iterator[Family]:
        return families(self.report, now)
