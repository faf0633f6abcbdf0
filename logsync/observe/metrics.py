"""Metrics for Prometheus, made of what a worker shows of itself."""

from __future__ import annotations

from logsync.observe.health import ready
from logsync.worker_status import WorkerStatus


def metrics(sink: str, report: WorkerStatus, now: float) -> str:
    """The report in the Prometheus text format, version 0.0.4."""
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> None:
        lines.extend((f"# HELP logsync_{name} {text}", f"# TYPE logsync_{name} {kind}"))
        lines.extend(f'logsync_{name}{{sink="{sink}"{labels}}} {value:g}' for labels, value in samples)

    metric("applied_events_total", "counter", "Events that a handler saw.", [("", report.applied)])
    metric(
        "skipped_events_total",
        "counter",
        "Events passed over by a stated rule.",
        [(f',rule="{rule}"', count) for rule, count in sorted(report.skipped.items())],
    )
    metric("parked_events_total", "counter", "Events that were set aside.", [("", report.parked)])
    metric("released_events_total", "counter", "Parked events that were applied later.", [("", report.released)])
    metric("plans_total", "counter", "Plans applied to the store.", [("", report.batches)])
    metric("retries_total", "counter", "Times the worker began again from the store.", [("", report.retries)])
    metric("conflicts_total", "counter", "Positions found moved by somebody else.", [("", report.conflicts)])
    for name, values, text in (
        ("position", report.positions, "Next offset to read, as stored with the data."),
        ("log_end", report.ends, "The log's end, as read from the broker."),
        ("parked_events", report.waiting, "Events that are set aside now."),
    ):
        metric(name, "gauge", text, [(f',partition="{p}"', offset) for p, offset in sorted(values.items())])
    metric("lag", "gauge", "Offsets between the positions and the log's end.", [("", report.lag)])
    metric("ready", "gauge", "1 if the worker is ready.", [("", float(ready(report, now)[0]))])
    return "\n".join(lines) + "\n"
