"""append_many keeps its connection between calls, and nobody else is hurt by what a failed one gives up."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka import KafkaError

from logsync import AppendIncomplete, AppendRejected, Envelope, Log, Producer
from logsync.core.cloudevents import RETRY_FROM
from logsync.core.event import Tombstone
from logsync.log import bulk_client
from logsync.log.config import LastError
from logsync.log.ends import Known
from logsync.log.sending import AppendClient
from logsync.settings import Settings
from tests.waiting import PATIENCE

from .test_append_many import TIMED_OUT, FakeKafka, events

Opened = list[AppendClient]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """The clients that were opened, each over a Kafka that takes everything."""
    found = Opened()

    def connect(log: Log, settings: Settings, *_: Any, **__: Any) -> AppendClient:
        found.append(AppendClient(log, settings, FakeKafka(lambda _: None), LastError(), Known("", [0]), polls=False))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(AppendClient, "open", connect)
    return found


@pytest.fixture
def producer(opened: Opened) -> Iterator[Producer]:
    with Producer(Log("t"), settings=Settings(_env_file=None)) as made:
        yield made


def fail(client: AppendClient, fate: Callable[[int], KafkaError | None]) -> None:
    client.kafka.fate = fate  # type: ignore[attr-defined]


def test_a_hundred_calls_open_one_client(producer: Producer, opened: Opened) -> None:
    for _ in range(100):
        assert producer.append_many(events(3)).appended == 3
    (client,) = opened
    assert len(client.kafka.log) == 300  # type: ignore[attr-defined]


def test_it_is_closed_with_its_producer_and_nothing_is_kept_after_that(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))

    def late() -> Iterator[Tombstone]:
        yield from events(1)
        producer.close()

    producer.append_many(late())  # takes the client along until it ends
    assert not opened[0].usable
    with pytest.raises(AppendRejected, match="closed"):
        producer.append_many(events(1))
    assert len(opened) == 1


def test_a_refused_event_costs_no_connection(producer: Producer, opened: Opened) -> None:
    for _ in range(3):
        with pytest.raises(AppendIncomplete, match="id is ''"):
            producer.append_many([*events(2), Envelope(Tombstone(key="k"), id="")])
    assert len(opened) == 1
    assert opened[0].usable


def test_a_client_that_failed_is_replaced_and_lives_on_for_its_retry(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))
    fail(opened[0], lambda number: TIMED_OUT if number == 2 else None)
    with pytest.raises(AppendIncomplete) as caught:
        producer.append_many(events(3))
    assert producer.append_many(events(1)).appended == 1
    assert len(opened) == 2
    fail(opened[0], lambda _: None)
    caught.value.retry()
    assert [client.usable for client in opened] == [False, True]
    assert producer.append_many(events(1)).appended == 1
    assert len(opened) == 2


def test_a_client_that_kafka_has_ended_meanwhile_is_replaced(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))
    opened[0].usable = False
    assert producer.append_many(events(1)).appended == 1
    assert len(opened) == 2


def test_two_calls_at_once_have_a_client_each_and_one_is_kept(producer: Producer, opened: Opened) -> None:
    both = threading.Barrier(2, timeout=60)

    def slowly() -> Iterator[Tombstone]:
        both.wait()
        yield from events(5)
        both.wait()

    with ThreadPoolExecutor(2) as pool:
        assert [report.appended for report in pool.map(producer.append_many, (slowly(), slowly()))] == [5, 5]
    assert len(opened) == 2
    assert sorted(client.usable for client in opened) == [False, True]
    producer.append_many(events(1))
    assert len(opened) == 2


def test_an_idle_client_is_given_up_after_a_while(
    producer: Producer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_client, "IDLE", 0.0)
    producer.append_many(events(1))
    timer = producer._bulk._timer
    if timer is not None:
        timer.join(PATIENCE)
    assert not opened[0].usable
    monkeypatch.setattr(bulk_client, "IDLE", 60.0)
    producer.append_many(events(1))
    assert len(opened) == 2


def test_a_late_timer_gives_up_no_client_that_is_in_use_or_was_kept_since(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))
    producer._bulk._give_up()  # not by the timer that was set last
    assert opened[0].usable


def test_at_the_interpreters_end_nothing_is_kept_and_nothing_is_lost(
    producer: Producer, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Timer, "start", ended)
    assert producer.append_many(events(2)).appended == 2
    assert not opened[0].usable


def test_a_child_process_opens_its_own(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))
    child = os.fork()
    if child == 0:
        try:
            producer.append_many(events(1))
            os._exit(0 if len(opened) == 2 and not opened[0].usable else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert opened[0].usable


def test_a_producer_that_is_forgotten_leaves_no_client_open(opened: Opened) -> None:
    made = Producer(Log("t"), settings=Settings(_env_file=None))
    made.append_many(events(1))
    del made
    gc.collect()
    assert not opened[0].usable


def sent_by(client: AppendClient) -> list[dict[str, bytes]]:
    """The headers of what it sends from now on."""
    found: list[dict[str, bytes]] = []
    produce = client.kafka.produce

    def seen(*record: Any, headers: Any, **options: Any) -> None:
        found.append(dict(headers))
        produce(*record, headers=headers, **options)

    client.kafka.produce = seen  # type: ignore[method-assign]
    return found


def test_events_come_with_their_own_id_time_and_headers(producer: Producer, opened: Opened) -> None:
    at = datetime(2025, 1, 2, tzinfo=UTC)
    producer.append_many(events(1))
    sent = sent_by(opened[0])
    key = Tombstone(key="k")
    producer.append_many(
        [Envelope(key, id="evt_1", time=at, headers={"a": "b"}), (key, {"c": "d"}), Envelope(key), key]
    )
    first, second, third, last = sent
    assert (first["ce_id"], first["ce_time"], first["a"]) == (b"evt_1", b"2025-01-02T00:00:00+00:00", b"b")
    assert second["c"] == b"d"
    assert len({one["ce_id"] for one in sent}) == 4
    assert third.keys() == last.keys()


def test_a_retry_has_the_id_that_was_given(producer: Producer, opened: Opened) -> None:
    producer.append_many(events(1))
    sent = sent_by(opened[0])
    fail(opened[0], lambda number: TIMED_OUT if number == 1 else None)
    with pytest.raises(AppendIncomplete) as caught:
        producer.append_many([Envelope(Tombstone(key="k"), id="evt_1")])
    assert caught.value.report.unknown[0].event_id == "evt_1"
    caught.value.retry()
    assert [one["ce_id"] for one in sent] == [b"evt_1", b"evt_1"]
    assert [RETRY_FROM in one for one in sent] == [False, True]
