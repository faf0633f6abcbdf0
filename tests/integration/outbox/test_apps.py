"""The event stands exactly when the app's own rows do, for every kind of connection and through kill -9."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.outbox.apps import AFTER, APPS, BEFORE, log, placed
from tests.integration.outbox.conftest import Shop

ROOT = Path(__file__).parents[3]
every_app = pytest.mark.parametrize("kind", APPS)


class Trouble(Exception):
    """What an app meets between its writes and its commit."""


@every_app
def test_the_event_is_seen_from_the_commit_on_and_comes_back_equal(shop: Shop, kind: str) -> None:
    seen = []
    APPS[kind](shop.dsn, "o1", lambda step: seen.append((step, shop.orders(), [e.data for e in shop.events(log)])))
    assert seen == [(BEFORE, [], []), (AFTER, ["o1"], [placed("o1")])]
    (event,) = shop.events(log)
    assert shop.db.execute("SELECT id, type, time, number FROM logsync.outbox").fetchall() == [
        (event.id, "order.placed", event.time, None)
    ]


@every_app
def test_what_the_app_rolls_back_leaves_no_event(shop: Shop, kind: str) -> None:
    def at(step: str) -> None:
        raise Trouble(step)

    with pytest.raises(Trouble, match=BEFORE):
        APPS[kind](shop.dsn, "o1", at)
    assert (shop.orders(), shop.records()) == ([], [])
    assert shop.db.execute("SELECT cents FROM public.totals").fetchall() == [(0,)]


@every_app
@pytest.mark.processes
@pytest.mark.parametrize(("step", "left"), [(BEFORE, []), (AFTER, ["o1"])])
def test_an_app_that_is_killed_leaves_both_or_neither(shop: Shop, kind: str, step: str, left: list[str]) -> None:
    command = [sys.executable, "-m", "tests.integration.outbox.apps", kind, shop.dsn, "o1", step]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        try:
            assert app.stdout
            assert app.stdout.readline() == f"{step} False\n", "and no Kafka client was loaded"
        finally:
            app.kill()
    assert shop.orders() == left
    assert [event.data for event in shop.events(log)] == [placed(order) for order in left]
