"""Asked on the app's own connection, the answer is of the snapshot that the app's own queries see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from logsync.core.book import Skip
from logsync.core.offsets import Offsets
from logsync.errors import ConfigError, LogIdentityError
from logsync.reading import Seen, State
from tests.waiting import PATIENCE

from .apps import APPS, AUTOCOMMIT, App, Open
from .followed import ENVIRONMENT, NOON, Followed, receipt, waiting

pytestmark = pytest.mark.servers("postgres")
every_app = pytest.mark.parametrize("opened", APPS.values(), ids=APPS)
alone = pytest.mark.parametrize("opened", AUTOCOMMIT.values(), ids=AUTOCOMMIT)
either = pytest.mark.parametrize(
    "opened", [APPS["psycopg connection"], APPS["sqlalchemy core, asyncpg"]], ids=["thread", "asyncio"]
)
FROZEN = "SET TRANSACTION ISOLATION LEVEL {}"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logsync.reading.own.own_environment", lambda: ENVIRONMENT)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # one test for all kinds, in an event loop


def with_app(opened: Open, followed: Followed, does: Callable[[App], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened(followed.dsn) as app:
            await does(app)

    asyncio.run(main())


@every_app
def test_in_a_frozen_snapshot_answer_and_rows_belong_together(begun: Followed, opened: Open) -> None:
    async def does(app: App) -> None:
        await app.run(FROZEN.format("REPEATABLE READ"))
        assert await app.seen(receipt(1), begun.sink) == Seen(State.BEHIND, "db", events=2)
        begun.apply(2)
        assert await app.seen(receipt(1), begun.sink) == Seen(State.BEHIND, "db", events=2)
        assert await app.orders() == []
        await app.end()
        await app.run(FROZEN.format("SERIALIZABLE"))
        assert await app.seen([receipt(0), receipt(1)], begun.sink) == Seen(State.APPLIED, "db")
        assert await app.orders() == ["order-0", "order-1"]

    with_app(opened, begun, does)


@every_app
def test_after_applied_the_next_query_finds_the_effect(begun: Followed, opened: Open) -> None:
    async def does(app: App) -> None:
        assert (await app.seen(receipt(0), begun.sink)).state is State.BEHIND
        begun.apply(1)
        assert await app.seen(receipt(0), begun.sink) == Seen(State.APPLIED, "db")
        assert await app.orders() == ["order-0"]

    with_app(opened, begun, does)


@every_app
def test_a_database_that_no_worker_ever_opened_leaves_the_transaction_as_it_was(
    followed: Followed, opened: Open
) -> None:
    async def does(app: App) -> None:
        await app.run("CREATE TABLE public.orders (order_id text PRIMARY KEY)")
        for _ in range(2):
            assert (await app.seen(receipt(0), followed.sink)).state is State.NOT_STARTED
        await app.run("INSERT INTO public.orders VALUES ('mine')")
        assert await app.orders() == ["mine"]
        await app.end()
        followed.begin()
        followed.apply(1)
        assert (await app.seen(receipt(0), followed.sink)).state is State.APPLIED
        assert await app.orders() == ["mine", "order-0"]

    with_app(opened, followed, does)


@every_app
def test_rights_that_are_missing_are_named_and_leave_the_transaction_as_it_was(begun: Followed, opened: Open) -> None:
    role = f"{begun.dsn.rsplit('/', 1)[1]}_web"
    with psycopg.connect(begun.dsn, autocommit=True) as db:
        db.execute(f"CREATE ROLE {role}".encode())
        try:

            async def does(app: App) -> None:
                for right in ("USAGE ON SCHEMA logsync", "SELECT ON logsync.book, logsync.position, logsync.parked"):
                    await app.run(f"SET ROLE {role}")
                    with pytest.raises(ConfigError, match="may not read where it is") as caught:
                        await app.seen(receipt(0), begun.sink)
                    assert right in str(caught.value)
                    await app.end()  # a prepared statement sees no new right before its transaction ends
                    db.execute(f"GRANT {right} TO {role}".encode())
                await app.run(f"SET ROLE {role}")
                assert (await app.seen(receipt(0), begun.sink)).state is State.BEHIND

            with_app(opened, begun, does)
        finally:
            db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@every_app
def test_waiting_ends_when_the_event_is_applied(begun: Followed, opened: Open) -> None:
    async def does(app: App) -> None:
        assert (await app.wait(receipt(3), begun.sink, timeout=0.05)).state is State.BEHIND
        worker = threading.Timer(0.1, begun.apply, [4])
        worker.start()
        assert await app.wait(receipt(3), begun.sink, timeout=PATIENCE) == Seen(State.APPLIED, "db")
        worker.join()
        assert len(await app.orders()) == 4

    with_app(opened, begun, does)


@every_app
def test_waiting_in_a_snapshot_that_never_changes_is_refused(begun: Followed, opened: Open) -> None:
    begun.apply(1)

    async def does(app: App) -> None:
        for level in ("REPEATABLE READ", "SERIALIZABLE"):
            await app.run(FROZEN.format(level))
            with pytest.raises(ConfigError, match=f"in a transaction of {level}") as caught:
                await app.wait(receipt(0), begun.sink, timeout=PATIENCE)
            assert "seen_on" in str(caught.value)
            assert (await app.seen(receipt(0), begun.sink)).state is State.APPLIED, "the transaction goes on"
            await app.end()

    with_app(opened, begun, does)


@alone
def test_in_autocommit_each_look_is_of_now_whatever_the_isolation(begun: Followed, opened: Open) -> None:
    async def does(app: App) -> None:
        await app.run("SET default_transaction_isolation = 'repeatable read'")
        assert (await app.seen(receipt(0), begun.sink)).state is State.BEHIND
        worker = threading.Timer(0.1, begun.apply, [1])
        worker.start()
        assert (await app.wait(receipt(0), begun.sink, timeout=PATIENCE)).state is State.APPLIED
        worker.join()
        assert (await app.seen(receipt(0), begun.sink)).state is State.APPLIED

    with_app(opened, begun, does)


@either
def test_the_answers_are_those_of_views(begun: Followed, opened: Open) -> None:
    begun.apply(9, parked=[waiting(3)])
    skip = Skip(partition=1, offsets=Offsets([5]), reason="noise", at=NOON)
    begun.write(skips=(skip,))

    async def does(app: App) -> None:
        async def said(given: object) -> tuple[State, str]:
            seen = await app.seen(given, begun.sink)
            return seen.state, seen.why

        assert await said(receipt(3)) == (State.PARKED, "HandlerError: no")
        assert await said(receipt(5)) == (State.PASSED_OVER, "skipped by hand: noise")
        assert await said(receipt(8, type="page.seen")) == (State.PASSED_OVER, "page.seen has no handler")
        assert await said([receipt(2), receipt(3)]) == (State.PARKED, "HandlerError: no")
        assert await said([]) == (State.APPLIED, "")
        again = receipt(7, event_id="event-3", since=2)
        assert await said(again) == (State.PASSED_OVER, "its first attempt may be among what was skipped: noise")
        assert await said(receipt(4, event_id="event-3", since=2)) == (State.PARKED, "HandlerError: no")
        assert (await app.wait(receipt(3), begun.sink, timeout=PATIENCE)).state is State.PARKED
        with pytest.raises(LogIdentityError):
            await app.seen(receipt(8, topic_id="another"), begun.sink)
        with pytest.raises(ConfigError, match="environment"):
            await app.seen(receipt(8), begun.sink, environment="staging")
        begun.write(epoch=2, rebuilt_to={0: 0, 1: 9})
        assert (await app.seen(receipt(8), begun.sink)).state is State.REBUILDING

    with_app(opened, begun, does)


@either
def test_tables_that_go_away_are_the_driver_s_error_once(begun: Followed, opened: Open) -> None:
    async def does(app: App) -> None:
        assert (await app.seen(receipt(0), begun.sink)).state is State.BEHIND
        await app.end()
        begun.store.close()
        with psycopg.connect(begun.dsn, autocommit=True) as db:
            db.execute("DROP SCHEMA logsync CASCADE")
        with pytest.raises(Exception, match=r"logsync\.book"):
            await app.seen(receipt(0), begun.sink)
        await app.run("ROLLBACK")

    with_app(opened, begun, does)
