"""Retried appends, as a worker meets them. # A1"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from logsync.core.cloudevents import RETRY_FROM
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Worker
from tests.unit.shop import OrderPlaced, log, make_sink
from tests.unit.working import Clock, finish, settings, three, worker


def test_a_retry_whose_original_is_in_the_log_is_applied_once() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 18}
    assert made.status.skipped == {"duplicate:order.placed": 1}


def test_two_appends_with_one_id_are_two_events_unless_one_is_a_retry_of_the_other() -> None:  # A4
    source, store = MemoryLog(log), Memory()
    for _ in range(2):
        source.append(OrderPlaced(order="1", cents=5), id="evt_1")
    original = source.records[0][0]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 10}


def test_a_lookup_that_goes_on_counts_as_alive() -> None:
    """A range of the log may take minutes; the health check must not end the worker for it."""
    source, clock, still = three(), Clock(), []

    class Slow(MemoryReader):
        def find(self, *args: Any, meanwhile: Callable[[], None], **options: Any) -> dict[str, int]:
            clock.now += 1000
            found = super().find(*args, meanwhile=meanwhile, **options)
            still.append(clock.now - made.status.turned_at)
            return found

    original = source.records[0][1]
    source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"1")])
    made = Worker(make_sink(), Slow(source), settings(), clock=clock)
    finish(made, source)
    assert [seconds < 100 for seconds in still] == [True]


def test_a_retry_whose_original_never_arrived_is_applied() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    headers = [(n, b"new" if n == "ce_id" else v) for n, v in original.headers]
    source.append_raw(original.key, original.value, [*headers, (RETRY_FROM, b"1")])
    finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}


def test_a_retry_of_a_retry_is_applied_once_although_no_original_arrived() -> None:  # A1
    source, store = three(), Memory()
    original = source.records[0][1]
    headers = [(n, b"new" if n == "ce_id" else v) for n, v in original.headers]
    for _ in range(2):
        source.append_raw(original.key, original.value, [*headers, (RETRY_FROM, b"1")])
    made = finish(worker(source, store), source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}
    assert made.status.skipped == {"duplicate:order.placed": 1}


@pytest.mark.parametrize("at_most", [1, 2, 100])
def test_the_verdict_on_a_retry_does_not_depend_on_the_batch_it_came_in(at_most: int) -> None:  # A1
    source, store = three(), Memory()
    first, second = source.records[0][0], source.records[0][1]
    source.append_raw(first.key, first.value, [*first.headers, (RETRY_FROM, b"0")])  # its range holds the original
    source.append_raw(second.key, second.value, [*second.headers, (RETRY_FROM, b"3")])  # its range does not
    made = worker(source, store)
    made.reader.at_most = at_most  # type: ignore[attr-defined]
    finish(made, source)
    assert store.content.row("totals", name="cents") == {"name": "cents", "n": 25}
    assert made.status.skipped == {"duplicate:order.placed": 1}


def test_a_mark_is_believed_no_further_than_a_writer_would_make_it(monkeypatch: pytest.MonkeyPatch) -> None:  # A1
    """Whatever the cut: the verdict is the log's alone."""
    monkeypatch.setattr("logsync.duplicates.LOOK_BACK", 4)
    for at_most in (1, 3, 100):
        source, store = MemoryLog(log), Memory()
        first = source.append(OrderPlaced(order="far", cents=1))
        for _ in range(4):
            source.append(OrderPlaced(order="x", cents=100))
        near = source.records[0][1]
        for original in (first, near):  # five, and five offsets further down
            source.append_raw(original.key, original.value, [*original.headers, (RETRY_FROM, b"0")])
        again = source.records[0][4]
        source.append_raw(again.key, again.value, [*again.headers, (RETRY_FROM, b"0")])
        made = worker(source, store)
        made.reader.at_most = at_most  # type: ignore[attr-defined]
        finish(made, source)
        assert made.status.skipped == {"duplicate:order.placed": 1}
        assert store.content.row("totals", name="cents") == {"name": "cents", "n": 1 + 400 + 1 + 100}
