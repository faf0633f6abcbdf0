"""PgBouncer in transaction mode between store and server: each transaction may get another session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from logsync.core.event import Event
from logsync.errors import ConfigError, WriteRejected
from logsync.stores.postgres import Increment, InTransaction, Sql, Upsert
from tests.faults.pgbouncer import PgBouncer, shared

from .conftest import Bench
from .watching import EVENT


@pytest.fixture
def pooler(bench: Bench) -> Iterator[PgBouncer]:
    with shared(bench.dsn) as pooler:
        yield pooler
        for store in bench.stores:
            store.close()


def test_everything_a_plan_can_do_works_in_sessions_that_are_shared(bench: Bench, pooler: PgBouncer) -> None:
    name = bench.name
    schema = f"CREATE TABLE IF NOT EXISTS {name} (id int PRIMARY KEY, n bigint, at timestamptz, email text UNIQUE)"
    store = bench.store(dsn=pooler.url, schema=schema)
    seen: list[str] = []

    def look(cursor: Any, event: Event[Any]) -> None:
        names = ["TimeZone", "synchronous_commit", "transaction_isolation", "search_path"]
        for setting in names:
            (found,) = cursor.execute("SELECT current_setting(%s)", [setting]).fetchone()
            seen.append(found)

    for n in range(40):
        events = [[Increment(name, {"id": k}, {"n": 1})] for k in range(n % 5, 8)]
        bench.apply(
            store,
            *events,
            [Upsert(name, {"id": 100 + n}, {"at": "2026-01-01 12:00", "email": f"mail {n}"})],
            [InTransaction(look, EVENT)],
            [Sql(f"UPDATE {name} SET n = n + 1 WHERE id = 0")],
        )
        if n % 10 == 0:
            with pytest.raises(WriteRejected) as caught:  # the plan again, in halves under savepoints
                bench.apply(store, *events, [Upsert(name, {"id": 7}, {"email": "mail 0"})])
            assert caught.value.offset == bench.position() + len(events)
    assert seen == seen[:4] * 40
    assert seen[:3] == ["UTC", "on", "read committed"]
    expected = {k: sum(n % 5 <= k for n in range(40)) for k in range(8)}
    expected[0] += 40
    assert dict(bench.rows(f"SELECT id, n FROM {name} WHERE id < 100")) == expected
    assert bench.rows(f"SELECT count(*) FROM {name} WHERE at = '2026-01-01 12:00+00'") == [(40,)]
    store.wipe(bench.book())
    assert not store.holds_data()


def test_a_startup_parameter_that_it_does_not_take_is_a_matter_of_setting_up(bench: Bench, pooler: PgBouncer) -> None:
    with pytest.raises(ConfigError, match="startup parameter: options"):
        bench.store(dsn=f"{pooler.url}?options=-c%20work_mem%3D8MB")
