"""One sink for each kind of store, whose worker has applied two events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from ..conftest import Deploy, Shell, Topic
from .clinic import FRAIL, OTHERS, Clinic


@pytest.fixture
def two(topic: Topic, deploy: Deploy) -> Topic:
    topic.event("thing.made", b'{"name": "a", "size": 1}', id="one")
    topic.event("thing.made", b'{"name": "b", "size": 2}', id="two")
    return topic


@pytest.fixture
def db(shell: Shell, two: Topic) -> Clinic:
    return Clinic(shell, "db", FRAIL)


@pytest.fixture
def cache(shell: Shell, two: Topic, unique: str) -> Clinic:
    imports, write = "from logsync.stores.redis import Redis, Set", "Set(event.data.name, event.data.size)"
    text = OTHERS.format(imports=imports, name=unique, store=f"Redis(prefix='{unique}:')", write=write)
    (shell.folder / "sinks/cache.py").write_text(text)
    return Clinic(shell, "cache", FRAIL, name=unique)


@pytest.fixture
def search(shell: Shell, two: Topic, unique: str) -> Clinic:
    imports = "from logsync.stores.opensearch import IndexDoc, OpenSearch"
    store = f"OpenSearch(indices={{'{unique}': {{'settings': {{'number_of_replicas': 0}}}}}})"
    write = f"IndexDoc('{unique}', event.data.name, {{'size': event.data.size}})"
    (shell.folder / "sinks/search.py").write_text(OTHERS.format(imports=imports, name=unique, store=store, write=write))
    return Clinic(
        shell, "search", FRAIL | {"opensearch.number_of_replicas"}, name=unique
    )  # one node has no room for a replica


@pytest.fixture
def plain(env: dict[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(env["LOGSYNC_REDIS"], decode_responses=True) as client:
        yield client
