"""Health for an orchestrator: does the loop turn, and does the worker make progress against the log?

Everybody who can reach the port may read this, without a password. So it tells states and numbers: no names or
addresses of servers and nothing that they or their clients said. Those are in the worker's log.
"""

from __future__ import annotations

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
    if report.state is not WorkerState.RUNNING:
        return False, f"{report.state.value}: the worker's log says why"
    if report.positions and now - report.looked_at > STALE:
        return False, f"the log's end was last read {now - report.looked_at:.0f} s ago"
    if report.lag and now - report.moved_at > STALE:
        held = sum(report.held.values())
        why = f": {held} of them stand behind a transaction that is open" if held else ""
        return False, f"{report.lag} offsets behind and no progress for {now - report.moved_at:.0f} s{why}"
    return True, f"{report.lag} offsets behind the log's end"
