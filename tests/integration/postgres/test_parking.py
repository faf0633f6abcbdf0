"""Parked events in Postgres: one transaction with everything else, whatever stands in them and whatever goes wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from devstack import Stack
from logsync import Sink
from logsync.core.book import Request
from logsync.core.event import Event
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import (
    ConfigError,
    HandlerError,
    PositionConflict,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)
from logsync.stores.postgres import Delete, Increment, InTransaction, Postgres, Sql, Upsert
from logsync.testing import MemoryLog, MemoryReader
from logsync.testing.store_contract.making import NOON, parks, retries
from logsync.testing.store_contract.making import waiting as entry
from logsync.worker import Worker
from tests.unit.shop import OrderPlaced, log
from tests.waiting import PATIENCE

from .conftest import Bench, waits
from .test_outages import AT_COMMIT, LOCKED, Apply, alive, held, rest, slow_commit, table

__all__ = ["alive", "slow_commit", "table"]  # fixtures


EVENT: Event[Any] = Event("id", "type", 1, None, datetime(2026, 1, 1, tzinfo=UTC), None, 0, 0, None, [])


both = pytest.mark.parametrize("what", ["park", "release"])


def step(bench: Bench, table: str, what: str, n: int) -> tuple[Postgres, Plan, list[int], list[int]]:
    """A plan that parks or releases, and sets row 1 to ``n``; the offsets that are parked before it and after it."""
    store = bench.store()
    write = Upsert(table, {"id": 1}, {"n": n})
    if what == "park":
        return store, parks(store.positions()[0], entry(1), to=2, events=[[write]]), [], [1]
    store.apply(parks(store.positions()[0], entry(0), entry(1, error=""), to=2))
    return store, retries(store.positions()[0], 0, writes=[write]), [0, 1], [1]


def test_position_writes_and_parked_events_carry_one_transaction_s_id(bench: Bench, table: str) -> None:
    """A crash between two transactions is hard to hit in a test; that there is only one can be seen."""
    store = bench.store()
    write = Upsert(table, {"id": 1}, {"n": 5})
    sources = f"{table}", f"logsync.position WHERE sink = '{bench.name}'", f"logsync.parked WHERE sink = '{bench.name}'"
    for plan in (
        parks(store.positions()[0], entry(1), to=2, events=[[write]]),
        retries(Position(0, 2), 0, writes=[write], still_parked=[entry(1)._replace(attempts=2)]),
    ):
        store.apply(plan)
        ids = {bench.rows(f"SELECT xmin::text FROM {source}")[0] for source in sources}
        assert len(ids) == 1


@both
def test_a_connection_that_breaks_before_commit_has_parked_and_released_nothing(
    bench: Bench, table: str, stack: Stack, what: str
) -> None:
    store, plan, before, after = step(bench, table, what, 5)
    with held(bench, table):
        apply = Apply(bench, store, plan=plan)
        bench.db.execute("SELECT pg_terminate_backend(%s)", (apply.until(LOCKED),))
        assert type(apply.failed()) is StoreUnavailable
    assert (rest(bench, table), waits(bench)) == (([(0,)], plan.start.next_offset), before)
    store.open(bench.name, bench.settings)
    store.apply(plan)
    stack.kill("postgres")  # what was parked outlives the server, as the position does
    stack.start("postgres")
    assert (rest(bench, table), waits(bench)) == (([(5,)], 2), after)


@both
@pytest.mark.usefixtures("slow_commit")
def test_a_server_killed_during_commit_has_done_all_or_nothing(
    bench: Bench, table: str, stack: Stack, what: str
) -> None:
    store, plan, before, after = step(bench, table, what, 7)
    apply = Apply(bench, store, plan=plan)
    apply.until(AT_COMMIT)
    stack.kill("postgres")
    assert type(apply.failed()) is StoreOutcomeUnknown
    stack.start("postgres")
    store.open(bench.name, bench.settings)
    if store.positions()[0].place == plan.start.place:
        assert (rest(bench, table)[0], waits(bench)) == ([(0,)], before)
        store.apply(plan)
    assert (rest(bench, table), waits(bench)) == (([(7,)], 2), after)


WORKER = """
import sys
from logsync.core.plan import Plan
from logsync.settings import Settings
from logsync.stores.postgres import Increment, Postgres
name = sys.argv[1]
store = Postgres()
store.open(name, Settings(_env_file=None))
start = store.positions()[0]
writes = [Increment(name, {"id": 1}, {"n": 5})]
store.apply(Plan(start, start.released(), writes, [0], released=[0]))
"""


def test_a_worker_killed_in_the_middle_of_a_release_has_released_nothing(
    bench: Bench, table: str, env: dict[str, str]
) -> None:
    store = bench.store()
    store.apply(parks(store.positions()[0], entry(0), to=1))
    with held(bench, table):
        child = subprocess.Popen([sys.executable, "-c", WORKER, bench.name], env={**os.environ, **env})
        blocked = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{table}%'"
        deadline = time.monotonic() + PATIENCE
        while not bench.db.execute(blocked).fetchone():
            assert child.poll() is None
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert waits(bench) == [0]
    store.apply(retries(store.positions()[0], 0, writes=[Increment(table, {"id": 1}, {"n": 5})]))
    assert (rest(bench, table), waits(bench)) == (([(5,)], 1), [])


def test_a_plan_that_is_run_one_by_one_parks_and_releases_all_the_same(bench: Bench) -> None:  # G1
    table = bench.table("id int PRIMARY KEY, email text UNIQUE")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 1}, {"email": "a"})], [Upsert(table, {"id": 2}, {"email": "b"})])
    # Two rows that pass a unique value on: refused in bulk, fine in log order.
    start = store.positions()[0]
    swap = [
        Delete(table, {"id": 2}),
        Upsert(table, {"id": 1}, {"email": "b"}),
        Upsert(table, {"id": 4}, {"email": "a"}),
    ]
    store.apply(parks(start, entry(3), entry(4, error=""), to=5, events=[[*swap]]))
    assert bench.rows() == [(1, "b"), (4, "a")]
    assert waits(bench) == [3, 4]
    swap = [
        Delete(table, {"id": 1}),
        Upsert(table, {"id": 4}, {"email": "b"}),
        Upsert(table, {"id": 5}, {"email": "a"}),
    ]
    tried = entry(4)._replace(attempts=2)
    store.apply(retries(store.positions()[0], 3, writes=[*swap], still_parked=[tried]))
    assert bench.rows() == [(4, "b"), (5, "a")]
    assert store.parked(0) == [tried]


def break_it(cursor: Any, _: Event[Any]) -> None:
    cursor.execute("SELECT 1")
    raise RuntimeError("not \x00 today \ud800")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Sql("SELECT 1/0"), WriteRejected),
        (Sql("SELECT %(a)s", {"a": "\0"}), WriteRejected),
        (InTransaction(break_it, EVENT), HandlerError),
    ],
)
def test_an_event_that_fails_in_the_store_is_named_and_can_be_parked_then(
    bench: Bench, table: str, bad: Sql | InTransaction, error: type[Exception]
) -> None:
    """First in a plan that parks others, then among released ones; the same connection goes on each time."""
    store = bench.store()
    good = Increment(table, {"id": 1}, {"n": 1})
    first = parks(store.positions()[0], entry(5), to=6, events=[[good], [good], [good, bad], [good]])
    with pytest.raises(error) as caught:
        store.apply(first)
    assert caught.value.offset == 2  # type: ignore[attr-defined]
    assert (rest(bench, table), waits(bench)) == (([(0,)], 0), [])
    mine = entry(2)._replace(message=str(caught.value))
    store.apply(parks(store.positions()[0], mine, entry(5), to=6, events=[[good], [good], [], [good]]))
    assert (rest(bench, table), waits(bench)) == (([(3,)], 6), [2, 5])

    now = store.positions()[0]
    with pytest.raises(error) as caught:
        store.apply(Plan(now, now.released(), [good, good, bad], [2, 5, 5], released=[2, 5]))
    assert caught.value.offset == 5  # type: ignore[attr-defined]
    assert (rest(bench, table), waits(bench)) == (([(3,)], 6), [2, 5])
    assert store.positions()[0] == now
    tried = entry(5)._replace(attempts=2, message=str(caught.value))
    store.apply(retries(now, 2, writes=[good], still_parked=[tried]))
    assert (rest(bench, table), store.parked(0)) == (([(4,)], 6), [tried])


def test_a_worker_parks_what_postgres_refuses_and_releases_to_the_undisturbed_content(bench: Bench) -> None:  # I8
    """Orders b and c fail while a table says so: one by a constraint, one in a handler that reads. Each row is an
    order-sensitive, non-idempotent fold of its events, so any other order, a loss or a double shows.
    """
    bench.db.execute(f"CREATE TABLE {bench.name} (name text PRIMARY KEY, n numeric NOT NULL DEFAULT 0 CHECK (n >= 0))")
    bench.db.execute(f"CREATE TABLE {bench.name}_bad (name text); INSERT INTO {bench.name}_bad VALUES ('b'), ('c')")
    store = Postgres(tables=[bench.name])
    bench.stores.append(store)
    sink = Sink(bench.name, log, store, on_error="park")

    def run(cursor: Any, event: Event[OrderPlaced]) -> None:
        if cursor.execute(f"SELECT FROM {bench.name}_bad WHERE name = %s", (event.data.order,)).rowcount:
            raise RuntimeError("still bad")

    @sink.on(OrderPlaced)
    def placed(event: Event[OrderPlaced]) -> Iterator[Write]:
        name, cents = event.data.order, event.data.cents
        yield Upsert(bench.name, {"name": name})
        if name == "c":
            yield InTransaction(run, event)
        sign = f"CASE WHEN %(name)s = 'b' AND EXISTS (SELECT FROM {bench.name}_bad) THEN -1 ELSE n * 3 + %(cents)s END"
        yield Sql(f"UPDATE {bench.name} SET n = {sign} WHERE name = %(name)s", {"name": name, "cents": cents})

    source, expected, rng = MemoryLog(log), dict[str, int](), random.Random(6)
    for _ in range(90):
        name, cents = rng.choice("abcd"), rng.randrange(9)
        source.append(OrderPlaced(order=name, cents=cents))
        expected[name] = expected.get(name, 0) * 3 + cents

    def work(done: Callable[[Worker], bool]) -> None:
        turns = iter(range(500))
        with Worker(sink, MemoryReader(source), bench.settings) as made:
            made.run(lambda report: done(made) or next(turns, None) is None)
        store.open(bench.name, bench.settings)

    work(lambda made: made.status.positions.get(0) == 90)
    assert dict(bench.rows()) == {name: expected[name] for name in "ad"}
    waiting = store.sequences(0)
    assert {name: (found.error, found.first) for name, found in waiting.items()} == {
        name: (error, next(r.offset for r in source.records[0] if r.key == name.encode()))
        for name, error in (("b", "WriteRejected"), ("c", "HandlerError"))
    }
    bench.db.execute(f"DELETE FROM {bench.name}_bad")
    request = Request(id="r", partitions=(0,), at=NOON)
    store.write_book(bench.book().next(requests=(request,)))
    work(lambda made: made.status.released == sum(found.events for found in waiting.values()))
    assert dict(bench.rows()) == expected
    assert store.sequences(0) == {}


def test_a_table_of_parked_events_that_takes_none_is_no_fault_of_an_event(bench: Bench, table: str) -> None:
    role, db = f"{bench.name}_r", bench.db
    bench.db.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA logsync TO {role}; GRANT ALL ON {table} TO {role}"
    )
    bench.db.execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA logsync TO {role}; REVOKE INSERT ON logsync.parked FROM {role}"
    )
    bench.store()
    store = bench.store(dsn=bench.dsn.replace("logsync@", f"{role}@"))
    start, writes = store.positions()[0], [[Upsert(table, {"id": 1}, {"n": 9})]]
    with pytest.raises(ConfigError, match="permission denied for table parked"):
        store.apply(parks(start, entry(1), to=2, events=[[*some] for some in writes]))
    assert (rest(bench, table), waits(bench)) == (([(0,)], 0), [])
    store.apply(parks(start, to=2, events=[[*some] for some in writes]))
    assert rest(bench, table) == ([(9,)], 2)
    db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_conflict_over_releases_says_so(bench: Bench) -> None:
    store = bench.store(tables=[])
    store.apply(parks(Position(0, 0), entry(0), to=1))
    stale = store.positions()[0]
    store.apply(retries(stale, 0))
    with pytest.raises(PositionConflict, match=r"expected .* next offset 1; found .* next offset 1 after 1 releases$"):
        store.apply(parks(stale, entry(1), to=2))
    assert waits(bench) == []
