"""What a test asks beside the store: an event, and whether the server or the store does something."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from logsync.core.event import Event
from logsync.stores.postgres import Postgres
from tests.waiting import PATIENCE

from .conftest import Bench

EVENT: Event[Any] = Event("id", "type", 1, None, datetime(2026, 1, 1, tzinfo=UTC), None, 0, 0, None, [])


def in_bulk_only(store: Postgres) -> list[str]:
    """Notes every plan that the bulk path did not carry out: the catalog was read again."""
    notes: list[str] = []
    store._catalog.forget = lambda **how: notes.append("again")  # type: ignore[method-assign]
    return notes


def busy(bench: Bench, query: str) -> Callable[[], bool]:
    """Is a transaction with this in its statement waiting for a lock?"""
    question = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s)"
    return lambda: bench.db.execute(question, (f"%{query}%",)).fetchone() == (True,)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
