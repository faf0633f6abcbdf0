"""The table of Postgres' errors against the real server: each is provoked, and leaves the store as one class.

A row says: SQLSTATE (or libpq's words, which come without one), the trouble, the class. Every row applies a plan of
one increment, some with a second event that is the trouble itself. Then: the class and the code are right, the worker
waits, halts or judges the event as that class says, nothing of the plan is there (or all of it, if the outcome is
unknown), and when the trouble has passed the same increment is applied exactly once.

Elsewhere on the real server: wrong addresses, passwords and rights, a server that stands still, every way to refuse a
write (test_outages, test_refusals); 53100, a full disk, needs a small file system to be mounted (tests/faults). Not
provoked: 58030 and XX001 need a disk that fails; 40001 from a conflict with recovery needs reads on a standby, where
no sink writes; 57P04, a database dropped under a session, is refused by the server while we are connected. Those have
their line in tests/unit/test_postgres_store.py.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from devstack import Stack
from logsync.errors import (
    ConfigError,
    LogsyncError,
    StoreError,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)
from logsync.stores.postgres import Sql, Upsert
from tests.integration.judged import HALTS, JUDGED, WAITS, judged
from tests.waiting import PATIENCE

from .conftest import Bench, plan_of
from .provoked import TABLE, Case, Row, row
from .test_outages import AT_COMMIT, LOCKED, Apply, held

MEANING = {StoreUnavailable: WAITS, StoreOutcomeUnknown: WAITS, ConfigError: HALTS, WriteRejected: JUDGED}


# The connection, and the server as a whole


@row("refused", StoreUnavailable)
def nobody_listens(case: Case) -> Iterator[LogsyncError]:
    case.stack.stop("postgres")
    try:
        yield case.connecting()
    finally:
        case.stack.start("postgres")


@row("server closed the connection", StoreUnavailable)  # 57P01, which the client does not hand on from a pipeline
def the_session_is_ended_by_an_administrator(case: Case) -> Iterator[LogsyncError]:
    with held(case.bench, case.table):
        apply = case.applying()
        apply.until(LOCKED)
        case.sql(f"SELECT pg_terminate_backend({case.session})")
        yield apply.failed()


@row("57P01", StoreOutcomeUnknown)
def the_session_is_ended_during_commit(case: Case) -> Iterator[LogsyncError]:
    case.sql(
        f"CREATE FUNCTION {case.table}_sleep() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$",
        f"CREATE CONSTRAINT TRIGGER sleep AFTER UPDATE ON {case.table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {case.table}_sleep()",
    )
    apply = case.applying()
    pid = apply.until(AT_COMMIT)
    case.sql(f"SELECT pg_terminate_backend({pid})")
    yield apply.failed()
    case.sql(f"DROP TRIGGER sleep ON {case.table}")


@row("shutting down", StoreUnavailable)  # 57P03, which libpq does not hand on
def the_server_shuts_down(case: Case) -> Iterator[LogsyncError]:
    postmaster = case.stack.servers["postgres"].process
    assert postmaster
    os.kill(postmaster.pid, signal.SIGTERM)  # it waits for the store's session to end by itself
    try:
        deadline = time.monotonic() + PATIENCE
        while "shutting down" not in str(error := case.connecting()):
            assert time.monotonic() < deadline, error
        yield error
    finally:
        case.stack.restart("postgres")


@row("server closed the connection", StoreUnavailable)  # 57P02, which is only a warning before the line goes dead
def another_session_crashes_the_server(case: Case) -> Iterator[LogsyncError]:
    with held(case.bench, case.table), suppress(psycopg.OperationalError):
        apply = case.applying()
        apply.until(LOCKED)
        with closing(psycopg.connect(case.bench.dsn)) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
        yield apply.failed()


@row("standby", StoreUnavailable)
def the_address_leads_to_a_standby(case: Case) -> Iterator[LogsyncError]:
    with case.standby():
        yield case.connecting()


@row("25006", StoreUnavailable)
def the_session_is_on_a_standby(case: Case) -> Iterator[LogsyncError]:
    """As behind an address that was moved after ``open`` had looked."""
    plan = case.plan()
    with case.standby():
        case.store._connect(case.bench.name, case.bench.settings)
        yield case.failing(lambda: case.store.apply(plan))


@row("25006", StoreUnavailable)
def the_server_is_switched_to_read_only(case: Case) -> Iterator[LogsyncError]:
    case.read_only("on")
    try:
        case.reopen()
        yield case.apply()
    finally:
        case.read_only("off")


# Room


@row("53200", StoreUnavailable)
def memory_is_full(case: Case) -> Iterator[LogsyncError]:
    status = Path(f"/proc/{case.session}/status").read_text()
    size = re.search(r"VmSize:\s+(\d+) kB", status)
    assert size
    with case.limited("as", int(size[1]) * 1024 + 64_000_000):
        yield case.apply(Sql("SELECT length(repeat('x', 400000000))"))


@row("53400", StoreUnavailable)
def there_is_no_room_for_temporary_files(case: Case) -> Iterator[LogsyncError]:
    sort = "SELECT FROM (SELECT repeat('x', 1000) || g FROM generate_series(1, 20000) g ORDER BY 1 OFFSET 1) q"
    case.sql("ALTER ROLE logsync SET temp_file_limit = '1MB'", "ALTER ROLE logsync SET work_mem = '64kB'")
    try:
        case.reopen()
        yield case.apply(Sql(sort))
    finally:
        case.sql("ALTER ROLE logsync RESET temp_file_limit", "ALTER ROLE logsync RESET work_mem")


@row("XX000", StoreUnavailable)
def a_file_cannot_grow(case: Case) -> Iterator[LogsyncError]:
    case.sql(f"ALTER TABLE {case.table} ALTER t SET STORAGE PLAIN")
    with case.limited("fsize", 17 * 2**20):  # more than a segment of the write-ahead log: that one must not fail
        yield case.apply(
            Sql(f"INSERT INTO {case.table} SELECT g, 0, repeat('x', 7000) FROM generate_series(2, 4000) g")
        )


@row("too many connections", StoreUnavailable)  # 53300, which libpq does not hand on
def every_connection_is_taken(case: Case) -> Iterator[LogsyncError]:
    role = f"{case.bench.name}_full"
    case.sql(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    try:
        yield case.connecting(role)
    finally:
        case.sql(f"DROP ROLE {role}")


# Others at work


@row("40001", StoreUnavailable)
def a_row_was_moved_to_another_partition(case: Case) -> Iterator[LogsyncError]:
    """The only serialization failure that READ COMMITTED knows."""
    parted = f"{case.table}_parted"
    case.sql(
        f"CREATE TABLE {parted} (id int, n int) PARTITION BY LIST (id)",
        *[f"CREATE TABLE {parted}_{n} PARTITION OF {parted} FOR VALUES IN ({n})" for n in (1, 2)],
        f"INSERT INTO {parted} VALUES (1, 0)",
    )
    with psycopg.connect(case.bench.dsn, options="-c search_path=public") as rival:
        rival.execute(f"UPDATE {parted} SET id = 2".encode())
        apply = case.applying(Sql(f"UPDATE {parted} SET n = n + 1"))
        apply.until(LOCKED)
        rival.commit()
        yield apply.failed()


@row("40P01", StoreUnavailable)
def a_deadlock(case: Case) -> Iterator[LogsyncError]:
    with held(case.bench, case.table) as rival:
        plan = plan_of(case.store.positions()[0], [Sql(f"INSERT INTO {case.table} VALUES (2)")], case.good)
        apply = Apply(case.bench, case.store, plan=plan)
        apply.until(LOCKED)
        rival.execute(f"INSERT INTO {case.table} VALUES (2)".encode())  # returns when the store has given up
        yield apply.failed()


@row("55P03", StoreUnavailable, timeout=4)
def a_lock_that_somebody_keeps(case: Case) -> Iterator[LogsyncError]:
    with held(case.bench, case.table):
        yield case.apply()


@row("57014", StoreUnavailable, timeout=4)
def a_statement_that_takes_too_long(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql("SELECT pg_sleep(60)"))


# What a person has to change


@row("42P01", ConfigError)
def a_table_is_missing(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql("UPDATE missing_table SET n = 1"))


@row("3F000", ConfigError)
def a_schema_is_missing(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql("CREATE TABLE missing_schema.t ()"))


@row("42703", ConfigError)
def a_column_is_missing(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql(f"UPDATE {case.table} SET nope = 1"))


@row("42601", ConfigError)
def a_statement_is_none(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql(f"UPDAET {case.table} SET n = 1"))


@row("55000", ConfigError)
def a_key_is_deferrable(case: Case) -> Iterator[LogsyncError]:
    case.sql(f"ALTER TABLE {case.table} ADD CONSTRAINT {case.bench.name}_late UNIQUE (t) DEFERRABLE")
    yield case.apply(Upsert(case.table, {"t": "x"}, {"id": 2}))


@row("42P01", ConfigError)
def the_bookkeeping_is_gone(case: Case) -> Iterator[LogsyncError]:
    plan = case.plan()
    case.sql("ALTER TABLE logsync.position RENAME TO position_moved")
    try:
        error = case.failing(lambda: case.store.apply(plan))
    finally:
        case.sql("ALTER TABLE logsync.position_moved RENAME TO position")
    yield error


@row("42501", ConfigError)
def a_right_is_missing(case: Case) -> Iterator[LogsyncError]:
    role = f"{case.bench.name}_role"
    case.sql(
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE ON SCHEMA logsync TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA logsync TO {role}",
    )
    try:
        plan = case.plan()
        with closing(case.bench.store(dsn=case.bench.dsn.replace("logsync@", f"{role}@"))) as store:
            yield case.failing(lambda: store.apply(plan))
    finally:
        case.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


# What one event is at fault for


@row("23505", WriteRejected)
def a_unique_key_is_taken(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql(f"INSERT INTO {case.table} VALUES (1)"))


@row("23514", WriteRejected)
def a_check_fails(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Upsert(case.table, {"id": 2}, {"n": 100}))


@row("23502", WriteRejected)
def a_null_is_not_allowed(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Upsert(case.table, {"id": 2}, {"n": None}))


@row("22P02", WriteRejected)
def a_value_is_not_of_the_columns_type(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Upsert(case.table, {"id": 2}, {"n": "many"}))


@row("42601", WriteRejected)  # the syntax of a value's text, and not the statement's
def a_value_is_no_query(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql("SELECT %(q)s::tsquery", {"q": "a b &"}))


@row("42804", WriteRejected)  # the type is that of the event's value
def a_value_has_another_type(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql(f"UPDATE {case.table} SET n = %(n)s", {"n": [1]}))


@row("22021", WriteRejected)
def bytes_are_no_text_in_the_servers_encoding(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(Sql(r"SELECT convert_from('\xff'::bytea, 'UTF8')"))


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_error_leaves_the_store_as_one_class_and_the_plan_can_be_applied_afterwards(
    bench: Bench, stack: Stack, row: Row
) -> None:
    case = Case(bench, stack, row.timeout)
    try:
        with contextmanager(row.trouble)(case) as error:
            assert type(error) is row.error
            assert judged(error) == MEANING[row.error]
            assert row.code in str(error)
            if isinstance(error, WriteRejected):
                assert error.offset == 1
    finally:
        stack.start("postgres")
    found = case.found()
    assert found == (0, 0) or (row.error is StoreOutcomeUnknown and found == (5, 1))
    if isinstance(error, StoreError):
        case.reopen()
    if found == (0, 0):
        case.store.apply(case.plan())
    assert case.found() == (5, 1)
