"""Metrics for Prometheus, made of what a worker shows of itself.

Written here and not by ``prometheus_client``: that makes every value a float and writes 123456789 as 1.23456789e+08,
and an offset is whole or wrong. Its parsers read this text in a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(NamedTuple):
    """Samples of one name. A counter's samples end in ``_total``; the name of no other family may be its name."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    samples: Iterable[tuple[Mapping[str, str], int]]


class Observed(Protocol):
    """What a process shows of itself, asked on another thread. ``now`` is of its own clock, in seconds."""

    @property
    def label(self) -> tuple[str, str]:
        """What all of its samples carry: ``("sink", "db")``."""

    def alive(self, now: float, bound: float) -> tuple[bool, str]: ...
    def ready(self, now: float) -> tuple[bool, str]: ...
    def families(self, now: float) -> Iterable[Family]: ...


def metrics(observed: Observed, now: float, *, openmetrics: bool = False) -> str:
    """What is observed in the Prometheus text format 0.0.4, or as OpenMetrics 1.0.0."""
    lines: list[str] = []
    for family in observed.families(now):
        total = "_total" if family.kind == "counter" else ""
        name = f"logsync_{family.name}"
        titled = name if openmetrics else name + total
        lines += [f"# HELP {titled} {family.text}", f"# TYPE {titled} {family.kind}"]
        label, value = observed.label
        lines += [f"{name}{total}{_labels({label: value, **labels})} {count:d}" for labels, count in family.samples]
    return "\n".join([*lines, *(["# EOF"] if openmetrics else [])]) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"
