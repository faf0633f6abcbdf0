"""Bad input is one table: what comes in, the exit code, what was expected, what was found, what mends it.

Every row runs `logsync consume` on real servers, reads its message, does what the message says, and sees the
worker go on to the log's end with nothing lost, nothing half-applied and nothing skipped in silence.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from devstack import Stack
from logsync.cli.exits import Exit
from tests.waiting import PATIENCE

from .conftest import FOR_EVER, Deploy, Shell, Topic

Rows = dict[str, int]


@dataclass
class World:
    """One test's surroundings, and the last answer of `logsync consume`."""

    shell: Shell
    topic: Topic
    deploy: Deploy
    stack: Stack
    database: psycopg.Connection[tuple[object, ...]]
    said: str = ""

    def rows(self) -> Rows:
        """The content of the sink's table; a table that nobody created holds nothing."""
        if self.sql("SELECT to_regclass(%s)", self.deploy.table)[0][0] is None:
            return {}
        return {str(name): int(str(size)) for name, size in self.sql(f"SELECT name, size FROM {self.deploy.table}")}

    def position(self) -> int:
        book = self.shell("position", "show", "db", "--json").stdout
        found = re.search(r'"next_offset": (\d+)', book)
        return int(found[1]) if found else -1

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        cursor = self.database.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def role(self, name: str, url_part: str) -> None:
        """Let the worker log in as ``name``; ``url_part`` is name or name:password."""
        url = urlsplit(self.shell.env["LOGSYNC_POSTGRES"])
        self.shell.env["LOGSYNC_POSTGRES"] = urlunsplit(url._replace(netloc=f"{url_part}@{url.hostname}:{url.port}"))


@pytest.fixture
def world(shell: Shell, topic: Topic, deploy: Deploy, stack: Stack, database: str) -> Iterator[World]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield World(shell, topic, deploy, stack, connection)


Step = Callable[[World], None]


def event(value: bytes, type: str = "thing.made", **more: object) -> Step:
    """An event between the two good ones."""
    return lambda world: void(world.topic.event(type, value, **more))


def void(_: object) -> None: ...


def deployed(**parts: str) -> Step:
    """Another version of the sink's code."""
    return lambda world: world.deploy(**parts)


def named(command: str, *more: str) -> Step:
    """Run the command that the message names, word for word."""

    def run(world: World) -> None:
        commands = [found for found in re.findall(r"`(logsync [^`]+)`", world.said) if found.startswith(command)]
        assert commands, f"the message names no `{command}`:\n{world.said}"
        world.shell(*shlex.split(commands[0])[1:], *more)

    return run


def variable(name: str, value: str | None = None) -> Step:
    """Set a variable; without ``value``, to the one that the message names."""

    def change(world: World) -> None:
        if value is not None:
            world.shell.env[name] = value.replace("TOPIC", world.topic.name)
            return
        found = re.search(rf"{name}=(\S+?)[,.;]?(?:\s|$)", world.said)
        assert found, f"the message does not say what {name} should be:\n{world.said}"
        world.shell.env[name] = found[1].strip("'`\"")

    return change


def unset(name: str) -> Step:
    return lambda world: void(world.shell.env.pop(name))


def applied_first(*steps: Step) -> Step:
    """The sink applied the first event in good order before the trouble came."""

    def run(world: World) -> None:
        world.shell("consume", "db", "--until-end")
        for step in steps:
            step(world)

    return run


def no_topic(world: World) -> None:
    world.topic.delete()


def new_topic(**config: str) -> Step:
    """The topic has other settings than a log wants."""

    def make(world: World) -> None:
        world.topic.delete()
        world.topic.name += "x"
        world.topic.config = FOR_EVER | {name.replace("_", "."): value for name, value in config.items()}
        world.topic.create()
        world.topic.event("thing.made", b'{"name": "a", "size": 1}', id="first")
        world.deploy(topic=world.topic.name)

    return make


def password_wanted(world: World) -> None:
    role = world.topic.name
    world.sql(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'right'")
    hba = Path(str(world.sql("SHOW hba_file")[0][0]))
    hba.write_text(f"host all {role} all scram-sha-256\n{hba.read_text()}")
    world.sql("SELECT pg_reload_conf()")
    world.role(role, f"{role}:hunter2")


def right_password(world: World) -> None:
    assert "hunter2" not in world.said
    world.role(world.topic.name, f"{world.topic.name}:right")


def poor_role(world: World) -> None:
    role = world.topic.name
    world.sql(f"CREATE ROLE {role} LOGIN")
    world.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    world.role(role, role)


def schema_by_an_admin(world: World) -> None:
    """What `logsync schema print` prints, run by somebody who may, and the rights to use it.

    Not by the devstack's own role: it is called `logsync`, and Postgres would put unqualified tables into the
    schema of the same name.
    """
    admin = f"{world.topic.name}_admin"
    world.sql(f"CREATE ROLE {admin} SUPERUSER")
    world.sql(f"SET ROLE {admin}")
    world.sql(world.shell("schema", "print", "db").stdout)
    world.sql("RESET ROLE")
    role = world.topic.name
    world.sql(f"GRANT USAGE ON SCHEMA logsync TO {role}")
    world.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA logsync TO {role}")
    world.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {world.deploy.table} TO {role}")


def second_log(world: World) -> None:
    """The same sink name over another topic; what the old one held must not mix with it."""
    world.topic.name += "x"
    world.topic.config = dict(FOR_EVER)
    world.topic.create()
    world.topic.event("thing.made", b'{"name": "a", "size": 1}')
    world.deploy(topic=world.topic.name)


LATE = (
    "@sink.on(ThingLost)\ndef lost(event):\n    yield Upsert(TABLE, key={'name': event.data.name}, values={'size': -1})"
)
RAISES = "if event.data.name == 'bad':\n        raise ValueError('cannot do bad')\n    "
GOOD = "yield Upsert(TABLE, key={'name': event.data.name}, values={'size': event.data.size})"
BAD = event(b'{"name": "bad", "size": 5}')


@dataclass(frozen=True)
class Bad:
    """One row. ``code`` None: accepted without a word. ``before`` and ``extra`` are content beside a and z."""

    what: str
    trouble: Step
    code: Exit | None
    expected: str
    found: str
    mend: Step
    applied: bool = True
    """True: the event before the trouble is applied when the worker halts. False: nothing is."""
    extra: Rows | None = None


TABLE = [
    # -- records ------------------------------------------------------------------------------------------
    Bad("random bytes as a value", event(bytes(range(256))), Exit.EVENT,
        "expected JSON that thing.made version 1 accepts", "found the value: Invalid JSON", named("logsync skip")),
    Bad("no CloudEvents headers", lambda w: void(w.topic.send(b"{}", headers=[("h", b"\xff")])), Exit.EVENT,
        "expected a CloudEvents 1.0 record", "headers ['h'] without ['ce_specversion', 'ce_id', 'ce_type']",
        named("logsync skip")),
    Bad("JSON of another shape", event(b'{"name": "b", "size": "large"}'), Exit.EVENT,
        "expected JSON that thing.made version 1 accepts", "found size: Input should be a valid integer",
        named("logsync skip")),
    Bad("a type that nobody registered", event(b"{}", "thing.sold"), Exit.EVENT,
        "expected a type registered on the log: thing.lost, thing.made", "found type 'thing.sold'",
        named("logsync skip")),
    Bad("a version that nobody registered", lambda w: void(w.topic.send(b"{}", headers=[
        ("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", b"thing.made"), ("ce_dataversion", b"7")])),
        Exit.EVENT, "expected a registered version of thing.made: 1", "found version 7", named("logsync skip")),
    Bad("a null key", event(b'{"name": "b", "size": 2}', key=None), None, "", "", void, extra={"b": 2}),
    Bad("a value of 900 kB", event(b'{"name": "b", "size": 2, "more": "' + b"x" * 900_000 + b'"}'), None, "", "", void,
        extra={"b": 2}),
    # -- handlers -----------------------------------------------------------------------------------------
    Bad("a handler that raises", lambda w: (BAD(w), w.deploy(body=RAISES + GOOD))[1], Exit.EVENT,
        "expected writes for postgres", "raised ValueError: cannot do bad", deployed(), extra={"bad": 5}),
    Bad("a handler that returns something else", deployed(body="return [42]"), Exit.CONFIG,
        "int among its writes of postgres", "handler", deployed(), applied=False),
    Bad("a handler with a float for a counter",
        lambda w: (BAD(w), w.deploy(body=GOOD + "\n    if event.data.name == 'bad':\n        "
                   "yield Increment(TABLE, key={'name': 'bad'}, by={'size': 0.5})"))[1],
        Exit.EVENT, "int", "float", deployed(), extra={"bad": 5}),
    Bad("a write to a column that is not there",
        lambda w: (BAD(w), w.deploy(body=GOOD + "\n    if event.data.name == 'bad':\n        "
                   "yield Upsert(TABLE, key={'name': 'bad'}, values={'colour': 1})"))[1],
        Exit.CONFIG, "column", "colour", deployed(), applied=False, extra={"bad": 5}),
    Bad("a write to a table that is not there", deployed(table="absent_table"), Exit.CONFIG, "table", "absent_table",
        deployed(), applied=False),
    # -- servers ------------------------------------------------------------------------------------------
    Bad("a wrong password", password_wanted, Exit.CONFIG, "LOGSYNC_POSTGRES", "password", right_password,
        applied=False),
    Bad("a role without the right to create tables", poor_role, Exit.CONFIG, "logsync schema print",
        "permission denied", schema_by_an_admin, applied=False),
    Bad("a topic that is not there", no_topic, Exit.CONFIG, "does not exist", "TOPIC",
        lambda w: (named("logsync topic create")(w), event(b'{"name": "a", "size": 1}')(w))[1], applied=False),
    Bad("a compacted topic", new_topic(cleanup_policy="compact"), Exit.CONFIG, "cleanup.policy", "compact",
        second_log, applied=False),
    Bad("a topic that forgets", new_topic(retention_ms="604800000"), Exit.CONFIG, "LOGSYNC_ACCEPT_FINITE_RETENTION",
        "604800000", variable("LOGSYNC_ACCEPT_FINITE_RETENTION", '["TOPIC"]'), applied=False),
    # -- identity -----------------------------------------------------------------------------------------
    Bad("one sink name over two logs", applied_first(second_log), Exit.LOG, "belongs to another log",
        "topic was", named("logsync rebuild")),
    Bad("a topic that was deleted and made again", applied_first(no_topic, lambda w: void(w.topic.create()),
        event(b'{"name": "a", "size": 1}')), Exit.LOG, "belongs to another log", "topic_id was",
        named("logsync rebuild")),
    Bad("a store of another environment", applied_first(variable("LOGSYNC_ENVIRONMENT", "elsewhere")), Exit.CONFIG,
        "belongs to environment", "'elsewhere'", variable("LOGSYNC_ENVIRONMENT")),
    Bad("a handler that comes too late, all events wanted",
        applied_first(event(b'{"name": "l"}', "thing.lost"),
                      lambda w: void(w.shell("consume", "db", "--until-end")), deployed(more=LATE)), Exit.CONFIG,
        "already skipped", "now handles thing.lost", named("logsync rebuild"), extra={"l": -1}),
    Bad("a handler that comes too late, later events wanted",
        applied_first(event(b'{"name": "l"}', "thing.lost"),
                      lambda w: void(w.shell("consume", "db", "--until-end")), deployed(more=LATE)), Exit.CONFIG,
        "already skipped", "now handles thing.lost", named("logsync consume", "--until-end")),
    Bad("a position that was forgotten",
        applied_first(lambda w: void(w.shell("position", "forget", "db", "--yes"))), Exit.CONFIG,
        "no position for partition 0", "forgotten or lost", named("logsync rebuild")),
    # -- set-up -------------------------------------------------------------------------------------------
    Bad("a sink module that is not there", lambda w: (w.shell.folder / "sinks/db.py").unlink(), Exit.CONFIG,
        "no module sinks.db", "write sinks/db.py", deployed(), applied=False),
    Bad("a setting that cannot be", variable("LOGSYNC_BATCH_RECORDS", "many"), Exit.CONFIG, "LOGSYNC_BATCH_RECORDS",
        "valid integer", unset("LOGSYNC_BATCH_RECORDS"), applied=False),
    Bad("a Kafka option that would break the promise",
        variable("LOGSYNC_KAFKA_OPTIONS", '{"enable.auto.commit": "true"}'), Exit.CONFIG, "LOGSYNC_KAFKA_OPTIONS",
        "enable.auto.commit", unset("LOGSYNC_KAFKA_OPTIONS"), applied=False),
]  # fmt: skip


@pytest.mark.parametrize("bad", TABLE, ids=[row.what for row in TABLE])
def test_bad_input_is_named_and_mended_and_nothing_is_lost(world: World, bad: Bad) -> None:
    world.topic.event("thing.made", b'{"name": "a", "size": 1}', id="first")
    bad.trouble(world)
    if bad.code is not None:
        answer = world.shell("consume", "db", "--until-end", code=bad.code)
        world.said = answer.stderr
        assert "Traceback" not in world.said
        error = world.said[world.said.index("error: ") :]
        for words in (bad.expected, bad.found):
            assert words.replace("TOPIC", world.topic.name) in error
        assert world.rows() == ({"a": 1} if bad.applied else {})
    bad.mend(world)
    world.topic.event("thing.made", b'{"name": "z", "size": 9}', id="last")
    world.shell("consume", "db", "--until-end")
    assert world.rows() == {"a": 1, "z": 9, **(bad.extra or {})}


def test_a_store_that_is_absent_at_the_start_is_waited_for(world: World) -> None:
    world.topic.event("thing.made", b'{"name": "a", "size": 1}')
    world.stack.stop("postgres")
    try:
        worker = world.shell.start("consume", "db", "--until-end")
        assert worker.stderr is not None
        said = ""
        deadline = time.monotonic() + PATIENCE
        while "waiting, nothing is lost" not in said:
            assert time.monotonic() < deadline
            line = worker.stderr.readline()
            assert line, said
            said += line
        down = world.shell("status", "db", "--fail-behind", "1000000", code=Exit.BEHIND)
        assert "store unreachable" in down.stdout
    finally:
        world.stack.start("postgres")
    assert worker.wait(PATIENCE) == Exit.OK
    with psycopg.connect(world.shell.env["LOGSYNC_POSTGRES"]) as database:
        assert database.execute(f"SELECT name, size FROM {world.deploy.table}".encode()).fetchall() == [("a", 1)]
