"""``logsync.seen`` says in SQL what ``logsync.reading`` says in Python, of any state of a sink."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from logsync.core import formats
from logsync.core.book import Skip
from logsync.core.codec import LOOK_BACK
from logsync.core.offsets import Offsets
from logsync.core.position import Position
from logsync.core.receipt import Receipt
from logsync.errors import ConfigError, LogIdentityError
from logsync.reading import seen_on
from logsync.testing.store_contract.making import newer_version

from .followed import ENVIRONMENT, NOON, Followed, receipt, waiting

pytestmark = pytest.mark.servers("postgres")
ODD = "\ud800 \0 \" ' \u00e9 \U0001f600"
"""Nothing of this can be decoded by Postgres as a whole."""
WHERE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20)


@pytest.fixture
def db(followed: Followed) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(followed.dsn, autocommit=True) as connection:
        yield connection


def asked(db: psycopg.Connection[Any], sink: str, given: Receipt | str) -> str:
    text = given if isinstance(given, str) else given.dump()
    (said,) = db.execute("SELECT logsync.seen(%s, %s)", (sink, text)).fetchall()[0]
    return str(said)


def in_python(db: psycopg.Connection[Any], followed: Followed, given: Receipt) -> str:
    try:
        return str(seen_on(db, given, followed.sink, environment=ENVIRONMENT).state)
    except LogIdentityError:
        return "another log"


def receipts() -> list[Receipt]:
    plain = [receipt(offset) for offset in WHERE]
    retried = [
        receipt(offset, event_id=event_id, since=since)
        for offset in (4, 7, 9)
        for since in (0, 3, 6, 9)
        for event_id in ("event-3", ODD, "another")
    ]
    others = [
        receipt(7, partition=0), receipt(7, partition=2), receipt(7, topic_id="made again"), receipt(7, topic_id=""),
        receipt(7, type=""), receipt(7, type="order.cancelled"), receipt(0, partition=0),
    ]  # fmt: skip
    return plain + retried + others


def agree(db: psycopg.Connection[Any], followed: Followed) -> set[str]:
    """Everything that is said of any receipt, and by both."""
    found = {given: asked(db, "db", given) for given in receipts()}
    assert found == {given: in_python(db, followed, given) for given in receipts()}
    return set(found.values())


def test_in_every_state_it_says_what_python_says(followed: Followed, db: psycopg.Connection[Any]) -> None:
    followed.store.open("db", followed.settings)
    assert agree(db, followed) == {"not started"}
    followed.begin()
    assert agree(db, followed) == {"behind", "another log"}
    followed.apply(10, parked=[waiting(3), waiting(6, ODD)])
    assert agree(db, followed) == {"applied", "parked", "behind", "another log"}
    skips = (
        Skip(partition=1, offsets=Offsets([0, 5, 7, 8]), reason=ODD, at=NOON),
        Skip(partition=0, offsets=Offsets([0, 2]), reason="elsewhere", at=NOON),
    )
    followed.write(skips=skips)
    assert agree(db, followed) == {"applied", "parked", "passed over", "behind", "another log"}
    followed.write(skips=(), skipped=frozenset({"order.cancelled"}))
    assert asked(db, "db", receipt(7, type="order.cancelled")) == "passed over"
    assert agree(db, followed) == {"applied", "parked", "passed over", "behind", "another log"}
    assert asked(db, "another", receipt(7)) == "not started"


def test_while_a_rebuild_is_under_way_it_says_so(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.apply(8)
    wiping = begun.book.next(state="wiping", epoch=2)
    begun.store.write_book(wiping, positions=[])
    assert agree(db, begun) == {"rebuilding", "another log"}
    ready = wiping.next(state="ready", rebuilt_to={0: 0, 1: 8})
    begun.store.write_book(ready, positions=[Position(1, 0, 2)])
    assert agree(db, begun) == {"rebuilding", "another log"}, "no position of partition 0"
    begun.store.write_book(ready := ready.next(), positions=[Position(0, 0, 2), Position(1, 8, 1)])
    assert agree(db, begun) == {"rebuilding", "another log"}, "of the content before it"
    begun.store.write_book(ready := ready.next(), positions=[Position(0, 0, 2), Position(1, 7, 2)])
    assert agree(db, begun) == {"rebuilding", "another log"}
    begun.store.write_book(ready.next(), positions=[Position(0, 0, 2), Position(1, 8, 2)])
    assert agree(db, begun) == {"applied", "behind", "another log"}


def test_a_position_that_was_lost_is_not_started(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.store.write_book(begun.book.next(), positions=[Position(0, 9)])
    assert agree(db, begun) == {"applied", "not started", "another log"}


def test_attempts_are_looked_for_as_far_back_as_workers_look(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.store.write_book(begun.book.next(), positions=[Position(0, 0), Position(1, 99_997)])
    begun.apply(100_000, parked=[waiting(99_998, "too far"), waiting(99_999, "near")])
    begun.store.write_book(begun.book.next().next(), positions=[Position(0, 0), Position(1, 300_000)])
    for event_id, expected in (("too far", "applied"), ("near", "parked")):
        again = receipt(99_999 + LOOK_BACK, event_id=event_id, since=0)
        assert asked(db, "db", again) == in_python(db, begun, again) == expected


def test_a_type_that_no_worker_handles_is_not_called_applied(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.apply(8)
    assert asked(db, "db", receipt(7, type="page.seen")) == "passed over"
    assert asked(db, "db", receipt(9, type="page.seen")) == "behind", "the next worker may handle it"


def test_a_receipt_of_another_topic_is_of_another_log(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.apply(8)
    other = receipt(7, topic="another")
    assert asked(db, "db", other) == "another log"
    with pytest.raises(ConfigError):
        seen_on(db, other, begun.sink, environment=ENVIRONMENT)


def test_a_receipt_of_an_older_format_is_read(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.apply(8)
    old = {"event_id": "e", "topic": "test.shop", "partition": 1, "offset": 7}
    assert asked(db, "db", json.dumps(old)) == asked(db, "db", json.dumps({"format": 1, **old})) == "applied"


def test_newer_formats_are_refused_and_not_half_read(begun: Followed, db: psycopg.Connection[Any]) -> None:
    begun.apply(8)
    assert asked(db, "db", receipt(7)) == "applied", "it knows the present formats"
    newer = {**json.loads(receipt(7).dump()), "format": formats.number("receipt") + 1}
    assert asked(db, "db", json.dumps(newer)) == "newer format"
    db.execute("UPDATE logsync.position SET format = format + 1 WHERE partition = 0")
    assert asked(db, "db", receipt(7)) == "newer format"
    with newer_version():
        begun.store.write_book(begun.book.next(), positions=[Position(0, 0), Position(1, 8)])
    assert asked(db, "db", receipt(7)) == "newer format"


def test_beside_a_query_it_is_of_the_query_s_snapshot(begun: Followed, db: psycopg.Connection[Any]) -> None:
    statement = "SELECT logsync.seen('db', %s), (SELECT count(*) FROM public.orders)"
    with db.transaction():
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert db.execute(statement, [receipt(0).dump()]).fetchone() == ("behind", 0)
        begun.apply(1)
        assert db.execute(statement, [receipt(0).dump()]).fetchone() == ("behind", 0)
    assert db.execute(statement, [receipt(0).dump()]).fetchone() == ("applied", 1)


def test_a_role_of_the_web_needs_to_read_three_tables_and_nothing_else(
    begun: Followed, db: psycopg.Connection[Any]
) -> None:
    role = f"{db.info.dbname}_web"
    db.execute(f"CREATE ROLE {role}".encode())
    try:
        db.execute(f"SET ROLE {role}".encode())
        for right in ("USAGE ON SCHEMA logsync", "SELECT ON logsync.book, logsync.position, logsync.parked"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                asked(db, "db", receipt(0))
            db.execute(f"RESET ROLE; GRANT {right} TO {role}; SET ROLE {role}".encode())
        assert asked(db, "db", receipt(0)) == "behind"
    finally:
        db.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_an_installation_of_an_earlier_version_gets_it_when_a_worker_opens_it(
    begun: Followed, db: psycopg.Connection[Any]
) -> None:
    db.execute("DROP FUNCTION logsync.seen")
    begun.store.close()
    begun.store.open("db", begun.settings)
    assert asked(db, "db", receipt(0)) == "behind"
