"""Real web servers, killed under load: every acknowledged event is in the log once, and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

from tests.waiting import PATIENCE
from tests.webservers import serving

from .conftest import Shop

WaitUntil = Callable[[Callable[[], bool]], None]
SERVERS = {
    "gunicorn": ["gunicorn", "--preload", "-w", "4", "-b", "127.0.0.1:0", "tests.integration.kafka.apps:wsgi"],
    "uvicorn": ["uvicorn", "--workers", "4", "--port", "0", "tests.integration.kafka.apps:asgi"],
}


class Load:
    """Threads that post and note what was acknowledged, by whom."""

    def __init__(self, url: str, threads: int = 6) -> None:
        self.url = url
        self.acknowledged: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                with urllib.request.urlopen(f"{self.url}/{number}", timeout=15) as answer:
                    pid, event_id = json.load(answer)
                    self.acknowledged.append((pid, event_id))
            except (OSError, HTTPException, ValueError):
                continue  # no acknowledgement: the event may or may not be in the log

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)


@pytest.mark.parametrize("name", SERVERS)
def test_workers_killed_under_load_lose_and_double_nothing(
    name: str, shop: Shop, env: dict[str, str], tmp_path: Path, wait_until: WaitUntil
) -> None:
    env = {**os.environ, **env, "LOGSYNC_TEST_TOPIC": shop.log.topic, "LOGSYNC_TEST_USED": "1"}
    with serving(SERVERS[name], env, tmp_path / "log") as (server, url):
        load = Load(url)
        try:
            more(load, 100, wait_until)
            for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
                victim = load.acknowledged[-1][0]
                os.kill(victim, how)
                wait_until(lambda victim=victim: not psutil.pid_exists(victim))
                more(load, 100, wait_until)
            workers = server.children(recursive=True)
            server.terminate()
            assert server.wait(PATIENCE) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
            assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]
        finally:
            load.stop()
    stand = shop.ids()
    assert len(stand) == len(set(stand))
    assert {event_id for _, event_id in load.acknowledged} <= set(stand)
    assert len({pid for pid, _ in load.acknowledged}) >= 4


def more(load: Load, count: int, wait_until: WaitUntil) -> None:
    goal = len(load.acknowledged) + count
    wait_until(lambda: len(load.acknowledged) >= goal)
