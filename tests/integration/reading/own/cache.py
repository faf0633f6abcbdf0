"""A sink of a test's own in Redis that counts its events."""

from __future__ import annotations

from typing import Any

import redis

from logsync import Event, Sink
from logsync.core.book import Book
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.receipt import Receipt
from logsync.reading import Seen, redis_question
from logsync.settings import Settings
from logsync.stores.redis import Incr, Redis
from tests.unit.shop import OrderPlaced, log

from .followed import ENVIRONMENT, LOG


def nothing(_: Event[OrderPlaced]) -> list[object]:
    return []


class Cache:
    """A sink that counts its events in one key."""

    def __init__(self, url: str, name: str, settings: Settings) -> None:
        self.prefix = f"{{{name}}}:"
        self.store = Redis(url, prefix=self.prefix)
        self.sink = Sink(name, log, self.store)
        self.sink.on(OrderPlaced)(nothing)  # type: ignore[arg-type]
        self.book = Book(sink=name, environment=ENVIRONMENT, log=LOG, handled=self.sink.handled)
        self.store.open(name, settings)

    def begin(self) -> None:
        self.store.write_book(self.book, positions=[Position(0, 0), Position(1, 0)])

    def apply(self, to: int, *aside: Any) -> None:
        start = self.store.positions()[1]
        offsets = list(range(start.next_offset, to))
        end = start._replace(next_offset=to, releases=0)
        self.store.apply(Plan(start, end, [Incr("n") for _ in offsets], offsets, parked=list(aside)))

    def write(self, **changes: Any) -> None:
        self.book = self.book.next(**changes)
        self.store.write_book(self.book)

    def asked(self, plain: redis.Redis, given: Receipt, environment: str = ENVIRONMENT) -> tuple[Seen, Any]:
        """The answer and the value, of one MULTI."""
        question = redis_question(given, self.sink, environment=environment)
        pipe = plain.pipeline(transaction=True)
        pipe.get(f"{self.prefix}n")
        pipe.execute_command(*question.command)
        value, answer = pipe.execute()
        return question.seen(answer), value
