"""What a role, a database or a server is set to changes no value. # I5"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from logsync.core.write import Write
from logsync.errors import ConfigError, WriteRejected
from logsync.stores.postgres import Sql, Upsert
from logsync.stores.postgres.opening import PINNED
from logsync.testing.store_contract.making import parks
from logsync.testing.store_contract.making import waiting as entry

from .conftest import Bench

NEUTRAL = (
    "-c timezone=UTC -c datestyle=ISO,MDY -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1 "
    "-c client_encoding=UTF8"
)
HOSTILE = {
    "TimeZone": "Asia/Tokyo",
    "timezone_abbreviations": "India",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "array_nulls": "off",
    "xmloption": "document",
    "xmlbinary": "hex",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "lc_numeric": "C.utf8",
    "lc_time": "C.utf8",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "client_encoding": "LATIN1",
    "transform_null_equals": "on",
    "row_security": "off",
    "gin_fuzzy_search_limit": "1",
    "quote_all_identifiers": "on",
    "exit_on_error": "on",
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
}


@pytest.fixture(params=["role", "database"])
def hostile(bench: Bench, request: pytest.FixtureRequest) -> Iterator[str]:
    """The dsn of a session that starts with every setting that could change a value, changed."""
    role, database = f"{bench.name}_hostile", f"{bench.name}_base"
    bench.db.execute(f"CREATE ROLE {role} SUPERUSER LOGIN")
    bench.db.execute(f"CREATE DATABASE {database}")
    whose = f"ROLE {role}" if request.param == "role" else f"DATABASE {database}"
    for name, value in HOSTILE.items():
        bench.db.execute(f"ALTER {whose} SET {name} = '{value}'")
    yield bench.dsn.replace("logsync@", f"{role}@").rsplit("/", 1)[0] + f"/{database}"
    for store in bench.stores:
        store.close()
    bench.db.execute(f"DROP DATABASE {database} WITH (FORCE)")
    bench.db.execute(f"DROP ROLE {role}")


def test_every_pinned_setting_is_tried(bench: Bench) -> None:
    assert HOSTILE.keys() >= PINNED.keys()


@pytest.mark.parametrize("size", [1, 1000])
def test_no_setting_of_a_role_or_a_database_changes_a_value(bench: Bench, hostile: str, size: int) -> None:
    columns = (
        "id int PRIMARY KEY, day date, at timestamptz, len interval, texts text[], y bytea, f float8, s text, "
        "j jsonb, p int"
    )
    schema = f"CREATE TABLE IF NOT EXISTS up (id int PRIMARY KEY); CREATE TABLE IF NOT EXISTS {bench.name} ({columns})"
    store = bench.store(dsn=hostile, schema=schema, tables=["up", bench.name])
    table = bench.name
    row = {
        "day": "02/03/2026",
        "at": "2026-01-02 12:00 IST",
        "len": timedelta(days=-1, seconds=-5, hours=-2),
        "texts": ["a", None, "NULL"],
        "y": b"\x00\xff",
        "f": 0.1,
        "s": "é\\'",
        "j": {"a": "\\é"},
    }
    shown = (
        f"INSERT INTO {table} (id, s) SELECT 100 + id, concat_ws(' ', f, y, at, day, len, to_char(1.5, '9D9'), "
        f"'a\\b', (NULL = NULL) IS NULL, current_setting('session_replication_role')) FROM {table} WHERE id = 1"
    )
    events: list[list[Write]] = [[Upsert(table, {"id": n}, row)] for n in (1, 2)]
    events += [[Upsert(table, {"id": 3}, {"at": datetime(2026, 1, 2)})], [Sql(shown)]]  # noqa: DTZ001
    for first in range(0, len(events), size):
        bench.apply(store, *events[first : first + size])
    with pytest.raises(WriteRejected):
        bench.apply(store, [Upsert(table, {"id": 4}, {"day": "31/12/2026"})])

    with psycopg.connect(hostile, options=NEUTRAL) as db:
        assert (
            db.execute(f"SELECT day, at, len, texts, y, f, s, j FROM {table} WHERE id < 3").fetchall()
            == [
                (
                    date(2026, 2, 3),
                    datetime(2026, 1, 2, 10, tzinfo=UTC),
                    timedelta(days=-1, seconds=-5, hours=-2),
                    ["a", None, "NULL"],
                    b"\x00\xff",
                    0.1,
                    "é\\'",
                    {"a": "\\é"},
                )
            ]
            * 2
        )
        assert db.execute(f"SELECT at FROM {table} WHERE id = 3").fetchone() == (datetime(2026, 1, 2, tzinfo=UTC),)
        (text,) = db.execute(f"SELECT s FROM {table} WHERE id = 101").fetchone() or ("",)
    assert text == ("0.1 \\x00ff 2026-01-02 10:00:00+00 2026-02-03 -2 days +21:59:55  1.5 a\\b t origin")


def test_parked_events_keep_their_time_whatever_the_role_is_set_to(bench: Bench, hostile: str) -> None:
    store = bench.store(dsn=hostile, tables=[])
    store.apply(parks(store.positions()[0], entry(0), to=1))
    (found,) = store.sequences(0).values()
    assert found.since == entry(0).first_at


def test_a_role_that_may_not_change_a_setting_back_is_told_its_name(bench: Bench) -> None:
    role = f"{bench.name}_replica"
    bench.db.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA logsync TO {role}")
    bench.db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA logsync TO {role}")
    bench.db.execute(f"ALTER ROLE {role} SET session_replication_role = 'replica'")
    try:
        with pytest.raises(ConfigError, match="session_replication_role"):
            bench.store(dsn=bench.dsn.replace("logsync@", f"{role}@"))
    finally:
        bench.db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
