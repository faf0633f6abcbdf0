"""From outcomes to ratios, tables and a page. Pure: no server, no clock."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rounds = Sequence[Mapping[str, Any]]
"""One contestant's outcomes of one case, as `run.as_json` gives them."""
Cells = list[list[str]]

HEADINGS = ["", "logsync / it", "events per s", "CPU us per event", "peak MB", "start-up s", "events", "content"]
KILLS = ["", "promises", "events", "s to its next marker", "content after kill -9"]


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


def ratio(mine: Rounds, theirs: Rounds, what: str = "per_second") -> Spread | None:
    """The spread of mine / theirs, round by round: what a round's moment did to one, it did to the other."""
    pairs = [(a[what], b[what]) for a, b in zip(mine, theirs, strict=True) if good(a) and good(b) and b[what]]
    return Spread.of([a / b for a, b in pairs])


def lines(entry: Mapping[str, Any]) -> tuple[list[str], Cells]:
    """Headings and one line per contestant."""
    outcomes: Mapping[str, Rounds] = entry["outcomes"]
    if entry["killed"]:
        return KILLS, [_killed(name, rounds, entry["promises"][name]) for name, rounds in outcomes.items()]
    return HEADINGS, rows(outcomes)


def rows(outcomes: Mapping[str, Rounds]) -> Cells:
    """One line per contestant, under ``HEADINGS``."""
    return [_measured(name, rounds, outcomes.get("logsync")) for name, rounds in outcomes.items()]


def _measured(name: str, rounds: Rounds, logsync: Rounds | None) -> list[str]:
    done = [outcome for outcome in rounds if good(outcome)]
    against = ratio(logsync, rounds) if logsync and name != "logsync" else None

    def cell(what: str, form: str) -> str:
        found = Spread.of([outcome[what] for outcome in done])
        return found.show(form) if found else "-"

    return [
        name,
        against.show(".2f") if against else "",
        cell("per_second", ",.0f"),
        cell("cpu_us", ",.1f"),
        f"{max((outcome['peak_mb'] for outcome in done), default=0)}",
        cell("start_up", ".1f"),
        f"{rounds[0]['events']:,}",
        contents(rounds),
    ]


def _killed(name: str, rounds: Rounds, promise: str) -> list[str]:
    restart = Spread.of([outcome["restart"] for outcome in rounds if not outcome["failure"]])
    events = f"{rounds[0]['events']:,}"
    return [name, promise, events, restart.show(".1f") if restart else "-", contents(rounds)]


def contents(rounds: Rounds) -> str:
    return "; ".join(sorted({content(outcome) for outcome in rounds}))


def content(outcome: Mapping[str, Any]) -> str:
    """What is wrong with what it left, in numbers; `equal` if nothing."""
    if outcome["failure"]:
        return f"FAILED: {outcome['failure'].splitlines()[0]}"
    wrong = {name: value for name, value in outcome["verdict"].items() if name not in ("digest", "rows") and value}
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in wrong.items()) or "equal"


def ratios(found: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Of every case that has both: logsync's speed over each other contestant's, and its CPU over the limit's."""
    out = []
    for title, entry in found.items():
        outcomes = entry["outcomes"]
        if entry["killed"] or "logsync" not in outcomes:
            continue
        for name, rounds in outcomes.items():
            speed = None if name == "logsync" else ratio(outcomes["logsync"], rounds)
            cpu = None if speed is None else ratio(outcomes["logsync"], rounds, "cpu_us")
            if speed and cpu:
                out.append([title, name, speed.show(".2f"), cpu.show(".2f")])
    return out


def beside(found: Mapping[str, Any], before: Mapping[str, Any]) -> Cells:
    """The ratios, each with that of an earlier document."""
    last = {(title, name): speed for title, name, speed, _ in ratios(before)}
    return [[*row[:3], last.get((row[0], row[1]), "-")] for row in ratios(found)]


def differing(found: Mapping[str, Mapping[str, Any]], who: Sequence[str]) -> list[str]:
    """What a contestant of ``who`` left that is not what the events add up to, and who failed."""
    return [
        f"{title}, {name}: {contents(rounds)}"
        for title, entry in found.items()
        for name, rounds in entry["outcomes"].items()
        if name in who and contents(rounds) != "equal"
    ]


def markdown(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]], note: str = "") -> str:
    head = "| " + " | ".join(headings) + " |\n|" + "---|" * len(headings)
    return "\n".join([f"## {title}\n", *([f"{note}\n"] if note else []), head,
                      *("| " + " | ".join(line) + " |" for line in cells)]) + "\n"  # fmt: skip


def page(document: Mapping[str, Any], plots: Sequence[str], others: Sequence[str]) -> str:
    """results.md: the ratios first, then every table, those of other programs too, then what was running."""
    found = document["found"]
    parts = [
        f"# Measured on {document['date']}\n\n{document['machine']}. Generated by `make bench`.\n",
        "Ratios are taken within a round; a figure is the median, with the least and the most of the rounds. Absolute "
        "figures do not travel to another machine. `content` compares every row with the fold of the log.\n",
        markdown("Ratios", ["", "logsync over", "speed", "CPU"], ratios(found)),
        *(f"![{name}]({name})\n" for name in plots),
        *(markdown(title, *lines(entry)) for title, entry in found.items()),
        *others,
        markdown("Contestants", ["", "promises", "as configured"], document["contestants"]),
        markdown("Versions and settings", ["", ""], [[name, value] for name, value in document["about"].items()]),
    ]
    return "\n".join(parts)
