"""The compare-and-set: of several workers one moves the position, and a store that went back is followed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import PositionConflict
from logsync.stores.postgres import Increment, Upsert
from tests.waiting import PATIENCE

from .conftest import Bench, plan_of


def test_of_two_workers_racing_for_one_position_exactly_one_wins_each_step(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    stores = [bench.store(), bench.store()]
    won: list[int] = []
    lost: list[int] = []
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def race(me: int) -> None:
        for step in range(50):
            barrier.wait()
            start = Position(0, step)
            try:
                stores[me].apply(
                    plan_of(start, [Increment(table, {"id": 1}, {"n": 1}), Upsert(table, {"id": 2 + step})])
                )
                won.append(step)
            except PositionConflict:
                lost.append(step)

    threads = [threading.Thread(target=race, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(lost) == list(range(50))
    assert bench.rows(f"SELECT n FROM {table} WHERE id = 1") == [(50,)]
    assert bench.position() == 50


def test_a_conflict_is_seen_before_what_its_writes_would_say(bench: Bench) -> None:
    """A zombie's plan may fail for reasons of its own; it must hear of the conflict, not of those."""
    table = bench.table("id int PRIMARY KEY, n int CHECK (n < 10)")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"n": 1})])
    for bad in (Upsert(table, {"id": 1}, {"n": 50}), Upsert(table, {"id": 1}, {"nope": 1}), Upsert("nope", {"id": 1})):
        with pytest.raises(PositionConflict, match=r"expected .* next offset 0; found epoch 1, next offset 1"):
            store.apply(plan_of(Position(0, 0), [bad]))
    assert bench.rows() == [(1, 1)]


def test_a_worker_meets_a_store_that_went_back_in_time_and_follows_it(bench: Bench) -> None:
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    events = [[Increment(table, {"id": 1}, {"n": 10**i})] for i in range(6)]
    bench.apply(store, *events[:2])
    copy = bench.rows(), store.positions()[0]
    bench.apply(store, *events[2:4])
    before = store.positions()[0]
    with bench.db.transaction():  # the restore, under the worker's feet
        bench.db.execute(f"UPDATE {table} SET n = %s WHERE id = 1", (copy[0][0][1],))
        bench.db.execute(
            "UPDATE logsync.position SET next_offset = %s WHERE sink = %s", (copy[1].next_offset, bench.name)
        )
    with pytest.raises(PositionConflict, match=r"expected .* next offset 4; found epoch 1, next offset 2"):
        store.apply(plan_of(before, *events[4:]))
    assert store.positions()[0] == copy[1]
    bench.apply(store, *events[2:])
    assert bench.rows() == [(1, 111_111)]


def test_an_event_s_id_comes_back_whatever_bytes_it_had(bench: Bench) -> None:
    """Ids come from headers that anybody may write; NUL is the one character that no text of Postgres holds."""
    store = bench.store(tables=[])
    for offset, name in enumerate(["plain", "a\0b", "\\0", "\\\0\\", "\ufffd%s", ""]):
        start = store.positions()[0]
        store.apply(Plan(start, start._replace(next_offset=offset + 1, last_offset=offset, last_id=name)))
        assert store.positions()[0].last_id == name
        book = store.read_book()
        assert book
        store.write_book(book.next(), positions=[store.positions()[0]])
        assert store.positions()[0].last_id == name


WORKER = """
import sys
from logsync.core.plan import Plan
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.settings import Settings
from logsync.stores.postgres import Increment, Postgres
store = Postgres()
store.open(sys.argv[1], Settings(_env_file=None))
writes = [Increment(sys.argv[1], {"id": i}, {"n": 1}) for i in range(2000)]
store.apply(Plan(Position(0, 0), Position(0, 2000), writes, list(range(2000))))
"""


def test_a_worker_killed_in_the_middle_of_apply_has_applied_nothing(bench: Bench, env: dict[str, str]) -> None:
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store()
    bench.db.execute(f"INSERT INTO {table} VALUES (1999, 0)")
    with psycopg.connect(bench.dsn) as rival:
        rival.execute(f"UPDATE public.{table} SET n = 0 WHERE id = 1999")
        child = subprocess.Popen([sys.executable, "-c", WORKER, bench.name], env={**os.environ, **env})
        waits = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{table}%'"
        deadline = time.monotonic() + PATIENCE
        while not bench.db.execute(waits).fetchone():
            assert child.poll() is None
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert bench.position() == 0
    bench.apply(store, *[[Increment(table, {"id": i}, {"n": 1})] for i in range(2000)])
    assert bench.rows(f"SELECT count(*), min(n), max(n) FROM {table}") == [(2000, 1, 1)]
    assert bench.position() == 2000
