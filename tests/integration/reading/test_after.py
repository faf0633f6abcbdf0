"""A sink that comes after another one, as processes over real servers that are killed, frozen and cut off."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import opensearchpy
import psycopg
import pytest

from tests.integration.worker.harness import Case, Process, named, until
from tests.integration.worker.sinks import AFTER, ItemPut
from tests.servers import Asked


@pytest.fixture
def case(case: Case) -> Case:
    """Search comes after db."""
    case.env[AFTER] = "1"
    return case


class Reader:
    """A shop's search page, on and on: takes what a search finds, then asks the database for those rows."""

    def __init__(self, case: Case) -> None:
        self._search = opensearchpy.OpenSearch(case.env["LOGSYNC_OPENSEARCH"], timeout=5, max_retries=0)
        self._db, self.name = case.env["LOGSYNC_POSTGRES"], case.name
        self.missing: list[set[str]] = []
        self.looks = self.hits = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            with suppress(opensearchpy.OpenSearchException, psycopg.OperationalError):  # a server that is killed
                self.look()

    def look(self) -> None:
        index = f"{self.name}-items"
        self._search.indices.refresh(index=index)
        body = {"size": 10_000, "_source": False}
        found = {hit["_id"] for hit in self._search.search(index=index, body=body)["hits"]["hits"]}
        with psycopg.connect(self._db, connect_timeout=5) as db:
            rows = {k for (k,) in db.execute(f"SELECT k FROM {self.name}_items")}
        self.looks, self.hits = self.looks + 1, self.hits + len(found)
        if found - rows:
            self.missing.append(found - rows)

    @contextmanager
    def reading(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
        self.look()
        assert self.missing == []


def puts(case: Case, count: int, begin: int) -> None:
    case.append(*[ItemPut(k=f"k{n}", n=n, writer="mix") for n in range(begin, begin + count)])


@pytest.mark.parametrize("seed", [0])
def test_no_hit_leads_to_a_missing_row_whatever_is_killed(case: Case, stack: Asked, seed: int) -> None:
    chance, sent = random.Random(seed), 0
    running: dict[str, Process] = {}
    reader = Reader(case)
    puts(case, 20, 0)
    case.finish("db", "search")
    with reader.reading():
        for _ in range(5):
            puts(case, 40, sent := sent + 40)
            what = chance.choice(["kill", "kill", "freeze", "server", "deadly", "nothing"])
            kind = chance.choice(["db", "search"])
            for each in ("db", "search"):
                if each not in running or not running[each].running:
                    running[each] = case.start(each)
            reached = case.positions(kind)[0] + chance.randrange(30)
            with suppress(AssertionError):
                until(lambda: case.positions(kind)[0] >= reached, "some way", 3)  # noqa: B023 - called at once
            if what == "kill":
                running[kind].kill()
            elif what == "freeze":
                running[kind].pause()
                running[f"frozen {sent}"] = running.pop(kind)  # wakes up when others have gone on
            elif what == "server":
                server = "postgres" if kind == "db" else "opensearch"
                stack.kill(server)
                stack.start(server)
            elif what == "deadly":
                running.pop(kind).kill()
                step = chance.choice(["before-apply", "after-apply"])
                with suppress(AssertionError):
                    case.start_deadly(step, 1, kind)
        for process in running.values():
            with suppress(AssertionError):
                process.go_on()
        for each in ("db", "search"):
            if each not in running or not running[each].running:
                running[each] = case.start(each)
        case.catches_up("db", "search")
    assert reader.looks > 10
    assert reader.hits > 0
    case.is_the_fold("db", "search")


def test_it_waits_for_a_sink_that_does_not_run_and_status_says_for_whom(case: Case) -> None:
    puts(case, 10, 0)
    search = case.start("search")
    until(lambda: case.has_book("search"), "search has begun")
    search.sees("waits for sink")
    name = case.sinks["db"].name
    (row,) = json.loads(case._spawn(["logsync.cli", "status", named("search"), "--json"]).ends(0))
    assert (row["state"], row["position"]) == ("behind", 0)
    assert row["detail"] == f"waits for sink {name}, which is at 0"
    case.finish("db")
    case.catches_up("search")
    (row,) = json.loads(case._spawn(["logsync.cli", "status", named("search"), "--json"]).ends(0))
    assert (row["state"], row["detail"]) == ("ok", "")
    search.terminate()
    case.is_the_fold("db", "search")


def test_it_waits_while_the_other_is_rebuilt_and_goes_on_when_it_is_back(case: Case) -> None:
    puts(case, 30, 0)
    case.finish("db", "search")
    case.rebuild("db").ends(0)
    puts(case, 10, 30)
    search = case.start("search")
    until(lambda: "resumed" in search.output, "search runs")
    assert case.positions("search") == {0: 30}
    case.finish("db")
    case.catches_up("search")
    search.terminate()
    case.is_the_fold("db", "search")
