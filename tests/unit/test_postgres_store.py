"""The parts of the Postgres store that need no server."""

from __future__ import annotations

import math
import select
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from time import monotonic
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from logsync.core import secrets
from logsync.core.event import Event, Record
from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.settings import Settings
from logsync.stores.postgres import Delete, Increment, InTransaction, Postgres, Sql, Upsert
from logsync.stores.postgres.coalesce import RowsRefused
from logsync.stores.postgres.encode import array
from logsync.stores.postgres.errors import Verdict, describe, verdict, verdict_of_connect
from logsync.stores.postgres.link import Link, unverified
from logsync.stores.postgres.parking import changes
from logsync.stores.postgres.shapes import Column, Relation, quote
from logsync.stores.postgres.statements import ByKey, Tables

UNAVAILABLE, CONFIG, REJECTED = Verdict.UNAVAILABLE, Verdict.CONFIG, Verdict.REJECTED


def column(base: str, *, typmod: int = -1, deterministic: bool = True, default: str | None = None) -> Column:
    return Column(base, base, False, typmod, deterministic, default)


def relation(number: int, name: str, columns: dict[str, Column]) -> Relation:
    itself = frozenset([number])
    return Relation(quote(name), columns, number, kin=itself, touched=itself)


def tables(*names: str, **options: Any) -> Tables:
    made = Tables(**options)
    columns = {"id": column("int8"), "k2": column("int8"), "n": column("int8", default="0"), "t": column("text")}
    made.learn({name: relation(n, name, columns) for n, name in enumerate(names)})
    return made


def steps(made: Tables, *writes: Write) -> list[str]:
    """The statements in short: verb, table and parameters."""
    found = []
    for step in made.steps(writes):
        if isinstance(step, InTransaction):
            found.append("RUN")
        elif step.sql.startswith("MERGE"):
            found.append(f"MERGE {step.sql.split()[2]} {' '.join(step.params)}")
        elif "WHERE false ON CONFLICT" in step.sql:
            found.append("UNIQUE " + step.sql.split("ON CONFLICT ")[1].split()[0])
        elif "logsync_rows" in step.sql:
            found.append(f"PUT {step.sql.split('INSERT INTO ')[1].split()[0]} {' '.join(step.params)}")
        elif step.sql.startswith("DELETE"):
            found.append(f"DELETE {step.sql.split()[2]} {' '.join(step.params)}")
        else:
            found.append(step.sql)
    return found


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", UNAVAILABLE),
        ("25006", UNAVAILABLE),
        ("25P03", UNAVAILABLE),
        ("40001", UNAVAILABLE),
        ("40P01", UNAVAILABLE),
        ("53100", UNAVAILABLE),
        ("53200", UNAVAILABLE),
        ("53300", UNAVAILABLE),
        ("55P03", UNAVAILABLE),
        ("57014", UNAVAILABLE),
        ("57P01", UNAVAILABLE),
        ("57P02", UNAVAILABLE),
        ("57P03", UNAVAILABLE),
        ("58030", UNAVAILABLE),
        ("XX000", UNAVAILABLE),
        ("28P01", CONFIG),
        ("28000", CONFIG),
        ("3D000", CONFIG),
        ("3F000", CONFIG),
        ("42501", CONFIG),
        ("42P01", CONFIG),
        ("42P10", CONFIG),
        ("22P02", REJECTED),
        ("22021", REJECTED),
        ("23505", REJECTED),
        ("42703", CONFIG),
        ("55000", CONFIG),
        ("42601", REJECTED),  # without a place in the statement: see test_refusals.py
        ("42804", REJECTED),
        ("42883", REJECTED),
        ("42P07", REJECTED),
        ("54000", REJECTED),
        ("P0001", REJECTED),
    ],
)
def test_each_error_code_of_the_server_means_one_thing(state: str, expected: Verdict) -> None:
    assert verdict(psycopg.errors.lookup(state)("x")) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('connection to server at "h" failed: FATAL:  password authentication failed for user "u"', CONFIG),
        ('FATAL:  database "x" does not exist', CONFIG),
        ('FATAL:  no pg_hba.conf entry for host "h"', CONFIG),
        ('FATAL:  permission denied for database "x"', CONFIG),
        ("fe_sendauth: no password supplied", CONFIG),
        ("FATAL:  unsupported startup parameter: options", CONFIG),
        ("FATAL:  sorry, too many clients already", UNAVAILABLE),
        ('FATAL:  too many connections for role "u"', UNAVAILABLE),
        ("FATAL:  the database system is starting up", UNAVAILABLE),
        ("FATAL:  the database system is not yet accepting connections", UNAVAILABLE),
        ("FATAL:  the database system is not accepting connections", UNAVAILABLE),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", UNAVAILABLE),
        ("Connection refused", UNAVAILABLE),
        ("SSL error: certificate verify failed", CONFIG),
        ("SSL error: ssl/tls alert certificate expired", CONFIG),
        ("SSL error: tlsv13 alert certificate required", CONFIG),
        ("SSL error: tlsv1 alert unknown ca", CONFIG),
        ("SSL error: wrong version number", CONFIG),
        ("SSL error: unsupported protocol", CONFIG),
        ('server certificate for "a" (and 2 other names) does not match host name "b"', CONFIG),
        ('root certificate file "/root/.postgresql/root.crt" does not exist', CONFIG),
        ('certificate present, but not private key file "k"', CONFIG),
        ('private key file "k" has group or world access', CONFIG),
        ('weak sslmode "require" may not be used with sslrootcert=system', CONFIG),
        ("FATAL:  connection requires a valid client certificate", CONFIG),
        ("channel binding required, but server did not offer an authentication method that supports it", CONFIG),
        ("SSL error: unexpected eof while reading", UNAVAILABLE),
        ("SSL SYSCALL error: Connection reset by peer", UNAVAILABLE),
        ("SSL connection has been closed unexpectedly", UNAVAILABLE),
        ('connection to server at "h", database "x": timeout expired', UNAVAILABLE),
    ],
)
def test_a_connection_that_was_refused_waits_unless_the_set_up_is_wrong(words: str, expected: Verdict) -> None:
    assert verdict_of_connect(psycopg.OperationalError(words)) is expected


@pytest.mark.parametrize(
    ("address", "parameters", "found"),
    [
        ("10.0.0.5", {}, "prefer"),
        ("10.0.0.5", {"sslmode": "disable"}, "disable"),
        ("2001:db8::5", {"sslmode": "require"}, "require"),
        ("fe80::1%eth0", {"sslmode": "verify-ca"}, "verify-ca"),
        ("10.0.0.5", {"sslmode": "verify-full"}, ""),
        ("10.0.0.5", {"sslrootcert": "system"}, ""),
        ("127.0.0.1", {}, ""),
        ("127.9.9.9", {"sslmode": "disable"}, ""),
        ("::1", {}, ""),
        ("", {}, ""),
    ],
)
def test_a_server_elsewhere_is_known_only_by_verify_full(address: str, parameters: dict[str, str], found: str) -> None:
    assert unverified(address, parameters) == found


def test_an_error_is_told_in_one_short_line_without_the_password() -> None:
    secrets.keep(["s3cret-of-postgres"])
    told = describe(psycopg.OperationalError("failed\n for " + "x" * 185 + " s3cret-of-postgres" + "x" * 1000))
    assert told.startswith("failed for xxx")
    assert len(told) < 250
    assert "s3c" not in told


def test_what_declares_no_table_waits_for_everything_and_is_waited_for() -> None:
    event: Event[Any] = Event("i", "t", 1, None, datetime(2026, 1, 1, tzinfo=UTC), None, 0, 0, None, [])
    made = tables("a", "b")
    one, two = Upsert("a", {"id": 1}, {"n": 1}), Upsert("b", {"id": 2}, {"n": 2})
    assert steps(made, one, two, Sql("SELECT 1"), one) == [
        'PUT "a" {1} {1}',
        'PUT "b" {2} {2}',
        "SELECT 1",
        'PUT "a" {1} {1}',
    ]
    assert steps(made, two, one, Sql("SELECT 1", touches=("a",))) == ['PUT "a" {1} {1}', "SELECT 1", 'PUT "b" {2} {2}']
    run = InTransaction(lambda cursor, event: None, event)
    assert steps(made, one, run, one) == ['PUT "a" {1} {1}', "RUN", 'PUT "a" {1} {1}']


def test_one_statement_per_set_of_columns_with_its_keys_in_order() -> None:
    writes = [
        Upsert("a", {"id": 3}, {"n": 1}),
        Upsert("a", {"id": 2}, {"t": "x"}),
        Upsert("a", {"id": 1}, {"n": 2}),
        Upsert("a", {"id": 2}, {"n": 5, "t": "y"}),
        Delete("a", {"id": 9}),
        Delete("a", {"id": 8}),
    ]
    assert steps(tables("a"), *writes) == ['PUT "a" {1,3} {2,1}', 'PUT "a" {2} {"y"} {5}', 'DELETE "a" {8,9}']


OFF = ["SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off"]
BACK = ["SET LOCAL enable_hashjoin TO DEFAULT", "SET LOCAL enable_mergejoin TO DEFAULT"]


def test_counters_of_several_rows_are_taken_in_key_order() -> None:
    writes = [Increment("a", {"id": i}, {"n": 1}) for i in (3, 1, 3, 2)]
    assert steps(tables("a"), *writes) == [*OFF, 'UNIQUE ("id")', 'MERGE "a" {1,2,3} {1,1,2}', *BACK]


def test_a_row_deleted_and_written_again_begins_anew() -> None:
    writes = [Upsert("a", {"id": 1}, {"t": "x"}), Delete("a", {"id": 1}), Increment("a", {"id": 1}, {"n": 1})]
    assert steps(tables("a"), *writes) == ['DELETE "a" {1}', 'PUT "a" {1} {1}']


def test_other_key_columns_and_unlike_keys_keep_the_log_s_order() -> None:
    writes = [Upsert("a", {"id": 1}), Delete("a", {"k2": 1}), Upsert("a", {"id": 1})]
    assert steps(tables("a"), *writes) == ['PUT "a" {1}', 'DELETE "a" {1}', 'PUT "a" {1}']
    mixed = [Upsert("a", {"id": 1}), Delete("a", {"id": "1"}), Upsert("a", {"id": 1})]
    assert steps(tables("a"), *mixed) == ['PUT "a" {1}', 'DELETE "a" {"1"}', 'PUT "a" {1}']


def test_ordered_tables_are_written_one_by_one_where_they_stand() -> None:
    writes = [Upsert("a", {"id": 2}), Upsert("b", {"id": 1}), Upsert("a", {"id": 1}), Delete("a", {"id": 2})]
    expected = ['PUT "a" {2}', 'PUT "a" {1}', 'DELETE "a" {2}', 'PUT "b" {1}']
    assert steps(tables("a", "b", ordered=["a"]), *writes) == expected


def test_tables_are_filled_in_the_declared_order_and_emptied_in_the_other() -> None:
    writes: list[Write] = [
        Delete("p", {"id": 9}),
        Delete("c", {"id": 8}),
        Upsert("c", {"id": 1}),
        Upsert("p", {"id": 1}),
    ]
    expected = ['PUT "p" {1}', 'PUT "c" {1}', 'DELETE "c" {8}', 'DELETE "p" {9}']
    assert steps(tables("p", "c", tables=["p", "c"]), *writes) == expected


def test_a_very_large_plan_is_cut_into_statements() -> None:
    found = tables("a").steps(Upsert("a", {"id": i}) for i in range(25_000))
    sizes = [len(str(step.params[0]).split(",")) for step in found if isinstance(step, ByKey) and step.params]
    assert sizes == [10_000, 10_000, 5_000]


def test_increments_are_judged_before_they_are_added_up() -> None:
    made = tables("a")
    for pair in ([Decimal("0.5")] * 2, [0.5, 0.5], [True, 1], [Decimal("NaN"), 1]):
        with pytest.raises(RowsRefused):
            steps(made, *[Increment("a", {"id": 1}, {"n": by}) for by in pair])


@pytest.mark.parametrize(
    ("base", "typmod", "default", "by", "fine"),
    [
        ("int4", -1, "0", 1, True),
        ("int8", -1, "'0'::bigint", Decimal("3.0"), True),
        ("numeric", (10 << 16 | 2) + 4, "0.00", Decimal("0.250"), True),
        ("numeric", (10 << 16 | 2) + 4, None, Decimal("0.255"), False),
        ("numeric", (10 << 16 | 0x7FE) + 4, None, 100, False),  # numeric(10,-2)
        ("numeric", -1, None, Decimal("1e-300"), True),
        ("numeric", -1, None, Decimal("1e200000"), False),
        ("int8", -1, "1", 1, False),
        ("int8", -1, "nextval('s'::regclass)", 1, False),
        ("float8", -1, None, 1, False),
        ("text", -1, None, 1, False),
    ],
)
def test_a_counter_is_a_column_whose_sum_does_not_depend_on_batches(
    base: str, typmod: int, default: str | None, by: Any, fine: bool
) -> None:
    made = column(base, typmod=typmod, default=default)
    if fine:
        made.check_counter("n", [by])
    else:
        with pytest.raises(RowsRefused):
            made.check_counter("n", [by])


BERLIN, FIXED = ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=2))
NOON = datetime(2026, 1, 1, 12)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("made", "values", "same"),
    [
        (column("int8"), [1, 2], True),
        (column("int8"), [1, True], False),
        (column("int8"), [1, "2"], False),
        (column("int8"), [1, None], False),
        (column("numeric"), [1], False),
        (column("numeric"), [Decimal(1)], True),
        (column("text"), ["a"], True),
        (column("text", deterministic=False), ["a"], False),
        (column("varchar", typmod=3 + 4), ["abc"], True),
        (column("varchar", typmod=3 + 4), ["abc "], False),
        (column("bpchar"), ["a"], False),
        (column("citext"), ["a"], False),
        (column("uuid"), [UUID(int=1)], True),
        (column("uuid"), [str(UUID(int=10))], True),
        (column("uuid"), [str(UUID(int=10)).upper()], False),
        (column("timestamptz"), [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=FIXED)], True),
        (column("timestamptz"), [NOON.replace(tzinfo=BERLIN)], False),
        (column("timestamptz"), [NOON], False),
        (column("timestamp"), [NOON.replace(tzinfo=UTC)], False),
        (column("date"), ["2026-01-01"], False),
    ],
)
def test_keys_coalesce_only_where_python_and_the_server_agree_what_is_equal(
    made: Column, values: list[Any], same: bool
) -> None:
    assert made.same_keys(values) is same


def test_arrays_are_written_as_postgres_reads_them() -> None:
    assert array([1, -2]) == "{1,-2}"
    assert array(['a"b', "\\", "NULL", ""]) == '{"a\\"b","\\\\","NULL",""}'
    assert array([None, "NULL", 1, True]) == '{NULL,"NULL","1","true"}'
    assert array([b"\x00a"]) == '{"\\\\x0061"}'
    assert array([{"k": "é"}, [1], None, '{"raw": 1}'], "jsonb") == (
        '{"{\\"k\\": \\"é\\"}","[1]",NULL,"{\\"raw\\": 1}"}'
    )
    assert array([[1, None], "{2}"], "_int4", "int4") == '{"{\\"1\\",NULL}","{2}"}'
    for bad in (["a\0b"], ["a\0b", None], [{1}], [object()]):
        with pytest.raises(RowsRefused):
            array(bad)


def test_names_are_quoted_part_by_part() -> None:
    assert quote('shop.my"Table') == '"shop"."my""Table"'


def test_a_store_shows_no_address_and_opens_nothing() -> None:
    store = Postgres("postgresql://u:s3cret@h/d", tables=["orders"])
    assert repr(store) == "Postgres(tables=['orders'])"
    store.close()
    with pytest.raises(ConfigError, match="a list of names"):
        Postgres(tables="orders")


def test_the_schema_is_printed_without_a_server() -> None:
    printed = Postgres(schema="CREATE TABLE IF NOT EXISTS x (id int);").schema()
    assert printed.index("logsync.position") < printed.index("TABLE IF NOT EXISTS x ") < printed.index("INSERT INTO")


def test_parking_costs_nothing_unless_something_is_parked_and_then_one_statement() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    start, end = Position(0, 0), Position(0, 5_000)
    entries = [
        Parked(0, n, f"k{n}", None, None, "", "", at, at, 0, Record(0, n, b"k", b"v" * 200, [], None, 0))
        for n in range(5_000)
    ]
    assert changes("s", Plan(start, end, [Sql("SELECT 1")], [0])) == []
    assert len(changes("s", Plan(start, end, parked=entries))) == 1
    assert len(changes("s", Plan(start, start.released(), still_parked=entries[1:2], released=[0]))) == 2
    big = [entry._replace(record=entry.record._replace(value=b"v" * 900_000)) for entry in entries[:30]]
    several = changes("s", Plan(start, end, parked=big))  # one value of Postgres ends at 1 GB
    assert len(several) == 3


def test_importing_the_store_loads_no_client() -> None:
    code = "import sys, logsync.stores.postgres; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"logsync\[postgres\]"):
        Postgres().open("db", Settings(_env_file=None))


def test_many_rows_are_looked_up_by_their_key_and_nothing_else_is() -> None:
    made = tables("a")
    few = [Upsert("a", {"id": n}, {"n": n}) for n in range(99)]
    many = [Upsert("a", {"id": n}, {"n": n}) for n in range(100)]
    assert [found.split()[0] for found in steps(made, *few)] == ["PUT"]
    found = steps(made, *many, Sql("SELECT 1"), *many)
    short = [step if step.startswith("SET") else step.split()[0] for step in found]
    assert short == [*OFF, "UNIQUE", "MERGE", *BACK, "SELECT", *OFF, "UNIQUE", "MERGE", *BACK]


def test_work_that_never_ends_hides_neither_the_answer_nor_the_deadline() -> None:  # F1
    ours, theirs = socket.socketpair()
    with ours, theirs:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        link: Any = SimpleNamespace(deadline=monotonic() + 0.05, meanwhile=lambda: True)
        assert Link._ready(link, poll) == []
        link.deadline = math.inf
        link.meanwhile = lambda: theirs.send(b"answer") > 0
        assert Link._ready(link, poll) == [(ours.fileno(), select.POLLIN)]
