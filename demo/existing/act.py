"""The act: the app writes, the relay is killed twice with -9, the sink follows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from demo.cure import Eyes
from demo.existing import app, proof
from demo.existing.events import log
from demo.process import DemoFailed, Watched
from demo.proof import Part
from logsync.cli.load import load_sink, load_source
from logsync.log.topic import create_topic
from logsync.settings import Settings
from logsync.sources.managing import manager_of

WRITERS = 2
KILLS = 2
FACTS = 600
"""So many records further in the log each relay is killed, and so many more come after the last kill."""
PATIENCE = 120.0  # seconds for so many; far more than a busy machine needs
_LOOK = 0.02  # seconds
SOURCE, SINK = "demo.existing.shop:source", "demo.existing.accounts:sink"

Say = Callable[[str], None]


class Shown(NamedTuple):
    parts: list[Part]
    records: int
    """In the topic, barriers and repeats included."""
    counting: int


def run(settings: Settings, directory: Path, say: Say) -> Shown:
    """Raises DemoFailed when a process dies by itself, or nothing moves."""
    shop, store = _databases(settings)
    create_topic(settings, log.topic)
    source = load_source(SOURCE)
    for line in manager_of(source).create(source.name, settings):
        say(line)
    with ExitStack() as stack:
        eyes = Eyes(settings, "demo-existing", log.topic)
        stack.callback(eyes.close)
        writers = [
            _process(f"app {n}", ["demo.existing.app", str(n), str(WRITERS)], directory, stack) for n in range(WRITERS)
        ]
        relay = _process("relay", ["logsync.cli", "relay", SOURCE], directory, stack)
        sink = _process("accounts", ["logsync.cli", "consume", SINK], directory, stack)
        watched = [*writers, relay, sink]
        for _ in range(KILLS):
            _further(eyes, watched)
            relay.kill()
            say(f"[bold]relay[/]: [red]killed with -9[/], {_waiting(shop)} (log at {eyes.end():,})")
            relay.start_again()
        _further(eyes, watched)
        for writer in writers:
            writer.stop(timeout=settings.drain_timeout)
        say(f"The app has stopped; {_waiting(shop)}")
        relay.stop(timeout=settings.drain_timeout)
        last = _process("relay to the end", ["logsync.cli", "relay", SOURCE, "--until-end"], directory, stack)
        _wait(last.finished, "the relay did not come to the end of what is committed")
        _followed(settings, eyes.end(), sink)
    found = proof.events(settings)
    return Shown(proof.check(shop, store, found), found.records, len(found.events))


def _databases(settings: Settings) -> tuple[str, str]:
    """The app's and the sink's, new and empty. Their addresses reach every process by the environment."""
    server = settings.address("postgres")
    addresses = []
    with psycopg.connect(server, autocommit=True) as db:
        for name in ("demo_shop", "demo_store"):
            db.execute(f"CREATE DATABASE {name}".encode())
            addresses.append(make_conninfo(server, dbname=name))
    shop, store = os.environ["DEMO_SHOP"], os.environ["DEMO_STORE"] = addresses
    with psycopg.connect(shop) as db:
        db.execute(app.SCHEMA.encode())
    return shop, store


def _process(name: str, arguments: list[str], directory: Path, stack: ExitStack) -> Watched:
    process = Watched(name, arguments, directory / f"existing-{name.replace(' ', '-')}.log")
    stack.callback(process.kill)
    return process


def _further(eyes: Eyes, watched: list[Watched]) -> None:
    """Wait until the log has so many records more."""
    goal = eyes.end() + FACTS

    def there() -> bool:
        for process in watched:
            process.check_running()
        return eyes.end() >= goal

    _wait(there, f"the log does not grow: at {eyes.end():,}, expected {goal:,}")


def _followed(settings: Settings, end: int, worker: Watched) -> None:
    """Wait until the sink's position is there, and stop its worker."""
    sink = load_sink(SINK)
    sink.store.open(sink.name, settings)
    try:

        def there() -> bool:
            worker.check_running()
            position = sink.store.positions().get(0)
            return position is not None and position.next_offset >= end

        _wait(there, f"{sink.name} did not come to {end:,}, the end of the log")
    finally:
        sink.store.close()
    worker.stop(timeout=settings.drain_timeout + 5)


def _wait(what: Callable[[], bool], failed: str) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > until:
            raise DemoFailed(failed)
        time.sleep(_LOOK)


def _waiting(shop: str) -> str:
    with psycopg.connect(shop) as db:
        (rows,) = db.execute("SELECT count(*) FROM logsync.outbox").fetchone() or (0,)
        (facts,) = db.execute("SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM payments)").fetchone() or (
            0,
        )
    return f"{facts:,} facts are committed, {rows:,} rows wait in the outbox"
