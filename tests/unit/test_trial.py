"""What a rebuild tries before it wipes, for stores that are not asked for it: planning, and what the store knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from logsync import Event, Sink
from logsync.core.book import Book, Skip
from logsync.core.offsets import Offsets
from logsync.core.store import Store
from logsync.errors import ConfigError, HandlerError, WriteRejected
from logsync.ops.rebuild import RebuildPlan
from logsync.ops.trial import rehearse
from logsync.stores.memory import Memory
from logsync.stores.opensearch import IndexDoc, OpenSearch
from logsync.stores.redis import Redis, Set
from logsync.testing import MemoryLog
from logsync.writes.rows import Upsert
from tests.unit.shop import OrderPlaced, log

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def redis() -> Store:
    return Redis(prefix="shop:")


def opensearch() -> Store:
    return OpenSearch(indices={"orders": {"mappings": {"properties": {}}}})


def sink_of(store: Store, handler: Callable[[Event[Any]], Any], **options: Any) -> Sink:
    made = Sink("db", log, store, **options)
    made.on(OrderPlaced)(handler)
    return made


def source(partitions: int = 1) -> MemoryLog:
    made = MemoryLog(log, partitions=partitions)
    for cents in (0, 1, 2):
        for partition in range(partitions):
            made.append(OrderPlaced(order=f"{partition}-{cents}", cents=cents), partition=partition)
    return made


def tried(sink: Sink, made: MemoryLog, *, skips: tuple[int, ...] = ()) -> int:
    spans = {number: (0, len(records)) for number, records in enumerate(made.records)}
    book = Book(sink="db", environment="test", log=made.identity, skips=tuple(
        Skip(partition=0, offsets=Offsets([offset]), reason="x", at=NOW) for offset in skips
    ))  # fmt: skip
    plan = RebuildPlan(book, {}, True, made.identity, spans)
    return rehearse(sink, sink.store, plan, dict(enumerate(made.records)), now=NOW)


def divides(event: Event[OrderPlaced]) -> Any:
    return Upsert("orders", {"order": event.key}, {"n": 100 // event.data.cents})


def test_all_partitions_are_tried() -> None:
    assert tried(sink_of(Memory(), lambda event: None), source()) == 3
    made = lambda event: Upsert("orders", {"order": event.key})  # noqa: E731
    assert tried(sink_of(Memory(), made, order="per-key"), source(2)) == 6


def test_what_would_halt_the_replay_is_raised() -> None:
    with pytest.raises(HandlerError, match="ZeroDivisionError"):
        tried(sink_of(Memory(), divides), source())
    with pytest.raises(ConfigError, match="per-key"):
        tried(sink_of(Memory(), divides), source(2))
    with pytest.raises(ConfigError, match="takes topics of 1 partition"):
        tried(sink_of(opensearch(), lambda event: None), source(2))


def test_what_was_skipped_or_would_be_parked_halts_nothing() -> None:
    assert tried(sink_of(Memory(), divides), source(), skips=(0,)) == 2
    assert tried(sink_of(Memory(), divides, on_error="park"), source()) == 2


@pytest.mark.parametrize(
    ("store", "write", "words"),
    [
        (redis, lambda event: Set(event.key, 0.5), "float"),
        (opensearch, lambda event: IndexDoc("order", event.key, {}), "expected an index"),
        (opensearch, lambda event: IndexDoc("orders", event.key, {"tags": {1}}), "set"),
    ],
)
def test_what_the_store_knows_to_be_wrong_is_raised(store: Any, write: Any, words: str) -> None:
    with pytest.raises(WriteRejected, match=words) as caught:
        tried(sink_of(store(), write), source())
    assert caught.value.offset == 0
    with pytest.raises(ConfigError, match=r"none of the log's first events could be applied, 3 would be parked"):
        tried(sink_of(store(), write, on_error="park"), source())
