"""The sink of the tests about rights: in memory, so that Kafka alone decides what may be done."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from logsync import Event, Log, Sink
from logsync.core.write import Write
from logsync.stores.memory import Memory
from logsync.writes.keys import Incr

log = Log("shop.events")


@log.event("thing.made", key="name")
class ThingMade(BaseModel):
    name: str


store = Memory()
sink = Sink("db", log, store, on_error="park")
broken: set[str] = set()
"""Names whose events cannot be applied just now."""


@sink.on(ThingMade)
def thing_made(event: Event[ThingMade]) -> Iterator[Write]:
    if event.data.name in broken:
        raise ValueError("this test breaks it")
    yield Incr(event.data.name)
