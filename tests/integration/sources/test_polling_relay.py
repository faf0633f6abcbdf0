"""A relay over a polled outbox, as a process that is killed: every event of the app counts once, in the app's order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from logsync.core.codec import id_of
from logsync.core.event import Record
from logsync.core.sources import at_start, fold
from logsync.log.topic import create_topic
from logsync.outbox import DDL, Outbox
from logsync.settings import Settings
from logsync.sources.postgres import Polling
from tests.integration.sources.conftest import wait_for
from tests.unit import shop

pytestmark = [pytest.mark.servers("kafka", "postgres"), pytest.mark.processes]

ROOT = Path(__file__).parents[3]
SOURCE = """
from logsync.sources.postgres import Polling
from logsync.sources.source import Source
from logsync import Log
from tests.unit import shop

log = Log({topic!r})
source = Source("shop", log, Polling({dsn!r}))
"""
WRITERS = 2


def records(settings: Settings, topic: str) -> list[Record]:
    """Everything that stands in the one partition."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "eyes", "enable.auto.commit": False})
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), 30, cached=False)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = list[Record]()
        while (found[-1].offset + 1 if found else 0) < high:
            for message in consumer.consume(10_000, 0.2):
                assert message.error() is None, message.error()
                headers = message.headers() or []
                found.append(Record(0, message.offset(), message.key(), message.value(), headers))
        return found
    finally:
        consumer.close()


def holds(settings: Settings, topic: str, more: int) -> bool:
    """Does the log hold so many records?"""
    return len(records(settings, topic)) > more


@contextmanager
def relay(folder: Path, env: dict[str, str], *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "logsync.cli", "relay", "shop", *more]
    path = os.pathsep.join((str(folder), str(ROOT)))
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **env, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_relay_that_is_killed_again_and_again_brings_every_event_once(
    settings: Settings, env: dict[str, str], unique: str, tmp_path: Path
) -> None:
    given = settings.postgres.get_secret_value()
    dsn = given.rsplit("/", 1)[0] + f"/{unique}"
    create_topic(settings, unique, partitions=1)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/shop.py").write_text(SOURCE.format(topic=unique, dsn=dsn))
    outbox = Outbox(shop.log)
    with psycopg.connect(given, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {unique}".encode())
        with psycopg.connect(dsn, autocommit=True, options="-c search_path=public") as db:
            db.execute(DDL.encode())
            db.execute("CREATE TABLE counter AS SELECT 0 AS n")
            manager = Polling(dsn).manager()
            assert "logsync.outbox" in manager.create("shop", settings)[0]

            def write() -> None:
                with psycopg.connect(dsn, options="-c search_path=public") as app:
                    while not enough.is_set():
                        row: Any = app.execute("UPDATE counter SET n = n + 1 RETURNING n").fetchone()
                        outbox.append(app, shop.OrderPlaced(order="o", cents=row[0]), id=f"{row[0]:06}")
                        app.commit()

            enough = threading.Event()
            threads = [threading.Thread(target=write) for _ in range(WRITERS)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(3):
                    goal = len(records(settings, unique)) + 50
                    with relay(tmp_path, env):
                        wait_for(partial(holds, settings, unique, goal))
            finally:
                enough.set()
                for thread in threads:
                    thread.join()
            with relay(tmp_path, env, "--until-end") as last:
                assert last.wait(300) == 0, last.stderr and last.stderr.read()
            assert db.execute("SELECT count(*) FROM logsync.outbox").fetchone() == (0,)
            seen = manager.look("shop", settings)
            assert (seen.waiting, seen.held_by, seen.error) == (0, "", None)
            manager.drop("shop", settings)
            assert "never created" in str(manager.look("shop", settings).error)
            (written,) = db.execute("SELECT n FROM counter").fetchone() or (0,)
        server.execute(f"DROP DATABASE {unique} WITH (FORCE)".encode())
    found = records(settings, unique)
    marks = shop.log.codec.marks(found)
    _, passed = fold(at_start(0), marks, found[-1].offset + 1)
    counted = [
        id_of(shop.log, found[offset])
        for offset, mark in marks
        if mark is not None and mark.number and offset not in passed
    ]
    assert counted == [f"{number:06}" for number in range(1, len(counted) + 1)]
    assert len(counted) == written
    assert max(mark.term for _, mark in marks if mark is not None) >= 4
