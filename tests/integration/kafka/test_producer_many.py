"""append_many: order, bounded memory, and an outcome for every event when it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from devstack import Stack
from logsync import AppendIncomplete, AppendRejected, Envelope, Outcome, Producer
from logsync.log.bulk import WINDOW
from logsync.log.sending import AppendClient

from .conftest import Open, Paid, Shop, id_of


def numbers(shop: Shop) -> list[str]:
    return [(record.key or b"").decode() for record in shop.once()]


def test_all_events_are_in_the_log_in_order(shop: Shop) -> None:
    told: list[int] = []
    with Producer(shop.log, settings=shop.settings) as producer:
        report = producer.append_many(
            ((Paid(basket=str(number)), {"n": str(number)}) for number in range(20_000)), progress=told.append
        )
        assert producer.append_many([]).taken == 0
    assert numbers(shop) == [str(number) for number in range(20_000)]
    assert dict(shop.records()[7].headers)["n"] == b"7"
    assert (report.appended, report.taken, report.last, report.unknown, report.rejected) == (
        20_000,
        20_000,
        {0: 19_999},
        {},
        {},
    )
    assert told == sorted(told)
    assert told[-1] == 20_000


def test_a_hundred_calls_are_one_connection_and_one_order(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, connect = [], AppendClient.open

    def counted(*given: Any, **options: Any) -> AppendClient:
        opened.append(connect(*given, **options))
        return opened[-1]

    monkeypatch.setattr(AppendClient, "open", counted)
    at = datetime(2025, 1, 2, tzinfo=UTC)
    with Producer(shop.log, settings=shop.settings) as producer:
        for call in range(100):
            producer.append_many(Envelope(Paid(basket=f"{call}-{n}"), id=f"{call}-{n}", time=at) for n in range(3))
        assert len(opened) == 1
    assert not opened[0].usable
    expected = [f"{call}-{n}" for call in range(100) for n in range(3)]
    assert numbers(shop) == shop.ids() == expected


def test_order_holds_within_each_partition(open_shop: Open) -> None:
    shop = open_shop(partitions=3)
    with Producer(shop.log, settings=shop.settings) as producer:
        report = producer.append_many(Paid(basket=f"b{number % 50}", cents=number) for number in range(5_000))
    assert set(report.last) == {0, 1, 2}
    records = shop.records()
    for partition in range(3):
        mine = [record for record in records if record.partition == partition]
        assert [id_of(record) for record in mine] == sorted(id_of(record) for record in mine)


def test_a_bad_event_stops_the_feed_and_what_came_before_is_in_the_log(shop: Shop) -> None:
    events = iter([*(Paid(basket=str(number)) for number in range(1_000)), Paid(basket=""), Paid(basket="after")])
    with Producer(shop.log, settings=shop.settings) as producer:
        with pytest.raises(AppendIncomplete, match="empty key") as caught:
            producer.append_many(events)
        report = caught.value.report
        assert (report.appended, report.taken, list(report.rejected)) == (1_000, 1_001, [1_000])
        assert isinstance(report.rejected[1_000], AppendRejected)
        assert [report.outcome(at) for at in (0, 999, 1_000, 1_001)] == [
            Outcome.APPENDED,
            Outcome.APPENDED,
            Outcome.REJECTED,
            Outcome.NOT_SENT,
        ]
        producer.append_many(events)  # the iterator stands behind what was taken
    assert numbers(shop) == [*map(str, range(1_000)), "after"]


def test_an_iterable_that_raises_is_told_with_what_was_appended(shop: Shop) -> None:
    def events() -> Iterator[Paid]:
        yield from (Paid(basket=str(number)) for number in range(500))
        raise OSError("the file ended early")

    with (
        Producer(shop.log, settings=shop.settings) as producer,
        pytest.raises(AppendIncomplete, match="the file ended early") as caught,
    ):
        producer.append_many(events())
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.report.appended == caught.value.report.taken == 500
    assert len(shop.records()) == 500


def test_when_kafka_stalls_every_event_has_an_outcome_and_retries_lose_and_double_nothing(
    open_shop: Open, stalled: Stack, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    shop = open_shop(append_timeout=2.0)
    fed = 0

    def events() -> Iterator[Paid]:
        nonlocal fed
        for number in range(50_000):
            if number == 10_000:
                stalled.pause("kafka")
            fed = number + 1
            yield Paid(basket=str(number))

    feed = events()
    with Producer(shop.log, settings=shop.settings) as producer:
        with pytest.raises(AppendIncomplete) as caught:
            producer.append_many(feed)
        report = caught.value.report
        stalled.resume("kafka")
        assert report.taken == fed  # the feed stopped at the first failure
        assert 0 < len(report.unknown) <= WINDOW  # and was never further ahead than this
        assert report.appended + len(report.unknown) == report.taken
        assert report.outcome(report.taken) is Outcome.NOT_SENT
        error = caught.value
        while True:
            try:
                assert error.retry().appended == report.taken
                break
            except AppendIncomplete as again:
                error = again
        producer.append_many(feed)
    found = numbers(shop)
    assert sorted(found, key=int) == [str(number) for number in range(50_000)]
    # Around the failure a broker may have taken a later batch without the one before it (A2). All else is in order.
    first = min(report.unknown)
    around = range(first, report.taken)
    assert [number for number in found if int(number) not in around] == [
        str(number) for number in range(50_000) if number not in around
    ]


def test_single_appends_go_on_while_append_many_fails(shop: Shop) -> None:
    """append_many gives up its own queue, and nobody else's."""

    def events() -> Iterator[Paid]:
        yield from (Paid(basket="many") for _ in range(3_000))
        yield Paid(basket="")

    with Producer(shop.log, settings=shop.settings) as producer, ThreadPoolExecutor(5) as pool:
        single = [pool.submit(producer.append, Paid(basket="single")) for _ in range(200)]
        for _ in range(3):
            with pytest.raises(AppendIncomplete):
                producer.append_many(events())
        receipts = [one.result() for one in single]
    assert numbers(shop).count("single") == len(receipts) == 200
    assert numbers(shop).count("many") == 9_000
