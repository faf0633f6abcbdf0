"""AsyncProducer: the same promise, and an event loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

from devstack import Stack
from logsync import AppendOutcomeUnknown, AppendRejected, AsyncProducer, Log, Receipt
from logsync.settings import Settings

from .conftest import Open, Paid, Shop, id_of, since_of


def test_a_thousand_appends_at_once_stand_once_each(shop: Shop) -> None:
    async def main() -> list[Receipt]:
        async with AsyncProducer(shop.log, settings=shop.settings) as producer:
            return await asyncio.gather(*(producer.append(Paid(basket=f"b{number}")) for number in range(1_000)))

    receipts = asyncio.run(main())
    assert {receipt.offset: receipt.event_id for receipt in receipts} == dict(enumerate(shop.ids()))


def test_an_event_may_come_with_its_own_id_and_time(shop: Shop) -> None:
    async def main() -> Receipt:
        async with AsyncProducer(shop.log, settings=shop.settings) as producer:
            return await producer.append(Paid(basket="b"), id="evt_1", time=datetime(2025, 1, 2, tzinfo=UTC))

    assert asyncio.run(main()).event_id == "evt_1"
    (record,) = shop.records()
    assert dict(record.headers)["ce_id"] == b"evt_1"
    assert dict(record.headers)["ce_time"] == b"2025-01-02T00:00:00+00:00"


def test_a_bad_event_is_refused_without_asking_kafka() -> None:
    log = Log("nowhere")
    log.event("basket.paid", key="basket")(Paid)

    async def main() -> None:
        producer = AsyncProducer(log, settings=Settings(_env_file=None, kafka="127.0.0.1:1"))
        appending = producer.append(Paid(basket=""))
        with pytest.raises(AppendRejected, match="empty key"):
            appending.send(None)  # the first step ends it: it awaited nothing

    asyncio.run(main())


def test_the_event_loop_goes_on_while_kafka_is_not_there() -> None:
    log = Log("nowhere")
    log.event("basket.paid", key="basket")(Paid)

    async def main() -> int:
        async with AsyncProducer(
            log, settings=Settings(_env_file=None, kafka="127.0.0.1:1", append_timeout=1.0)
        ) as producer:
            appending = [asyncio.create_task(producer.append(Paid(basket="b"))) for _ in range(50)]
            turns = await turns_until(appending[0])
            assert all(
                isinstance(error, AppendRejected) for error in await asyncio.gather(*appending, return_exceptions=True)
            )
            return turns

    assert asyncio.run(main()) > 100


def test_the_event_loop_goes_on_while_kafka_stands_still(open_shop: Open, stalled: Stack) -> None:
    shop = open_shop(append_timeout=1.0)

    async def main() -> tuple[int, Receipt]:
        async with AsyncProducer(shop.log, settings=shop.settings) as producer:
            await producer.append(Paid(basket="before"))
            stalled.pause("kafka")
            appending = asyncio.create_task(producer.append(Paid(basket="b")))
            turns = await turns_until(appending)
            error = appending.exception()
            assert isinstance(error, AppendOutcomeUnknown)
            stalled.resume("kafka")
            while True:
                try:
                    return turns, await producer.retry(error, 20.0)
                except AppendOutcomeUnknown as again:
                    error = again

    turns, receipt = asyncio.run(main())
    assert turns > 100
    copies = [record for record in shop.records() if id_of(record) == receipt.event_id]
    assert [since_of(copy) for copy in copies[1:]] == [1] * len(copies[1:])
    assert Counter(map(id_of, shop.once()))[receipt.event_id] == 1


def test_a_cancelled_append_harms_no_other(shop: Shop) -> None:
    async def main() -> list[Receipt]:
        async with AsyncProducer(shop.log, settings=shop.settings) as producer:
            await producer.append(Paid(basket="first"))
            tasks = [asyncio.create_task(producer.append(Paid(basket="cancelled"))) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            receipts = await asyncio.gather(*(producer.append(Paid(basket="kept")) for _ in range(100)))
            assert all(
                isinstance(left, asyncio.CancelledError)
                for left in await asyncio.gather(*tasks, return_exceptions=True)
            )
            return receipts

    receipts = asyncio.run(main())
    stand = Counter(shop.ids())
    assert set(stand.values()) == {1}
    assert {receipt.event_id for receipt in receipts} <= stand.keys()


def test_an_append_after_close_says_so(shop: Shop) -> None:
    async def main() -> None:
        producer = AsyncProducer(shop.log, settings=shop.settings)
        await producer.append(Paid(basket="b"))
        await producer.close()
        with pytest.raises(AppendRejected, match="closed"):
            await producer.append(Paid(basket="b"))

    asyncio.run(main())
    assert len(shop.ids()) == 1


async def turns_until(task: asyncio.Task[Receipt]) -> int:
    """How often the event loop came round before the task was done."""
    turns = 0
    while not task.done():
        turns += 1
        await asyncio.sleep(0.001)
    return turns
