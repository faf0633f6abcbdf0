"""Where one SQL statement ends, and what a statement of a sink may not be."""

from __future__ import annotations

import pytest

from logsync.stores.postgres.coalesce import RowsRefused
from logsync.stores.postgres.guard import check_statement
from logsync.stores.postgres.lexer import statements
from logsync.stores.postgres.schema import SinkSchema

ONE = [
    "SELECT $b1$a;b$b1$",
    "SELECT $fü$a;b$fü$",
    "SELECT $$a;b$$, $x$ $$;$$ $x$",
    "SELECT 1 /* one /* two */ ; three */",
    "SELECT 1 /* ; ",
    "SELECT 1 -- ; COMMIT\n + 1",
    "SELECT 1 -- ; COMMIT\r + 1",
    r"SELECT 'x' NOT LIKE'a\' AND ';' = ';'",
    r"SELECT E'a\';b', e'\\', E'''\'' ';'",
    "SELECT E'a'\n  'b\\';c'",
    "SELECT E'a' -- and so on\n  'b\\';c'",
    r"SELECT U&'d\0061;t', B'1;', X';', N';', u&';'",
    'SELECT U&"a;b", "c;""d"',
    "SELECT a$b, 1 AS c$d$e",
    "SELECT $1 ; ",
    ";; SELECT 1;;",
    "SELECT price::numeric, '{\"a\": \";\"}'::jsonb -> 'a'",
    "SELECT 1 @-- ;\n 2",
    "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE SQL BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT x.end AS end FROM x; END",
    "create procedure p() begin atomic insert into a values (1); insert into b values (1); end;",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
    "DO $$ BEGIN PERFORM 1; END $$",
    "INSERT INTO commit VALUES ('BEGIN')",
    'UPDATE t SET "set_config" = 1',
]
SEVERAL = [
    ("SELECT 1; COMMIT", 2),
    ("SELECT ';'; ROLLBACK", 2),
    ("SELECT $a$ ; $b$ ; $a$; SELECT 2", 2),
    ("SELECT a$b$ ; SELECT c$b$", 2),
    ("SELECT 1 /* /* */ */; SELECT 2", 2),
    (r"SELECT 'a\'; SELECT 'b'", 2),
    ("SELECT 'a' \n 'b'; SELECT 2", 2),
    ("CREATE FUNCTION f() RETURNS int AS 'SELECT 1' LANGUAGE SQL; COMMIT", 2),
    ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT 2; SELECT 3", 3),
    ("SELECT 1 AS case; SELECT 2", 2),
    ("", 0),
    (" -- nothing\n /* */ ; ", 0),
]


@pytest.mark.parametrize("text", ONE)
def test_one_statement_is_taken_for_one(text: str) -> None:
    assert len(statements(text)) == 1
    check_statement(text)


@pytest.mark.parametrize(("text", "count"), SEVERAL)
def test_several_statements_are_taken_for_so_many(text: str, count: int) -> None:
    assert len(statements(text)) == count
    with pytest.raises(RowsRefused, match=f"expected one SQL statement, found {count}"):
        check_statement(text)


@pytest.mark.parametrize(
    "text",
    [
        "/* */ COMMIT",
        "--\nend",
        "SET TimeZone = 'Asia/Tokyo'",
        "COPY t FROM STDIN",
        "SELECT set_config('TimeZone', 'Asia/Tokyo', true)",
        "SELECT pg_catalog . set_config ('TimeZone', 'Asia/Tokyo', false)",
        "SELECT 1\0; COMMIT",
    ],
)
def test_what_ends_the_transaction_or_changes_the_session_is_refused(text: str) -> None:
    with pytest.raises(RowsRefused):
        check_statement(text)


def test_a_schema_may_hold_bodies_of_any_quoting_and_no_commit() -> None:
    bodies = (
        "CREATE FUNCTION a() RETURNS int LANGUAGE plpgsql AS $fn2$ BEGIN RETURN 1; END $fn2$;"
        "CREATE FUNCTION b() RETURNS int LANGUAGE SQL BEGIN ATOMIC SELECT 1; SELECT 2; END;"
        "SELECT pg_catalog.set_config('search_path', '', false);"
    )
    assert SinkSchema(bodies).ddl() == bodies
    with pytest.raises(Exception, match="COMMIT"):
        SinkSchema(bodies + "COMMIT").ddl()
