"""Views under real web servers: one connection per worker and store, however many requests wait, and none when idle."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from logsync import Receipt
from tests.integration.worker.harness import KINDS, Case, until
from tests.webservers import serving

from .conftest import App

pytestmark = pytest.mark.servers("kafka", "postgres", "redis", "opensearch")
_HERE = "tests.integration.reading.apps"
GUNICORN = ["gunicorn", "--preload", "-b", "127.0.0.1:0"]
UVICORN = ["uvicorn", "--port", "0", "--workers", "2", "--lifespan", "off"]
SERVERS = {
    "gunicorn": [*GUNICORN, "-w", "2", f"{_HERE}:wsgi"],
    "gunicorn with threads": [*GUNICORN, "-w", "2", "--threads", "8", f"{_HERE}:wsgi"],
    "uvicorn on asyncio": [*UVICORN, "--loop", "asyncio", f"{_HERE}:asgi"],
    "uvicorn on uvloop": [*UVICORN, "--loop", "uvloop", f"{_HERE}:asgi"],
}
WORKERS = 2
STORES = ("LOGSYNC_POSTGRES", "LOGSYNC_REDIS", "LOGSYNC_OPENSEARCH")


@pytest.fixture
def applied(app: App) -> Receipt:
    receipt = app.put("a")
    app.case.finish()
    app.case.env["READING_TEST_RECEIPT"] = receipt.dump()
    return receipt


def connections(process: psutil.Process, case: Case, inherited: Collection[int] = ()) -> Counter[str]:
    """Open connections of the process to each store, without those that it has of its parent and leaves alone."""
    ports = {urlsplit(case.env[name]).port: kind for name, kind in zip(STORES, KINDS, strict=True)}
    found = [each for each in process.net_connections("tcp") if each.raddr and each.laddr.port not in inherited]
    return Counter(ports[each.raddr.port] for each in found if each.raddr.port in ports)


@pytest.mark.parametrize(
    ("name", "used"),
    [("gunicorn", True), ("gunicorn with threads", False), ("uvicorn on asyncio", False), ("uvicorn on uvloop", False)],
)
def test_each_worker_has_one_connection_per_store_while_it_is_asked_and_none_when_idle(
    app: App, applied: Receipt, name: str, used: bool
) -> None:
    env = {**app.case.env, **({"READING_TEST_USED": "1"} if used else {})}
    met: dict[int, list[Any]] = {}
    with serving(SERVERS[name], env, app.case.folder / "server") as (server, url), ThreadPoolExecutor(16) as pool:

        def ask(_: int) -> None:
            with urllib.request.urlopen(url, timeout=300) as answer:
                pid, *rest = json.load(answer)
            met[pid] = rest

        def all_met() -> bool:
            with suppress(OSError):  # a server tells its address before its workers listen
                list(pool.map(ask, range(64)))
            return len(met) == WORKERS

        until(all_met, lambda: f"{WORKERS} workers that answer; only {met}")
        for pid, (inherited, *_) in met.items():
            found = connections(psutil.Process(pid), app.case, inherited)
            assert found == dict.fromkeys(KINDS, 1), (name, found)
        assert {rest[1] for rest in met.values()} == {"applied"}
        if "uvicorn" in name:
            assert all(name.rpartition(" ")[2] in str(rest[2]) for rest in met.values()), met
        for pid, (inherited, *_) in met.items():
            open_ = partial(connections, psutil.Process(pid), app.case, inherited)
            until(lambda open_=open_: not open_(), lambda open_=open_: f"no connection of an idle worker: {open_()}")  # type: ignore[misc]
        list(pool.map(ask, range(64)))
        assert server.is_running()


def test_views_in_use_are_forked_and_both_sides_go_on(app: App, applied: Receipt) -> None:
    process = app.case._spawn([_HERE])
    assert process.ends(0).split() == ["applied"] * 8


def test_threads_and_loops_that_come_and_go_share_one_connection(app: App, applied: Receipt) -> None:
    import asyncio

    me = psutil.Process()
    names = [app.name(kind) for kind in KINDS]
    before = connections(me, app.case)

    def in_a_loop_of_its_own(_: int) -> str:
        async def many() -> set[str]:
            found = await asyncio.gather(*(app.views.seen(applied, *names, timeout=300) for _ in range(50)))
            return {seen.state for seen in found}

        (state,) = asyncio.run(many())
        return state

    def on_a_thread(_: int) -> str:
        return app.views.wait(applied, *names, timeout=300).state

    with ThreadPoolExecutor(16) as pool:
        both = [*pool.map(in_a_loop_of_its_own, range(8)), *pool.map(on_a_thread, range(64))]
    assert set(both) == {"applied"}
    assert connections(me, app.case) - before == dict.fromkeys(KINDS, 1)
    app.views.close()
    until(lambda: not connections(me, app.case) - before, "no connection of views that are closed")
