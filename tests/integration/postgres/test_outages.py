"""What goes wrong around the writes: which error says so, and where the position is afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from devstack import Stack
from logsync.core.plan import Plan
from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreOutcomeUnknown, StoreUnavailable
from logsync.settings import Settings
from logsync.stores.postgres import Increment, Postgres, Upsert
from logsync.stores.postgres.opening import opening
from tests.waiting import PATIENCE

from .conftest import Bench, plan_of


class Apply(threading.Thread):
    """``store.apply`` on a thread of its own; ``error`` is what left it."""

    def __init__(self, bench: Bench, store: Postgres, *events: Any, plan: Plan | None = None) -> None:
        super().__init__(daemon=True)
        self.store = store
        self.plan = plan or plan_of(store.positions()[0], *events)
        self.error: LogsyncError | None = None
        self.bench = bench
        self.start()

    def run(self) -> None:
        try:
            self.store.apply(self.plan)
        except LogsyncError as error:
            self.error = error

    def until(self, where: str) -> int:
        """Wait until its server process waits like this; return that process's id."""
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'logsync' AND pid <> pg_backend_pid() AND "
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.bench.db.execute(query + where).fetchone()
            if found:
                return int(found[0])
        raise AssertionError(f"no server process came to {where}; the thread ended with {self.error!r}")

    def failed(self) -> LogsyncError:
        self.join(PATIENCE)
        assert not self.is_alive()
        assert self.error is not None
        return self.error


@contextmanager
def held(bench: Bench, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else holds the row with id 1: a plan that writes it waits in the middle of its transaction."""
    options = {"options": "-c search_path=public -c deadlock_timeout=60s"}
    rival = psycopg.connect(bench.dsn, **options)
    try:
        rival.execute(f"UPDATE {table} SET n = n WHERE id = 1")
        yield rival
    finally:
        rival.close()


LOCKED = "wait_event_type = 'Lock'"
AT_COMMIT = "wait_event = 'PgSleep' AND query ILIKE 'commit'"


@pytest.fixture(autouse=True)
def alive(stack: Stack) -> Iterator[None]:
    """Whatever a test did to the server, the next one finds it running."""
    yield
    stack.start("postgres")


@pytest.fixture
def table(bench: Bench) -> str:
    name = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    bench.db.execute(f"INSERT INTO {name} VALUES (1, 0)")
    return name


@pytest.fixture
def slow_commit(bench: Bench, table: str) -> None:
    """A commit that takes long: a constraint that is checked at its end, and sleeps."""
    bench.db.execute(
        f"CREATE FUNCTION {table}_sleep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.n = 7 THEN PERFORM pg_sleep(3); END IF; RETURN NULL; END $$"
    )
    bench.db.execute(
        f"CREATE CONSTRAINT TRIGGER sleep AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_sleep()"
    )


def rest(bench: Bench, table: str) -> tuple[list[Any], int]:
    with psycopg.connect(bench.dsn, options="-c search_path=public") as db:
        bench.db = db
        return bench.rows(f"SELECT n FROM {table} WHERE id = 1"), bench.position()


@pytest.mark.parametrize("ending", ["terminate", "kill"])
def test_a_server_that_goes_away_before_commit_has_applied_nothing(
    bench: Bench, table: str, stack: Stack, ending: str
) -> None:
    store = bench.store()
    with held(bench, table):
        apply = Apply(bench, store, [Increment(table, {"id": 1}, {"n": 5})])
        pid = apply.until(LOCKED)
        if ending == "terminate":
            bench.db.execute("SELECT pg_terminate_backend(%s)", (pid,))
        else:
            stack.kill("postgres")
        error = apply.failed()
        assert type(error) is StoreUnavailable
    with pytest.raises(StoreUnavailable, match="not connected"):
        store.apply(apply.plan)
    stack.start("postgres")
    assert rest(bench, table) == ([(0,)], 0)
    store.open(bench.name, bench.settings)
    store.apply(apply.plan)
    assert rest(bench, table) == ([(5,)], 1)


@pytest.mark.usefixtures("slow_commit")
@pytest.mark.parametrize("ending", ["terminate", "kill"])
def test_a_server_that_goes_away_during_commit_leaves_the_outcome_to_the_position(
    bench: Bench, table: str, stack: Stack, ending: str
) -> None:
    store = bench.store()
    apply = Apply(bench, store, [Upsert(table, {"id": 1}, {"n": 7})])
    pid = apply.until(AT_COMMIT)
    if ending == "terminate":
        bench.db.execute("SELECT pg_terminate_backend(%s)", (pid,))
    else:
        stack.kill("postgres")
    assert type(apply.failed()) is StoreOutcomeUnknown
    stack.start("postgres")
    assert rest(bench, table) in (([(0,)], 0), ([(7,)], 1))  # all or nothing


@pytest.mark.usefixtures("slow_commit")
def test_a_late_original_wins_and_its_repetition_is_told_so(bench: Bench, table: str, stack: Stack) -> None:
    """P4: COMMIT was sent to a server that is stopped; we give up, it wakes up and commits."""
    store = bench.store(timeout=2.0)
    late = Apply(bench, store, [Upsert(table, {"id": 1}, {"n": 7})])
    late.until(AT_COMMIT)
    stack.pause("postgres")
    try:
        assert type(late.failed()) is StoreOutcomeUnknown
    finally:
        stack.resume("postgres")
    store.open(bench.name, bench.settings)
    with pytest.raises(PositionConflict, match=r"expected .* epoch 1, next offset 0; found epoch 1, next offset 1"):
        store.apply(late.plan)
    assert rest(bench, table) == ([(7,)], 1)


def test_no_call_outlasts_a_server_that_stands_still(bench: Bench, table: str, stack: Stack) -> None:
    calls: list[Callable[[Postgres], object]] = [
        lambda s: s.apply(plan_of(start, [Upsert(table, {"id": 1}, {"n": 9})])),
        lambda s: s.positions(),
        lambda s: s.read_book(),
        lambda s: s.holds_data(),
        lambda s: s.wipe(book),
        lambda s: s.sequences(0),
        lambda s: s.parked(0),
        lambda s: s.open(bench.name, bench.settings.model_copy(update={"store_timeout": 1.0})),
    ]
    stores = [bench.store(timeout=1.0) for _ in calls]
    start, book = stores[0].positions()[0], bench.book()
    stack.pause("postgres")
    try:
        for store, call in zip(stores, calls, strict=True):
            with pytest.raises(StoreUnavailable):
                call(store)
            store.close()
    finally:
        stack.resume("postgres")
    assert rest(bench, table) == ([(0,)], 0)  # what was sent to the stopped server was rolled back
    bench.apply(bench.store(), [Upsert(table, {"id": 1}, {"n": 9})])
    assert rest(bench, table) == ([(9,)], 1)


def test_a_lock_that_is_not_released_is_waited_for_again(bench: Bench, table: str) -> None:
    store = bench.store(timeout=1.0)
    plan = plan_of(store.positions()[0], [Increment(table, {"id": 1}, {"n": 5})])
    with held(bench, table):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="55P03"):
                store.apply(plan)
    store.apply(plan)
    assert rest(bench, table) == ([(5,)], 1)


@pytest.mark.parametrize("there", [True, False], ids=["rows that are there", "new rows"])
def test_two_workers_that_count_the_same_rows_take_them_in_one_order(bench: Bench, there: bool) -> None:
    """A worker that waits for the first row holds no later one, so no worker that holds the first waits for it."""
    table = bench.table("id int PRIMARY KEY, n int NOT NULL DEFAULT 0")
    store = bench.store(dsn=bench.dsn + "?options=-c%20enable_nestloop%3Doff%20-c%20enable_mergejoin%3Doff")
    if there:  # the table's own order is the wrong one, and the server is made to follow it
        bench.db.execute(f"INSERT INTO {table} SELECT generate_series(1000, 1, -1)")
        bench.db.execute(f"ANALYZE {table}")
    touch = "INSERT INTO public.{} VALUES (%s, 1) ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n"
    with psycopg.connect(bench.dsn) as rival:
        rival.execute(touch.format(table).encode(), (1,))
        apply = Apply(bench, store, [Increment(table, {"id": i}, {"n": 1}) for i in range(9, 0, -1)])
        apply.until(LOCKED)
        rival.execute(touch.format(table).encode(), (9,))
        rival.rollback()
    apply.join(PATIENCE)
    assert apply.error is None
    assert bench.rows(f"SELECT count(*), sum(n) FROM {table} WHERE id < 10") == [(9, 9)]


def test_a_role_that_lost_its_rights_halts_and_says_which(bench: Bench, table: str) -> None:
    role = f"{bench.name}_r"
    bench.db.execute(f"CREATE ROLE {role} LOGIN")
    bench.store()
    with pytest.raises(ConfigError, match="permission denied for schema logsync"):
        bench.store(dsn=bench.dsn.replace("logsync@", f"{role}@"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda dsn: dsn.rsplit(":", 1)[0] + ":1/logsync", StoreUnavailable, "refused"),
        (lambda dsn: dsn.rsplit("/", 1)[0] + "/no_such_base", ConfigError, 'database "no_such_base" does not exist'),
        (lambda dsn: dsn.replace("logsync@", "nobody:pw-s3cret@"), ConfigError, 'role "nobody" does not exist'),
        (lambda dsn: dsn.replace("127.0.0.1", "no-such-host.invalid"), StoreUnavailable, "no-such-host"),
        (
            lambda dsn: "postgresql://user:pw-s3cret@host/x?nonsense=1",
            ConfigError,
            "expected the address of a Postgres",
        ),
        (lambda dsn: "host=h password=pw-s3cret nonsense", ConfigError, "expected the address of a Postgres"),
        (lambda dsn: "host=h password=pw-s3cret nonsense=1", ConfigError, "expected the address of a Postgres"),
    ],
)
def test_an_address_that_does_not_work_says_what_to_change(
    bench: Bench, settings: Settings, change: Callable[[str], str], error: type[LogsyncError], words: str
) -> None:
    store = Postgres(change(bench.dsn))
    with pytest.raises(error, match=words) as caught:
        store.open(bench.name, settings)
    assert type(caught.value) is error
    assert "pw-s3cret" not in f"{caught.value}{caught.value!r}{store!r}{caught.value.__cause__!r}"
    assert caught.value.__suppress_context__


def test_a_wrong_password_halts_and_too_many_connections_wait(bench: Bench, settings: Settings, stack: Stack) -> None:
    hba = stack.servers["postgres"].data / "pg_hba.conf"
    before = hba.read_text()
    role = f"{bench.name}_pw"
    bench.db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right' CONNECTION LIMIT 0")
    try:
        hba.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
        bench.db.execute("SELECT pg_reload_conf()")

        def opening(password: str) -> LogsyncError:
            with pytest.raises(LogsyncError) as caught:
                Postgres(bench.dsn.replace("logsync@", f"{role}{password}@")).open(bench.name, settings)
            return caught.value

        deadline = time.monotonic() + PATIENCE
        while "password" not in str(wrong := opening(":pw-s3cret")) and time.monotonic() < deadline:
            pass  # the reload has not come through
        assert type(wrong) is ConfigError
        assert "password authentication failed" in str(wrong)
        assert "pw-s3cret" not in str(wrong)
        assert type(opening("")) is ConfigError
        full = opening(":right")
        assert type(full) is StoreUnavailable
        assert "too many connections" in str(full)
    finally:
        hba.write_text(before)
        bench.db.execute("SELECT pg_reload_conf()")


def test_a_pipeline_that_arrived_only_in_part_does_not_hold_up_the_successor(bench: Bench) -> None:
    """As a worker that stands still in the middle of an apply leaves it: moved, not committed, nothing follows."""
    bench.table("id int PRIMARY KEY")
    store = bench.store(timeout=2)
    move = f"UPDATE logsync.position SET next_offset = 99 WHERE sink = '{bench.name}'"
    with closing(psycopg.connect(bench.dsn, autocommit=True, application_name="still")) as stale:
        pipeline = stale.pgconn
        pipeline.enter_pipeline_mode()
        for sql, params in [*opening(2.0, "public"), (move, ())]:
            pipeline.send_query_params(psycopg.ClientCursor(stale).mogrify(sql, params).encode(), [])
        pipeline.flush()  # without a Sync
        question = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'still' AND wait_event = 'ClientRead'"
        )
        deadline = time.monotonic() + PATIENCE
        while bench.db.execute(question).fetchone() != (1,):
            assert time.monotonic() < deadline, "it did not arrive"
        while bench.position() == 0:
            assert time.monotonic() < deadline, "the position is still locked"
            try:
                bench.apply(store, [Upsert(bench.name, {"id": 1}, {})])
            except StoreUnavailable:
                store = bench.store(timeout=2)
    assert bench.rows() == [(1,)]
    assert bench.position() == 1
