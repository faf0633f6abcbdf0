"""Metrics for Prometheus, made of what a worker shows of itself.

Written here and not by ``prometheus_client``: that makes every value a float and writes 123456789 as 1.23456789e+08,
and an offset is whole or wrong. Its parsers read this text in a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from logsync.observe.health import ready
from logsync.worker_status import WorkerStatus

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(NamedTuple):
    """Samples of one name. A counter's samples end in ``_total``; the name of no other family may be its name."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    samples: Iterable[tuple[Mapping[str, str], int]]


def metrics(sink: str, report: WorkerStatus, now: float, *, openmetrics: bool = False) -> str:
    """The report in the Prometheus text format 0.0.4, or as OpenMetrics 1.0.0."""
    lines: list[str] = []
    for family in families(report, now):
        total = "_total" if family.kind == "counter" else ""
        name = f"logsync_{family.name}"
        titled = name if openmetrics else name + total
        lines += [f"# HELP {titled} {family.text}", f"# TYPE {titled} {family.kind}"]
        lines += [f"{name}{total}{_labels({'sink': sink, **labels})} {value:d}" for labels, value in family.samples]
    return "\n".join([*lines, *(["# EOF"] if openmetrics else [])]) + "\n"


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


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"
