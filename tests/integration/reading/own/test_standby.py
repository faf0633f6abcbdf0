"""A hot standby tells what it has itself: behind while its replay stands still, applied once it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from devstack import Stack
from devstack.postgres import DATABASE, USER, Postgres
from logsync.reading import Seen, State, Views
from logsync.settings import Settings
from logsync.stores.postgres import Postgres as Store
from tests.integration.sources.standby import Pair, pair
from tests.integration.worker.harness import until
from tests.servers import Servers
from tests.unit.shop import make_sink
from tests.waiting import PATIENCE

from .apps import APPS, AUTOCOMMIT, App, Open
from .followed import ENVIRONMENT, Followed, receipt

pytestmark = pytest.mark.servers("postgres")
KINDS = {**APPS, **{f"{name}, autocommit": opened for name, opened in AUTOCOMMIT.items()}}


def address(server: Postgres) -> str:
    return f"postgresql://{USER}@127.0.0.1:{server.port}/{DATABASE}"


class Replicated:
    """The sink ``db`` on a primary, and its standby."""

    def __init__(self, servers: Pair) -> None:
        self.servers = servers
        self.standby = address(servers.standby)
        self.followed = Followed(address(servers.primary), Settings(_env_file=None))
        self.followed.begin()
        self.applied = 0

    def apply(self, events: int) -> None:
        self.applied += events
        self.followed.apply(self.applied)

    def replay(self, *, on: bool) -> None:
        servers, standby = self.servers, self.servers.standby
        if on:
            servers.ask(standby, "SELECT pg_wal_replay_resume()")
        else:
            end = servers.ask(servers.primary, "SELECT pg_current_wal_lsn()")
            until(lambda: servers.ask(standby, "SELECT pg_last_wal_replay_lsn() >= %s", end), "the standby to catch up")
            servers.ask(standby, "SELECT pg_wal_replay_pause()")
            until(
                lambda: servers.ask(standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'"), "replay stands still"
            )


@pytest.fixture(scope="module")
def replicated(servers: Servers) -> Iterator[Replicated]:
    with pair(Stack(servers.name)) as made:
        made.follow(synced=False)
        found = Replicated(made)
        yield found
        found.followed.store.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logsync.reading.own.own_environment", lambda: ENVIRONMENT)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.mark.parametrize("opened", KINDS.values(), ids=KINDS)
def test_on_a_standby_whose_replay_stands_still_the_event_is_behind_and_then_applied(
    replicated: Replicated, opened: Open
) -> None:
    sink = replicated.followed.sink
    replicated.apply(1)
    before = receipt(replicated.applied - 1)
    replicated.replay(on=False)
    replicated.apply(3)
    last = receipt(replicated.applied - 1)

    async def does(app: App) -> None:
        assert await app.seen(before, sink) == Seen(State.APPLIED, "db")
        assert len(await app.orders()) == before.offset + 1
        assert await app.seen(last, sink) == Seen(State.BEHIND, "db", events=3)
        assert (await app.wait(last, sink, timeout=0.05)).state is State.BEHIND
        threading.Timer(0.1, lambda: replicated.replay(on=True)).start()
        assert await app.wait(last, sink, timeout=PATIENCE) == Seen(State.APPLIED, "db")
        assert len(await app.orders()) == last.offset + 1

    async def main() -> None:
        async with opened(replicated.standby) as app:
            await does(app)

    asyncio.run(main())


def test_views_over_a_standby_wait_for_the_standby(replicated: Replicated) -> None:
    replicated.replay(on=False)
    replicated.apply(2)
    last = receipt(replicated.applied - 1)
    held = Settings(_env_file=None, postgres=SecretStr(replicated.standby), environment=ENVIRONMENT)
    with Views(make_sink(Store()), settings=held) as views:
        assert views.wait(last, "db", timeout=0.2).state is State.BEHIND
        assert views.freshest(last, "db", timeout=PATIENCE) is None
        replicated.replay(on=True)
        assert views.wait(last, "db", timeout=PATIENCE) == Seen(State.APPLIED, "db")
        assert views.freshest(last, "db", timeout=PATIENCE) == "db"
