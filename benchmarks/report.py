"""From outcomes to ratios, a table and a page. Pure: no server, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Outcomes = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of one case: each contestant's rounds, as `run.as_json` gives them."""


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        return cls(statistics.median(values), min(values), max(values)) if values else None

    def show(self, form: str) -> str:
        if self.low == self.high:
            return f"{self.median:{form}}"
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


def good(outcome: Mapping[str, Any]) -> bool:
    """It came to the end, and a speed could be taken."""
    return not outcome["failure"] and outcome["per_second"] > 0


def ratio(mine: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], what: str) -> Spread | None:
    """The spread of mine / theirs, round by round: what a round's moment did to one, it did to the other."""
    pairs = [(a[what], b[what]) for a, b in zip(mine, theirs, strict=True) if good(a) and good(b) and b[what]]
    return Spread.of([a / b for a, b in pairs])


def rows(outcomes: Outcomes) -> list[list[str]]:
    """One line per contestant: ratio of logsync's speed to it, speed, CPU, memory, start-up, content."""
    out = []
    for name, rounds in outcomes.items():
        done = [outcome for outcome in rounds if good(outcome)]
        cells = [name]
        against = ratio(outcomes["logsync"], rounds, "per_second") if "logsync" in outcomes else None
        cells.append("" if name == "logsync" or against is None else against.show(".2f"))
        for what, form in (("per_second", ",.0f"), ("cpu_us", ",.1f"), ("peak_mb", ".0f"), ("start_up", ".1f")):
            found = Spread.of([outcome[what] for outcome in done])
            cells.append("-" if found is None else found.show(form) if form != ".0f" else f"{found.high:.0f}")
        cells.append(f"{rounds[0]['events']:,}")
        cells.append("; ".join(sorted({content(outcome) for outcome in rounds})))
        out.append(cells)
    return out


HEADINGS = ["", "logsync / it", "events per s", "CPU us per event", "peak MB", "start-up s", "events", "content"]


def content(outcome: Mapping[str, Any]) -> str:
    """What is wrong with what it left, in numbers; `equal` if nothing."""
    if outcome["failure"]:
        return f"FAILED: {outcome['failure'].splitlines()[0]}"
    wrong = {name: value for name, value in outcome["verdict"].items() if name not in ("digest", "rows") and value}
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in wrong.items()) or "equal"


def markdown(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]], note: str = "") -> str:
    head = "| " + " | ".join(headings) + " |\n|" + "---|" * len(headings)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"## {title}\n\n" + (f"{note}\n\n" if note else "") + f"{head}\n{body}\n"
