"""What a retry costs its consumers: the range that it names stays short, and always holds the original. # A1"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from devstack import Stack
from logsync import AppendOutcomeUnknown, ConfigError, Producer, Receipt
from logsync.errors import LogUnavailable
from logsync.log import ends
from logsync.log.sending import AppendClient
from logsync.log.topic import describe

from .conftest import Open, Paid, Shop, id_of, since_of

Wait = Callable[[Callable[[], bool]], None]
OTHERS = 3_000  # events that another writer appends


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "EVERY", 0.1)


def append_others(shop: Shop) -> None:
    with Producer(shop.log, settings=shop.settings.model_copy(update={"append_timeout": 60.0})) as other:
        other.append_many(Paid(basket=f"other{number}") for number in range(OTHERS))


def leads(shop: Shop) -> bool:
    """The broker that was started answers at once, and leads its partitions a moment later."""
    try:
        return describe(shop.settings, shop.log.topic).offsets[0] == (0, 1)
    except (ConfigError, LogUnavailable):
        return False


def appended(producer: Producer) -> Receipt:
    """One event, also if Kafka is slow after what a test before did to it; these producers give up after a second."""
    try:
        return producer.append(Paid(basket="before"), timeout=30.0)
    except AppendOutcomeUnknown as error:
        return retry(error)


def unknown(producer: Producer) -> AppendOutcomeUnknown:
    """Append while Kafka stands still, until the client gives up."""
    with pytest.raises(AppendOutcomeUnknown, match="timed out") as caught:
        producer.append(Paid(basket="b"), timeout=30.0)
    return caught.value


def retry(error: AppendOutcomeUnknown) -> Receipt:
    while True:
        try:
            return error.retry(timeout=10.0)
        except AppendOutcomeUnknown as again:
            error = again


def test_a_quiet_writer_names_a_short_range_although_others_appended_much(
    open_shop: Open, stalled: Stack, wait_until: Wait
) -> None:
    shop = open_shop(append_timeout=1.0)
    with Producer(shop.log, settings=shop.settings) as quiet:
        known = appended(quiet).offset + 1
        client = quiet.open_client
        assert client is not None
        append_others(shop)
        wait_until(lambda: client.ends == [known + OTHERS])
        stalled.pause("kafka")
        error = unknown(quiet)
        stalled.resume("kafka")
        receipt = retry(error)
    copies = [record for record in shop.records() if id_of(record) == receipt.event_id]
    assert since_of(copies[-1]) == known + OTHERS
    assert all(copy.offset >= known + OTHERS for copy in copies)
    assert Counter(map(id_of, shop.once()))[receipt.event_id] == 1


def test_an_end_that_was_read_after_the_first_attempt_is_not_the_range_of_its_retry(
    open_shop: Open, stalled: Stack, wait_until: Wait
) -> None:
    shop = open_shop(append_timeout=1.0)
    with Producer(shop.log, settings=shop.settings) as producer:
        known = appended(producer).offset + 1
        client = producer.open_client
        assert client is not None
        stalled.pause("kafka")
        error = unknown(producer)
        stalled.resume("kafka")
        append_others(shop)
        wait_until(lambda: client.ends[0] >= known + OTHERS)
        receipt = retry(error)
    copies = [record for record in shop.records() if id_of(record) == receipt.event_id]
    assert since_of(copies[-1]) == known
    assert Counter(map(id_of, shop.once()))[receipt.event_id] == 1


@pytest.mark.parametrize("polls", [True, False])
def test_ends_are_followed_in_every_partition_until_the_client_is_closed_or_forgotten(
    open_shop: Open, wait_until: Wait, polls: bool
) -> None:
    shop = open_shop(partitions=3)
    before = set(threading.enumerate())
    for close in (True, False):
        client = AppendClient.open(shop.log, shop.settings, 10.0, linger=0, polls=polls)
        held = client.ends
        append_others(shop)
        stand = Counter(record.partition for record in shop.records())
        wait_until(lambda held=held, stand=stand: held == [stand[number] for number in range(3)])  # type: ignore[misc]
        if close:
            client.close(1.0)
        del client
        gc.collect()
        wait_until(lambda: set(threading.enumerate()) <= before)


def test_an_end_that_cannot_be_read_stays_and_is_read_again_later(
    shop: Shop, stalled: Stack, wait_until: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append(Paid(basket="before"))
    impatient = shop.settings.model_copy(update={"append_timeout": 0.5})
    client = AppendClient.open(shop.log, impatient, 10.0, linger=0)
    stalled.pause("kafka")
    wait_until(lambda: "the log's ends could not be read again" in caplog.text)
    assert client.ends == [1]
    stalled.resume("kafka")
    stalled.restart("kafka")  # its partition gets another leader, or the same one anew
    wait_until(lambda: leads(shop))
    append_others(shop)
    wait_until(lambda: client.ends == [1 + OTHERS])
    client.close(1.0)
