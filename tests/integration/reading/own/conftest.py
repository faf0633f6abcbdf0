"""A database of its own for every test, and the sink that fills it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from logsync.settings import Settings

from .cache import Cache
from .followed import Followed, database


@pytest.fixture
def followed(settings: Settings, unique: str) -> Iterator[Followed]:
    """Its sink has not begun yet."""
    with database(settings.postgres.get_secret_value(), unique) as dsn:
        found = Followed(dsn, settings)
        yield found
        found.store.close()


@pytest.fixture
def begun(followed: Followed) -> Followed:
    """Its sink stands at offset 0."""
    followed.begin()
    return followed


@pytest.fixture
def cache(settings: Settings, unique: str) -> Iterator[Cache]:
    found = Cache(settings.redis.get_secret_value(), unique, settings)
    yield found
    found.store.wipe(found.book)
    found.store.close()
