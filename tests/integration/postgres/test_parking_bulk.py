"""Parked events of any name, number and size, and the wipe that takes them."""

from __future__ import annotations

import random
import threading
import time
from datetime import timedelta

import psycopg
import pytest

from logsync.core.parked import Parked
from logsync.core.position import Position
from logsync.errors import (
    PositionConflict,
)
from logsync.stores.postgres import parking
from logsync.stores.postgres import store as postgres_store
from logsync.testing.store_contract.making import NOON, parks, retries
from logsync.testing.store_contract.making import waiting as entry
from tests.waiting import PATIENCE

from .conftest import Bench, waits
from .test_outages import table

__all__ = ["table"]  # a fixture
RANDOM = random.Random(4)
ODD_NAMES = [
    "nul \0 and \\0 and \\x00",
    "\x00",
    "half \ud83d",
    "\ud83d\ude00",  # two halves that are no character together
    "\N{GRINNING FACE}",
    'quote " brace } comma , NULL',
    "NULL",
    " ",
    "\n\t\\n",
    "%s %(a)s",
    "x" * 200,
    "x" * 201,
    "x" * 5_000,
    RANDOM.randbytes(4_000).hex(),  # longer than an index takes, and nothing to compress
    RANDOM.randbytes(450_000).hex(),
]


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
def test_no_name_and_no_record_is_too_odd_to_be_parked(bench: Bench, encoding: str) -> None:
    base = f"{bench.name}_{encoding.lower()}"
    bench.db.execute(f"CREATE DATABASE {base} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    store = bench.store(dsn=bench.dsn.rsplit("/", 1)[0] + f"/{base}", tables=[])
    entries = [
        entry(offset, name)._replace(message=name, type=name, event_id=name) for offset, name in enumerate(ODD_NAMES)
    ]
    # What is two halves in Python is one character after a round through JSON: names are kept beside it.
    expected = [Parked.from_json(found.to_json()) for found in entries]
    store.apply(parks(Position(0, 0), *entries, to=len(entries)))
    assert store.parked(0) == expected
    found = store.sequences(0)
    assert set(found) == set(ODD_NAMES)
    for offset, name in enumerate(ODD_NAMES):
        assert (found[name].first, found[name].events) == (offset, 1)
        assert store.parked(0, sequence=name) == [expected[offset]]
    tried = [one._replace(attempts=2) for one in entries]
    store.apply(retries(store.positions()[0], still_parked=tried))
    assert [one.attempts for one in store.parked(0)] == [2] * len(entries)
    store.apply(retries(store.positions()[0], *range(len(entries))))
    assert store.sequences(0) == {}
    store.close()
    bench.db.execute(f"DROP DATABASE {base} WITH (FORCE)")


def test_more_than_one_statement_can_carry_is_parked_in_several(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bench.store(tables=[])
    value = random.Random(5).randbytes(900_000)
    entries = [entry(offset, f"k{offset % 3}") for offset in range(40)]
    entries = [one._replace(record=one.record._replace(value=value)) for one in entries]
    store.apply(parks(Position(0, 0), *entries, to=40))
    assert store.parked(0) == entries
    monkeypatch.setattr(parking, "_CHUNK", 1)
    store.apply(retries(store.positions()[0], still_parked=[one._replace(attempts=2) for one in entries[:3]]))
    assert [one.attempts for one in store.parked(0, limit=4)] == [2, 2, 2, 1]


def test_the_session_s_zone_and_style_do_not_reach_the_times(bench: Bench) -> None:
    options = "?options=-c%20DateStyle%3DGerman%20-c%20TimeZone%3DAsia/Tokyo"
    store = bench.store(dsn=bench.dsn + options, tables=[])
    at = NOON + timedelta(microseconds=123_456)
    store.apply(parks(Position(0, 0), entry(0)._replace(first_at=at), to=1))
    since = store.sequences(0)["k"].since
    assert (since, since.utcoffset()) == (at, timedelta(0))


def test_what_waits_belongs_to_one_sink(bench: Bench) -> None:
    store = bench.store(tables=[])
    neighbour = Bench(bench.settings, bench.name + "-b", bench.db)
    other = neighbour.store(tables=[])
    for one in (store, other):
        one.apply(parks(Position(0, 0), entry(0), to=1))
    store.apply(retries(store.positions()[0], 0))
    assert not store.holds_data()
    assert other.sequences(0)["k"].events == 1
    store.wipe(bench.book())
    assert waits(neighbour) == [0]
    for one in neighbour.stores:
        one.close()


def test_a_wipe_takes_more_than_one_statement_may(bench: Bench, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, left = bench.store(), list[bool]()
    monkeypatch.setattr(parking, "_AT_ONCE", 2)
    monkeypatch.setattr(
        postgres_store, "forget_some", lambda link, sink: left.append(parking.forget_some(link, sink)) or left[-1]
    )
    for count in (4, 5):
        start = store.positions()[0]
        store.apply(parks(start, *(entry(offset) for offset in range(count)), to=start.next_offset + 1))
        bench.db.execute(f"INSERT INTO {table} VALUES (1, 0) ON CONFLICT DO NOTHING")
        store.wipe(bench.book())
        assert not store.holds_data()
    assert left == [True, True, False] * 2


def test_a_wipe_waits_for_the_rebuild_that_is_overtaking_it_and_deletes_nothing(bench: Bench, table: str) -> None:
    """The other one has written its book and not committed yet: to look only would see the old one."""
    store = bench.store()
    store.apply(parks(Position(0, 0), entry(0), to=1))
    mine, errors = bench.book(), list[Exception]()

    def wipe() -> None:
        try:
            store.wipe(mine)
        except PositionConflict as error:
            errors.append(error)

    thread = threading.Thread(target=wipe, daemon=True)
    theirs = mine.next(state="wiping", epoch=2)
    with psycopg.connect(bench.dsn) as rival:
        rival.execute(
            "UPDATE logsync.book SET revision = %s, body = %s WHERE sink = %s",
            (theirs.revision, theirs.dump(), bench.name),
        )
        thread.start()
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%logsync.book%UPDATE%'"
        deadline = time.monotonic() + PATIENCE
        while not bench.db.execute(blocked).fetchone():
            assert thread.is_alive()
            assert time.monotonic() < deadline
    thread.join(PATIENCE)
    assert len(errors) == 1
    assert bench.rows() == [(1, 0)]
    assert waits(bench) == [0]
