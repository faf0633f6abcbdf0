"""The parts of `make bench`, each a few cases; all share the servers, the topics and the document of results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.contestants import LIMIT, LOGSYNC, STORES
from benchmarks.run import Contestant, Job, Look, as_json, directory, measure
from benchmarks.stores import view
from benchmarks.workload import Case, Content, Encode, expected, fill
from logsync.log.topic import create_topic
from logsync.settings import Settings

console = Console(stderr=True, width=170)
TWO = [LOGSYNC, LIMIT]
SMALLER = {"opensearch": 0.5}
"""It is the slowest store; half of the events take as long."""


@dataclass(frozen=True)
class Work:
    """A case as it lies in Kafka, and what must come of it."""

    case: Case
    topic: str
    count: int
    content: Content
    look: Look = view


class Bench:
    """One run: its servers, its topics and what was found."""

    def __init__(self, servers: dict[str, str], chosen: Sequence[Contestant], *, rounds: int, scale: float) -> None:
        self.servers, self.chosen, self.rounds, self.scale = servers, chosen, rounds, scale
        self.found: dict[str, dict[str, Any]] = {}
        self.after_each: Callable[[], None] = lambda: None
        self._started = f"b{int(time.time()) % 100_000_000}"
        self._topics: dict[Any, tuple[str, int]] = {}
        self._contents: dict[Case, Content] = {}
        self._runs = 0
        with psycopg.connect(servers["LOGSYNC_POSTGRES"], autocommit=True) as db:
            db.execute("ALTER ROLE logsync SET search_path = public")  # else: logsync's own schema, the role's namesake

    # The parts

    def base(self) -> None:
        """Everybody on the base point of each store."""
        for store in STORES:
            self.compare(Case("base", store, events=int(200_000 * SMALLER.get(store, 1))), self.chosen)

    def kill(self) -> None:
        """Rows with counters, and one kill -9 in the middle; rows alone for those that cannot add."""
        for store in STORES:
            case = Case("kill -9", store, "mixed", events=50_000)
            self.compare(case, self.chosen, rounds=1, kill_at=0.4)
            others = [one for one in self.chosen if (store, "mixed") not in one.does]
            self.compare(replace(case, name="kill -9, rows", model="upsert"), others, rounds=1, kill_at=0.4)

    def axes(self) -> None:
        """One thing at a time is varied around the base point."""
        base = Case("", events=100_000)
        for case in (
            replace(base, name="1 kB", pad=900, events=60_000),
            replace(base, name="10 kB", pad=9_900, events=15_000),
            replace(base, name="1 column beside the key", columns=2),
            replace(base, name="5 columns", columns=6),
            replace(base, name="20 columns", columns=21, events=50_000),
            replace(base, name="100 hot keys", keys=100),
            replace(base, name="unique keys", keys="unique"),
            replace(base, name="8 partitions", partitions=8),
        ):
            self.compare(case, TWO)

    def models(self) -> None:
        """Counters, and rows with counters."""
        self.compare(Case("Increment", model="increment", events=100_000), TWO)
        self.compare(Case("Upsert and Increment", model="mixed", events=100_000), TWO)

    def long(self) -> None:
        """A million events: is the speed the same at the end?"""
        self.compare(Case("a million", events=1_000_000), TWO, rounds=1)

    def year(self) -> None:
        """The real grocery year, or the first part of it."""
        from benchmarks import year

        topic = self._create(1)
        lines = 0 if self.scale >= 1 else max(5_000, int(1_469_307 * self.scale))
        count, last = year.append(self.servers["LOGSYNC_KAFKA"], topic, lines)
        work = Work(year.YearCase("grocery year", model="year", events=last), topic, count, year.expected(lines, last),
                    year.YearView)  # fmt: skip
        self._turns("grocery year", year.CONTESTANTS, lambda _: work, self.rounds)

    def growth(self) -> None:
        """Is the line straight and the memory flat? Events for everybody. One round each."""
        for n in (10_000, 100_000, 1_000_000):
            self.compare(Case(f"{n:,} events", events=n), self.chosen, rounds=1)
        cases = [Case(f"{n} partitions, growth", partitions=n, events=200_000) for n in (1, 8, 64)]
        cases += [Case(f"{n:,} keys", keys=n, events=1_000_000) for n in (10, 1_000, 1_000_000)]
        cases += [Case(f"{n} event types", kinds=n, events=200_000) for n in (1, 10, 100)]
        for case in cases:
            self.compare(case, TWO, rounds=1)

    def huge(self) -> None:
        """Ten million events over a million keys, logsync alone."""
        self.compare(Case("10,000,000 events", keys=1_000_000, events=10_000_000), [LOGSYNC], rounds=1)

    # One case

    def compare(self, case: Case, contestants: Sequence[Contestant], *, rounds: int = 0, kill_at: float = 0.0) -> None:
        """Run them turn by turn, print the table and keep the outcomes."""
        case = replace(case, events=max(1000, int(case.events * self.scale)))
        able = [one for one in contestants if (case.store, case.model) in one.does]
        if not able:
            return

        def work(contestant: Contestant) -> Work:
            mine = replace(case, events=max(1000, int(case.events * contestant.share)))
            topic, count = self._filled(mine, contestant.encode)
            if mine not in self._contents:
                self._contents[mine] = expected(mine)
            return Work(mine, topic, count, self._contents[mine])

        self._turns(f"{case.name}, {case.store}", able, work, rounds or self.rounds, kill_at)
        self._contents.clear()

    def _turns(
        self, title: str, contestants: Sequence[Contestant], work: Callable[[Contestant], Work], rounds: int,
        kill_at: float = 0.0,
    ) -> None:  # fmt: skip
        outcomes: dict[str, list[dict[str, Any]]] = {one.name: [] for one in contestants}
        for number in range(rounds):
            start = number % max(1, len(contestants))  # whoever comes first may have it better
            for contestant in [*contestants[start:], *contestants[:start]]:
                self._runs += 1
                run, given = f"{self._started}r{self._runs}", work(contestant)
                with directory() as folder:
                    job = Job(given.case, given.topic, run, self.servers, Path(folder))
                    outcome = measure(contestant, job, given.count, given.content, kill_at=kill_at, look=given.look)
                outcomes[contestant.name].append(as_json(outcome))
                console.print(
                    f"{title}: {contestant.name}: {outcome.failure or f'{outcome.per_second:,.0f} per s'}, "
                    f"{outcome.verdict}", style="dim",
                )  # fmt: skip
        promises = {one.name: one.promise for one in contestants}
        entry = {"title": title, "killed": kill_at > 0, "promises": promises, "outcomes": outcomes}
        self.found[title] = json.loads(json.dumps(entry))
        show(title, *report.lines(self.found[title]))
        self.after_each()

    def _filled(self, case: Case, encode: Callable[[Case], Encode]) -> tuple[str, int]:
        """The topic with these events and how many; made when it is first asked for."""
        shape = replace(case, name="", store="", model=""), encode
        if shape not in self._topics:
            topic = self._create(case.partitions)
            self._topics[shape] = topic, fill(self.servers["LOGSYNC_KAFKA"], topic, case, encode(case))[0]
        return self._topics[shape]

    def _create(self, partitions: int) -> str:
        self._runs += 1
        topic = f"{self._started}-{self._runs}"
        settings = Settings(_env_file=None, kafka=self.servers["LOGSYNC_KAFKA"])  # type: ignore[call-arg]
        create_topic(settings, topic, partitions=partitions)
        return topic


def show(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for line in lines:
        table.add_row(*line)
    console.print(table)
