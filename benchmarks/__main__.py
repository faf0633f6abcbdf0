"""`make bench`: logsync beside the loop one would write by hand and beside its peers, turn by turn on the same servers.

Everything is a ratio of two figures of one run. A result is printed with what the store held in the end: whoever lost
or doubled something is named, in numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.contestants import ALL
from benchmarks.run import ROOT, Contestant, Job, as_json, directory, measure
from benchmarks.workload import Case, expected, fill
from devstack import Stack
from logsync.log.topic import create_topic
from logsync.settings import Settings

RESULTS = ROOT / "benchmarks" / "results"
console = Console(stderr=True, width=180)


class Bench:
    """One run of the whole: its servers, its topics and what was found so far."""

    def __init__(self, stack: Stack) -> None:
        self.servers = stack.env()
        with psycopg.connect(self.servers["LOGSYNC_POSTGRES"], autocommit=True) as db:
            db.execute("ALTER ROLE logsync SET search_path = public")  # else: logsync's own schema, the role's namesake
        self.started = f"b{int(time.time()) % 100_000_000}"
        self.found: list[dict[str, Any]] = []
        self._topics: dict[Any, tuple[str, int, float]] = {}
        self._runs = 0

    def compare(
        self, case: Case, contestants: Iterable[Contestant], *, rounds: int, kill_at: float = 0.0, scale: float = 1.0
    ) -> None:
        """Run them turn by turn, print the table and keep the outcomes."""
        case = replace(case, events=max(1000, int(case.events * scale)))
        chosen = [c for c in contestants if (case.store, case.model) in c.does]
        outcomes: dict[str, list[dict[str, Any]]] = {c.name: [] for c in chosen}
        contents, size = {}, 0.0
        for number in range(rounds):
            for contestant in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
                mine = replace(case, events=max(1000, int(case.events * contestant.share)))
                topic, count, size = self._topic(mine, contestant.encode)
                if mine.events not in contents:
                    contents[mine.events] = expected(mine)
                self._runs += 1
                with directory() as folder:
                    job = Job(mine, topic, f"{self.started}r{self._runs}", self.servers, Path(folder))
                    outcome = measure(contestant, job, count, contents[mine.events], kill_at=kill_at)
                outcomes[contestant.name].append(as_json(outcome))
                speed = f"{outcome.per_second:,.0f} per s, {outcome.cpu_us:.1f} us"
                console.print(
                    f"{case.name}: {contestant.name}: {outcome.failure or speed}, {outcome.verdict}", style="dim"
                )
        self.found.append({"case": vars(case), "bytes": size, "killed": kill_at > 0, "outcomes": outcomes})
        title = (
            f"{case.name}: {case.store}, {case.model}, {size:.0f} B, {case.partitions} partition(s), {rounds} round(s)"
        )
        show(title, report.HEADINGS, report.rows(outcomes))

    def _topic(self, case: Case, encode: Any) -> tuple[str, int, float]:
        """The topic with these events; made when it is first asked for."""
        shape = replace(case, name="", store="", model=""), encode
        if shape not in self._topics:
            name = f"{self.started}-{len(self._topics)}"
            settings = Settings(_env_file=None, kafka=self.servers["LOGSYNC_KAFKA"])  # type: ignore[call-arg]
            create_topic(settings, name, partitions=case.partitions)
            self._topics[shape] = (name, *fill(self.servers["LOGSYNC_KAFKA"], name, case, encode(case)))
        return self._topics[shape]


def show(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def main(
    scale: Annotated[float, typer.Option(help="Part of the events of each case.")] = 1.0,
    rounds: Annotated[int, typer.Option(help="Rounds; each runs every contestant once, in turn.")] = 3,
    only: Annotated[str, typer.Option(help="Contestants, with commas; default: all.")] = "",
    parts: Annotated[str, typer.Option(help="base, kill; with commas.")] = "base,kill",
    stores: Annotated[str, typer.Option(help="Stores, with commas.")] = "postgres,redis,opensearch",
    name: Annotated[str, typer.Option(help="The devstack to run on.")] = "bench",
    keep: Annotated[bool, typer.Option(help="Leave the servers running.")] = False,
) -> None:
    """Measure logsync beside the limit and its peers."""
    chosen = [ALL[one] for one in only.split(",")] if only else list(ALL.values())
    stack = Stack(name)
    stack.up(bench=True, progress=lambda server, what: console.print(f"{server}: {what}", style="dim"))
    try:
        bench = Bench(stack)
        for store in stores.split(","):
            if "base" in parts:
                bench.compare(Case("base", store), chosen, rounds=rounds, scale=scale)
            if "kill" in parts:
                case = Case("one kill -9", store, "mixed", events=50_000)
                bench.compare(case, chosen, rounds=1, kill_at=0.4, scale=scale)
        print(json.dumps(bench.found))
    finally:
        if not keep:
            stack.down()


if __name__ == "__main__":
    typer.run(main)
