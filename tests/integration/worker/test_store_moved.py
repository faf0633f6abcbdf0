"""A store goes back in time, or loses what it held, while its worker runs and while none does."""

from __future__ import annotations

import httpx
import psycopg
import pytest
import redis

from .harness import Case, named, until

EXIT_CONFIG = 3
SMALL = {"LOGSYNC_BATCH_RECORDS": "10"}
"""There is always another plan on its way when the store goes back."""


class Snapshot:
    """The sink's tables, position and book as they are now, inside the same database."""

    def __init__(self, case: Case) -> None:
        self._url, self._sink = case.env["LOGSYNC_POSTGRES"], case.sinks["db"].name
        self._tables = [(f"{case.name}_items", "true"), (f"{case.name}_tally", "true")]
        self._tables += [(f"logsync.{table}", f"sink = '{self._sink}'") for table in ("position", "book")]
        with psycopg.connect(self._url) as connection:
            for number, (table, rows) in enumerate(self._tables):
                copy = f"{case.name}_copy{number}"
                connection.execute(f"CREATE TABLE {copy} AS SELECT * FROM {table} WHERE {rows}")
        self._name = case.name

    def restore(self) -> None:
        with psycopg.connect(self._url) as connection:
            for table, _ in reversed(self._tables):  # bookkeeping first, as a plan does: the worker may be within one
                connection.execute(f"LOCK TABLE {table}")
            for number, (table, rows) in enumerate(self._tables):
                connection.execute(f"DELETE FROM {table} WHERE {rows}")
                connection.execute(f"INSERT INTO {table} SELECT * FROM {self._name}_copy{number}")


@pytest.mark.servers("kafka", "postgres")
def test_postgres_restored_from_an_older_copy_resumes_there_and_the_bookmark_is_healed_at_once(case: Case) -> None:
    case.append_mix(60)
    case.finish("db")
    snapshot = Snapshot(case)
    case.append_mix(90)
    case.finish("db")
    snapshot.restore()
    assert case.pair("db") == ({0: 60}, {0: 150})  # the one honest exception to I1
    case.start_deadly("before-apply", 1, "db").ends(-9)  # resumed, and nothing applied yet
    assert case.pair("db") == ({0: 60}, {0: 60})  # P2
    case.finish("db")
    case.is_the_fold("db")


@pytest.mark.servers("kafka", "postgres")
def test_postgres_restored_while_its_worker_runs_is_followed_back_and_caught_up_again(case: Case) -> None:
    case.append_mix(60)
    worker = case.start("db")
    case.catches_up("db")
    snapshot = Snapshot(case)
    case.append_mix(90)
    case.catches_up("db")
    snapshot.restore()
    assert case.positions("db") == {0: 60}
    case.append_mix(10)
    case.catches_up("db")
    worker.terminate()
    case.is_the_fold("db")


@pytest.mark.servers("kafka", "redis")
@pytest.mark.parametrize("running", [True, False])
def test_a_flushed_redis_is_filled_again_from_the_logs_first_event(case: Case, running: bool) -> None:
    """FLUSHALL leaves neither content nor position nor book: a store like new, and a log that begins at 0 (P1)."""
    case.append_mix(100)
    worker = case.start("cache")
    case.catches_up("cache")
    if not running:
        worker.terminate()
    redis.Redis.from_url(case.env["LOGSYNC_REDIS"]).flushall()
    assert case.positions("cache") == {}
    case.append_mix(50)
    if not running:
        worker = case.start("cache")
    case.catches_up("cache")
    worker.terminate()
    case.is_the_fold("cache")


@pytest.mark.servers("kafka", "redis")
def test_a_redis_that_is_flushed_four_times_under_load_is_the_fold_in_the_end(case: Case) -> None:  # P3
    """Each time the next plan finds no position. That is no second program, and the worker begins again."""
    worker = case.start("cache", env=SMALL)
    client = redis.Redis.from_url(case.env["LOGSYNC_REDIS"])
    for _ in range(4):
        case.append_mix(400)
        until(lambda: case.positions("cache").get(0, 0) > 20, "a worker in the middle of the log")
        client.flushall()
    case.append_mix(20)
    case.catches_up("cache")
    assert worker.running
    worker.terminate()
    case.is_the_fold("cache")


@pytest.mark.servers("kafka", "postgres")
def test_a_postgres_that_is_restored_four_times_under_load_is_the_fold_in_the_end(case: Case) -> None:  # P3
    case.append_mix(60)
    worker = case.start("db", env=SMALL)
    case.catches_up("db")
    snapshot = Snapshot(case)
    for _ in range(4):
        case.append_mix(400)
        until(lambda: case.positions("db").get(0, 0) > 80, "a worker in the middle of the log")
        snapshot.restore()
    case.append_mix(20)
    case.catches_up("db")
    assert worker.running
    worker.terminate()
    case.is_the_fold("db")


@pytest.mark.servers("kafka", "redis")
@pytest.mark.parametrize("running", [True, False])
def test_a_redis_whose_position_is_lost_while_its_content_is_not_is_refused(case: Case, running: bool) -> None:  # P1
    case.append_mix(100)
    worker = case.start("cache")
    case.catches_up("cache")
    if not running:
        worker.terminate()
    client = redis.Redis.from_url(case.env["LOGSYNC_REDIS"])
    assert client.delete(*client.scan_iter(f"logsync:{case.sinks['cache'].name}:*"))
    before = case.content("cache")
    case.append_mix(50)
    if not running:
        worker = case.start("cache")
    output = worker.ends(EXIT_CONFIG)
    assert f"logsync rebuild {named('cache')} --yes" in output
    assert case.content("cache") == before
    case.rebuild("cache").ends(0)
    case.is_the_fold("cache")


@pytest.mark.servers("kafka", "opensearch")
@pytest.mark.parametrize(("running", "lost"), [(True, "items"), (False, "tally")])
def test_a_deleted_index_halts_and_a_rebuild_mends_it(case: Case, running: bool, lost: str) -> None:
    case.append_mix(100)
    worker = case.start("search")
    case.catches_up("search")
    if not running:
        worker.terminate()
    httpx.delete(f"{case.env['LOGSYNC_OPENSEARCH']}/{case.name}-{lost}--e1").raise_for_status()
    case.append_mix(50)
    if not running:
        worker = case.start("search")
    output = worker.ends(EXIT_CONFIG)
    assert f"logsync rebuild {named('search')} --yes" in output
    assert case.positions("search") == {}
    case.rebuild("search").ends(0)
    case.is_the_fold("search")


def test_a_sink_rebuilt_under_its_running_worker_is_the_fold_and_the_worker_goes_on(case: Case) -> None:
    case.append_mix(100)
    kinds = ("db", "cache", "search")
    workers = [case.start(kind) for kind in kinds]
    case.catches_up()
    for rebuild in [case.rebuild(kind, "--no-replay") for kind in kinds]:
        rebuild.ends(0)
    case.append_mix(50)
    case.catches_up()
    for kind in kinds:
        until(lambda kind=kind: case.stored(kind)[0].epoch == 2, "the epoch of the rebuild")  # type: ignore[misc]
    for worker in workers:
        worker.terminate()
    case.is_the_fold()
