"""The cure: two racing writers append to one log, three workers follow it. A writer and all workers are killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from demo.data import Cut
from demo.process import DemoFailed, Watched
from demo.view import View
from logsync.log.group import group_id
from logsync.log.topic import create_topic
from logsync.settings import Settings
from sinks.events import log

SINKS = ("db", "cache", "search")
WRITERS = 2
BEHIND = 10_000
"""A worker is killed once, while it is more than so many events behind the log's end, and not before it has applied
as many, so that there is something to lose or to double. For that the workers start when the log is three times
as long: else the fastest might never fall far enough behind."""
_LOOK = 0.1  # seconds between two looks at the positions


class Place(NamedTuple):
    """Where one sink is. ``committed`` was read first: it may lag behind the position, never the reverse. # I1"""

    committed: int
    stored: int
    end: int

    @property
    def behind(self) -> int:
        return self.end - self.stored

    def __str__(self) -> str:
        return f"store at {self.stored:,}, Kafka's bookmark at {self.committed:,}, log at {self.end:,}"


class Eyes:
    """The log's end and a group's bookmark, asked of Kafka directly and as no member of the group."""

    def __init__(self, settings: Settings, group: str, topic: str = log.topic) -> None:
        self._consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": group, "enable.auto.commit": False})
        self._part = TopicPartition(topic, 0)
        self.close = self._consumer.close

    def committed(self) -> int:
        return max(0, self._consumer.committed([self._part], timeout=10)[0].offset)

    def end(self) -> int:
        return int(self._consumer.get_watermark_offsets(self._part, timeout=10)[1])


class Follower:
    """One sink: its worker process, and eyes of our own on its store and its group."""

    def __init__(self, name: str, settings: Settings, directory: Path, stack: ExitStack) -> None:
        self.name = name
        self.store = import_module(f"sinks.{name}").sink.store
        self.store.open(name, settings)
        stack.callback(self.store.close)
        self._log = Eyes(settings, group_id(settings.environment, name))
        stack.callback(self._log.close)
        self.worker = Watched(f"worker {name}", ["logsync.cli", "consume", name], directory / f"{name}.log")
        stack.callback(self.worker.kill)
        self.killed: Place | None = None
        self.resumed = False

    def place(self) -> Place:
        committed = self._log.committed()
        position = self.store.positions().get(0)
        return Place(committed, position.next_offset if position else 0, self._log.end())

    def kill(self, seen: Place, say: Callable[[str], None]) -> None:
        """Kill the worker, look, and start it again."""
        self.worker.kill()
        self.killed = after = self.place()
        say(f"[bold]{self.name}[/]: {seen.behind:,} events behind ({seen})")
        say(f"[bold]{self.name}[/]: [red]killed with -9[/], {after.behind:,} events behind ({after})")
        if not after.committed <= after.stored:
            raise DemoFailed(f"{self.name}: Kafka's bookmark is ahead of the store, events would be lost: {after}")
        self.worker.start_again()

    def note_resumed(self, now: Place, say: Callable[[str], None]) -> None:
        if self.killed and not self.resumed and now.stored > self.killed.stored:
            self.resumed = True
            say(f"[bold]{self.name}[/]: went on from {self.killed.stored:,} ({now})")


def run(lines: int | None, cut: Cut, settings: Settings, directory: Path, view: View, *, behind: int) -> list[Place]:
    """Write and apply everything; returns where each worker was when it was killed.

    Raises DemoFailed when a process dies by itself, or when a worker was never far enough behind to be killed.
    """
    create_topic(settings, log.topic)
    directory.mkdir(parents=True, exist_ok=True)
    for file in directory.glob("*.log"):
        file.unlink()
    with ExitStack() as stack, view:
        writers = [_writer(str(number), lines, directory, stack) for number in range(WRITERS)]
        eyes = Eyes(settings, "demo")
        stack.callback(eyes.close)
        while eyes.end() < 3 * behind and not _ended(writers):
            _show_writers(writers, cut, view)
            time.sleep(_LOOK)
        _kill_writer(writers[0], eyes, view)
        followers = [Follower(name, settings, directory, stack) for name in SINKS]
        closed = False
        while True:
            _show_writers(writers, cut, view)
            written = _ended(writers)
            if written and not closed:
                writers.append(_writer("closing", lines, directory, stack))
                closed, written = True, False
            places = [_follow(follower, view, behind) for follower in followers]
            if written and all(place.behind == 0 for place in places):
                break
            time.sleep(_LOOK)
        for follower in followers:
            follower.worker.stop(timeout=settings.drain_timeout + 5)
        kills = [follower.killed for follower in followers if follower.killed and follower.killed.behind > behind]
        if len(kills) < len(SINKS):
            raise DemoFailed(f"a worker was never killed while more than {behind:,} events behind; take more LINES")
        return kills


def _writer(number: str, lines: int | None, directory: Path, stack: ExitStack) -> Watched:
    arguments = ["demo.write", number, str(WRITERS), str(lines or 0)]
    writer = Watched(f"writer {number}", arguments, directory / f"writer-{number}.log")
    stack.callback(writer.kill)
    return writer


def _kill_writer(writer: Watched, eyes: Eyes, view: View) -> None:
    """Kill it, and run it again: it appends what the log does not have of its share, and nothing twice."""
    writer.kill()
    view.say(f"[bold]{writer.name}[/]: [red]killed with -9[/] and run again (log at {eyes.end():,})")
    writer.start_again()


def _ended(writers: list[Watched]) -> bool:
    """True if all have ended well. Looks at every one of them: one that died must not be overlooked."""
    return not [writer for writer in writers if not writer.finished()]


def _show_writers(writers: list[Watched], cut: Cut, view: View) -> None:
    for writer in writers[:WRITERS]:
        count, _, rest = writer.last_line().partition(" ")
        day, _, date = rest.partition(" ")
        if count.isdigit() and day.isdigit():
            view.show(writer.name, int(day), cut.days, f"{int(count):,} events appended, the shop's date is {date}")


def _follow(follower: Follower, view: View, behind: int) -> Place:
    follower.worker.check_running()
    now = follower.place()
    text = f"at {now.stored:,} of {now.end:,}, {now.behind:,} behind"
    view.show(follower.name, now.stored, now.end, text)
    follower.note_resumed(now, view.say)
    # Half as much again: a batch may be under way, and the distance must still be there when the worker is dead.
    if follower.killed is None and now.stored >= behind and now.behind > behind * 3 // 2:
        follower.kill(now, view.say)
    return now
