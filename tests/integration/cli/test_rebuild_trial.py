"""`rebuild` looks before it wipes: what the replay would halt at leaves the content as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from logsync.cli.exits import Exit
from tests.integration.cli.conftest import Deploy, Shell, Topic

BODY = "yield Upsert(TABLE, key={'name': event.data.name}, values={'size': event.data.size})"


@pytest.fixture
def filled(topic: Topic, shell: Shell, deploy: Deploy, database: str) -> Iterator[psycopg.Connection]:
    """A sink that has applied three events; the database, to look at its content."""
    for name in "abc":
        topic.event("thing.made", json.dumps({"name": name, "size": 1}).encode(), key=name.encode())
    shell("consume", "db", "--until-end")
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def rows(connection: psycopg.Connection, table: str = "things") -> list[tuple[object, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1".encode()).fetchall()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"body": "raise KeyError('size')"}, Exit.EVENT, ("KeyError: 'size' at db.py:", "line ", "thing_made")),
        ({"body": BODY.replace("'size'", "'colour'")}, Exit.CONFIG, ("colour", "ADD COLUMN IF NOT EXISTS")),
        ({"body": BODY.replace("event.data.size", "'many'")}, Exit.EVENT, ("bigint",)),
        ({"body": BODY.replace("TABLE", "'absent'")}, Exit.CONFIG, ("absent",)),
        ({"body": BODY + "; yield Increment('totals', {'name': 'x'}, {'n': 1})"}, Exit.CONFIG,
         ('to "totals"', "does not name", "tables=[...]")),
        ({"body": "return [42]"}, Exit.CONFIG, ("int among its writes",)),
    ],
)  # fmt: skip
def test_nothing_is_wiped_if_the_first_events_cannot_be_applied(
    filled: psycopg.Connection, shell: Shell, deploy: Deploy, change: dict[str, str], code: Exit, words: tuple[str, ...]
) -> None:
    filled.execute("CREATE TABLE totals (name text PRIMARY KEY, n bigint DEFAULT 0)")
    before = rows(filled)
    deploy(**change)
    done = shell("rebuild", "db", "--yes", code=code)
    for each in (*words, "nothing was wiped", "`logsync rebuild db --no-trial --yes`"):
        assert each in done.stderr
    assert rows(filled) == before
    deploy()
    shell("consume", "db", "--until-end")  # the position is where it was, and the book too
    done = shell("rebuild", "db", "--yes")
    assert "tried the log's first events: 3 can be applied" in done.stderr
    assert rows(filled) == before


def test_a_trial_can_be_left_out_and_leaves_no_trace(filled: psycopg.Connection, shell: Shell, deploy: Deploy) -> None:
    before = rows(filled)
    shell("rebuild", "db", "--yes", "--no-replay")
    assert rows(filled) == [], "what the trial wrote was taken back"
    shell("consume", "db", "--until-end")
    assert rows(filled) == before
    deploy(body="raise KeyError('size')")
    shell("rebuild", "db", "--no-trial", "--yes", code=Exit.EVENT)
    assert rows(filled) == []


def test_a_declared_table_that_is_not_there_is_said_before_anything_is_wiped(
    filled: psycopg.Connection, shell: Shell, deploy: Deploy
) -> None:
    before = rows(filled)
    path = shell.folder / "sinks/db.py"
    path.write_text(path.read_text().replace('tables=["things"]', 'tables=["things", "totls"]'))
    done = shell("rebuild", "db", "--yes", code=Exit.CONFIG)
    assert 'names "totls", and there is no such table' in done.stderr
    assert rows(filled) == before


def test_a_sink_that_would_park_everything_is_not_rebuilt(
    filled: psycopg.Connection, shell: Shell, deploy: Deploy
) -> None:
    before = rows(filled)
    deploy(body="raise KeyError('size')")
    path = shell.folder / "sinks/db.py"
    path.write_text(path.read_text().replace('tables=["things"])', 'tables=["things"]), on_error="park"'))
    done = shell("rebuild", "db", "--yes", code=Exit.CONFIG)
    assert "none of the log's first events could be applied, 3 would be parked" in done.stderr
    assert rows(filled) == before


def test_a_schema_that_cannot_be_applied_again_says_how_it_can(
    filled: psycopg.Connection, shell: Shell, deploy: Deploy
) -> None:
    before = rows(filled)
    (shell.folder / "sinks/db.sql").write_text("CREATE TABLE things (name text PRIMARY KEY, size bigint, colour text);")
    for command in (("rebuild", "db", "--yes"), ("consume", "db", "--until-end")):
        done = shell(*command, code=Exit.CONFIG)
        assert "CREATE TABLE IF NOT EXISTS" in done.stderr
        assert "ADD COLUMN IF NOT EXISTS" in done.stderr
    assert rows(filled) == before
    (shell.folder / "sinks/db.sql").write_text(
        "CREATE TABLE IF NOT EXISTS things (name text PRIMARY KEY, size bigint);"
        "ALTER TABLE things ADD COLUMN IF NOT EXISTS colour text;"
    )
    shell("rebuild", "db", "--yes")
    assert [row[:2] for row in rows(filled)] == before
