"""append_many over a client that fails on command: what a real broker does too rarely to be tested. # A2"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from logsync import AppendIncomplete, Log, Outcome
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Tombstone
from logsync.log import bulk
from logsync.log.config import LastError
from logsync.log.ends import Known
from logsync.log.sending import AppendClient
from logsync.settings import Settings

TIMED_OUT = KafkaError(KafkaError._MSG_TIMED_OUT)


class FakeKafka:
    """Takes records, and gives each the fate that ``fate`` names by its number, one per poll: an error, or the log."""

    def __init__(self, fate: Callable[[int], KafkaError | None]) -> None:
        self.fate = fate
        self.queue: deque[tuple[int, Any, str]] = deque()
        self.taken = 0
        self.log: list[str] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Any, headers: Any) -> None:
        self.queue.append((self.taken, on_delivery, key.decode()))
        self.taken += 1

    def poll(self, timeout: float) -> int:
        if self.queue:
            number, report, key = self.queue.popleft()
            error = self.fate(number)
            if error is None:
                self.log.append(key)
            report(error, SimpleNamespace(offset=lambda: len(self.log) - 1))
        return 0

    def purge(self, **_: bool) -> None:
        while self.queue:
            _, report, _ = self.queue.popleft()
            report(KafkaError(KafkaError._PURGE_QUEUE), None)

    def flush(self, _: float) -> int:
        return 0

    def __len__(self) -> int:
        return len(self.queue)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeKafka], bulk.BulkAppend]:
    log, settings, given_back = Log("t"), Settings(_env_file=None), list[AppendClient]()

    def make(kafka: FakeKafka) -> bulk.BulkAppend:
        client = AppendClient(log, settings, kafka, LastError(), Known("", [0]), polls=False)  # type: ignore[arg-type]
        monkeypatch.setattr(bulk, "_SERVE", 1)
        return bulk.BulkAppend(log, settings, client, given_back.append)

    return make


def events(count: int) -> list[Tombstone]:
    return [Tombstone(key=f"e{number}") for number in range(count)]


def test_nothing_that_was_queued_behind_a_failure_reaches_the_log(feed: Callable[[FakeKafka], bulk.BulkAppend]) -> None:
    kafka = FakeKafka(lambda number: TIMED_OUT if number == 2 else None)
    # Two records wait in the queue when the third fails; delivered, they would stand before its retry.
    kafka.poll, poll = lambda timeout: poll(timeout) if kafka.taken > 4 else 0, kafka.poll  # type: ignore[method-assign]
    with pytest.raises(AppendIncomplete) as caught:
        feed(kafka).run(events(100), None)
    assert kafka.log == ["e0", "e1"]
    report = caught.value.report
    assert list(report.unknown) == list(range(2, report.taken))
    assert [report.outcome(at) for at in (1, 2, report.taken)] == [Outcome.APPENDED, Outcome.UNKNOWN, Outcome.NOT_SENT]
    kafka.fate = lambda number: None
    assert caught.value.retry().appended == report.taken
    assert kafka.log == [f"e{number}" for number in range(report.taken)]


def test_a_retry_that_fails_midway_leaves_the_rest_unknown_and_goes_on_in_order(
    feed: Callable[[FakeKafka], bulk.BulkAppend],
) -> None:
    kafka = FakeKafka(lambda _: TIMED_OUT)
    kafka.poll, poll = lambda timeout: poll(timeout) if kafka.taken >= 10 else 0, kafka.poll  # type: ignore[method-assign]
    with pytest.raises(AppendIncomplete) as caught:
        feed(kafka).run(events(10), None)
    assert caught.value.report.appended == 0
    kafka.fate = lambda number: None if number < 14 else TIMED_OUT
    with pytest.raises(AppendIncomplete) as again:
        caught.value.retry()
    assert kafka.log == ["e0", "e1", "e2", "e3"]
    assert list(again.value.report.unknown) == [4, 5, 6, 7, 8, 9]
    kafka.fate = lambda _: None
    assert again.value.retry().appended == 10
    assert kafka.log == [f"e{number}" for number in range(10)]


def test_never_more_than_the_window_is_under_way(
    feed: Callable[[FakeKafka], bulk.BulkAppend], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka, most = FakeKafka(lambda _: None), 0

    def poll(timeout: float) -> int:  # reports come only to those who wait
        nonlocal most
        most = max(most, len(kafka.queue))
        return FakeKafka.poll(kafka, timeout) if timeout else 0

    kafka.poll = poll  # type: ignore[method-assign]
    run = feed(kafka)
    monkeypatch.setattr(bulk, "WINDOW", 10)
    monkeypatch.setattr(bulk, "_SERVE", 4)
    assert run.run(events(100), None).appended == 100
    assert most == 10


def test_events_that_come_slowly_are_not_fed_behind_a_failure(
    feed: Callable[[FakeKafka], bulk.BulkAppend], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = FakeKafka(lambda number: TIMED_OUT if number == 2 else None)
    run = feed(kafka)
    monkeypatch.setattr(bulk, "_SERVE", 1000)
    monkeypatch.setattr(bulk, "_INSTANT", -1.0)  # as if each event came later than the last one's time is good for
    with pytest.raises(AppendIncomplete) as caught:
        run.run(events(100), None)
    assert caught.value.report.taken == 3


def test_a_retry_is_looked_for_from_where_the_log_ended_before_its_first_attempt(
    feed: Callable[[FakeKafka], bulk.BulkAppend],
) -> None:
    kafka, sent = FakeKafka(lambda number: TIMED_OUT if number == 20 else None), []

    def produce(*record: Any, headers: Any, **options: Any) -> None:
        sent.append(dict(headers))
        FakeKafka.produce(kafka, *record, headers=headers, **options)

    kafka.produce = produce  # type: ignore[method-assign]
    with pytest.raises(AppendIncomplete) as caught:
        feed(kafka).run(events(100), None)
    assert caught.value.retry().appended == 21
    assert sent[-1][RETRY_FROM] == b"20"  # an older end makes every consumer read more of the log


def test_a_client_that_kafka_has_ended_for_good_is_closed_without_an_error_of_its_own() -> None:
    kafka = FakeKafka(lambda _: None)
    purged: list[bool] = []

    def flush(_: float) -> int:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    kafka.flush, kafka.purge = flush, lambda **_: purged.append(True)  # type: ignore[method-assign]
    client = AppendClient(Log("t"), Settings(_env_file=None), kafka, LastError(), Known("", [0]), polls=False)  # type: ignore[arg-type]
    kafka.produce("t", b"", b"k", 0, lambda *_: None, [])
    client.close(1.0)
    assert purged == [True]
    assert not client.usable


@pytest.mark.parametrize(("others", "told"), [(200_000, 0), (200_001, 1)])
def test_a_retry_that_arrives_beyond_what_consumers_look_back_is_told(
    feed: Callable[[FakeKafka], bulk.BulkAppend], caplog: pytest.LogCaptureFixture, others: int, told: int
) -> None:
    """Others append while it is on its way: nothing before that could have kept it back. # A1"""
    kafka = FakeKafka(lambda number: TIMED_OUT if number == 0 else None)
    with pytest.raises(AppendIncomplete) as caught:
        feed(kafka).run(events(1), None)
    kafka.log += ["other"] * others
    assert caught.value.retry().appended == 1
    assert [record.levelname for record in caplog.records if "sent again" in record.message] == ["ERROR"] * told
