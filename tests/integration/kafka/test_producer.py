"""Appending one event: what a receipt proves, and what each error says about the log."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from devstack import Stack
from logsync import AppendOutcomeUnknown, AppendRejected, ConfigError, Log, Producer, Receipt, Tombstone
from logsync.core.codec import Decoder
from logsync.core.event import Event
from logsync.log.lookup import Lookup
from logsync.settings import Settings
from tests.waiting import PATIENCE

from .conftest import Open, Paid, Shop, id_of, since_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_receipt_names_the_place_where_the_event_stands(shop: Shop) -> None:
    before = datetime.now(UTC)
    with Producer(shop.log, settings=shop.settings) as producer:
        first = producer.append(Paid(basket="b1", cents=250), headers={"traceparent": TRACE, "tracestate": "a=b"})
        second = producer.append(Tombstone(key="b1", of="basket.paid"))
    assert (first.offset, second.offset, first.partition, first.topic) == (0, 1, 0, shop.log.topic)
    paid, gone = map(Decoder(shop.log, ["basket.paid", Tombstone.TYPE]), shop.records())
    assert isinstance(paid, Event)
    assert (paid.id, paid.type, paid.key, paid.data) == (
        first.event_id,
        "basket.paid",
        "b1",
        Paid(basket="b1", cents=250),
    )
    assert before <= paid.time <= datetime.now(UTC)
    assert paid.traceparent == TRACE
    assert isinstance(gone, Event)
    assert (gone.id, gone.data) == (second.event_id, Tombstone(key="b1", of="basket.paid"))


def test_an_id_and_a_time_that_the_caller_gives_stand_in_the_log_and_are_found(shop: Shop) -> None:
    at = datetime(2025, 1, 2, 3, 4, tzinfo=UTC)
    with Producer(shop.log, settings=shop.settings) as producer:
        receipt = producer.append(Paid(basket="b1"), id="12345", time=at)
        producer.append(Paid(basket="b2"), id="12345")
        producer.append(Paid(basket="b3"))
    first, *_ = shop.records()
    found = Decoder(shop.log, ["basket.paid"])(first)
    assert isinstance(found, Event)
    assert (found.id, found.time, receipt.event_id) == ("12345", at, "12345")
    with Lookup(shop.settings, shop.log.topic) as lookup:
        assert [record.offset for record in lookup.find("12345", progress=lambda *_: None)] == [0, 1]


def test_many_threads_append_through_one_producer_each_event_once(shop: Shop) -> None:
    with Producer(shop.log, settings=shop.settings) as producer, ThreadPoolExecutor(20) as pool:
        receipts = list(pool.map(lambda number: producer.append(Paid(basket=f"b{number}")), range(400)))
    places = {record.offset: id_of(record) for record in shop.records()}
    assert len(places) == 400
    assert {receipt.offset: receipt.event_id for receipt in receipts} == places


def test_events_of_one_key_stay_in_one_partition_the_one_that_java_would_choose(open_shop: Open) -> None:
    shop = open_shop(partitions=7)
    with Producer(shop.log, settings=shop.settings) as producer:
        receipts = {key: [producer.append(Paid(basket=key)) for _ in range(3)] for key in JAVA}
    for key, found in receipts.items():
        assert {receipt.partition for receipt in found} == {JAVA[key] % 7}
        assert [receipt.offset for receipt in found] == sorted(receipt.offset for receipt in found)


JAVA = {  # Utils.toPositive(Utils.murmur2(key)): the vectors of Kafka's own UtilsTest
    "21": -973932308 & 0x7FFFFFFF,
    "foobar": -790332482 & 0x7FFFFFFF,
    "a-little-bit-long-string": -985981536 & 0x7FFFFFFF,
    "a-little-bit-longer-string": -1486304829 & 0x7FFFFFFF,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971 & 0x7FFFFFFF,
    "abc": 479470107 & 0x7FFFFFFF,
}


class Stranger(BaseModel):
    basket: str


@pytest.mark.parametrize(
    ("event", "headers", "says"),
    [
        (Stranger(basket="b"), {}, "Stranger is not an event of"),
        (Paid(basket=""), {}, "empty key"),
        (Paid(basket="b", note="x" * 1_100_000), {}, "make the event smaller"),
        (Paid(basket="b"), {"ce_id": "mine"}, "reserved"),
        (Paid(basket="b"), {"traceparent": "nonsense"}, "traceparent"),
        (Paid(basket="b", note="\ud800"), {}, "cannot be written as JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_event_is_refused_and_nothing_is_sent(
    shop: Shop, event: BaseModel, headers: dict[str, str], says: str
) -> None:
    with Producer(shop.log, settings=shop.settings) as producer:
        with pytest.raises(AppendRejected, match=says):
            producer.append(event, headers=headers)
        assert producer.append(Paid(basket="good")).offset == 0


def test_an_event_of_900_kb_is_ordinary(shop: Shop) -> None:
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append(Paid(basket="b", note="x" * 900_000))
    assert len(shop.records()[0].value or b"") > 900_000


def test_a_topic_that_does_not_exist_is_refused_with_the_command_that_makes_it(settings: Settings, unique: str) -> None:
    log = Log(unique)
    log.event("basket.paid", key="basket")(Paid)
    with Producer(log, settings=settings) as producer, pytest.raises(AppendRejected, match=f"topic create {unique}"):
        producer.append(Paid(basket="b"))


def test_without_kafka_an_append_is_refused_because_nothing_was_sent() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings = Settings(_env_file=None, kafka=f"127.0.0.1:{nobody.getsockname()[1]}")
        log = Log("absent")
        log.event("basket.paid", key="basket")(Paid)
        with Producer(log, settings=settings) as producer:
            with pytest.raises(AppendRejected, match="nothing was sent"):
                producer.append(Paid(basket="b"), timeout=0.5)
            with ThreadPoolExecutor(8) as pool:  # all wait for one opening, none longer than its own time
                waiting = [pool.submit(producer.append, Paid(basket="b"), timeout=0.5) for _ in range(8)]
            assert all(isinstance(one.exception(), AppendRejected) for one in waiting)


def test_settings_that_would_break_the_promise_are_refused_before_anything_opens() -> None:
    with pytest.raises(ConfigError, match=r"enable\.idempotence"):
        Producer(Log("t"), settings=Settings(_env_file=None, kafka_options={"enable.idempotence": "false"}))


def test_a_late_original_is_waited_for_and_stands_once(open_shop: Open, stalled: Stack) -> None:
    shop = open_shop(append_timeout=60.0)
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append(Paid(basket="before"))
        stalled.pause("kafka")
        with pytest.raises(AppendOutcomeUnknown) as caught:
            producer.append(Paid(basket="b"), timeout=0.3)
        with pytest.raises(AppendOutcomeUnknown) as again:
            caught.value.retry(timeout=0.1)
        stalled.resume("kafka")
        receipt = again.value.retry()
    assert receipt.event_id == caught.value.event_id
    assert shop.ids()[1:] == [receipt.event_id]


def test_a_retry_after_the_client_gave_up_cannot_double_the_event(open_shop: Open, stalled: Stack) -> None:
    """The original was on the wire when the broker stood still: it lands when the broker goes on, and so does the
    retry. The retry must stand behind it, marked with a range that contains it."""
    shop = open_shop(append_timeout=1.0)
    with Producer(shop.log, settings=shop.settings) as producer:
        known = producer.append(Paid(basket="before")).offset + 1
        stalled.pause("kafka")
        with pytest.raises(AppendOutcomeUnknown) as caught:
            producer.append(Paid(basket="b"))
        with pytest.raises(AppendOutcomeUnknown) as again:  # the client gives up the first, and then this one
            caught.value.retry(timeout=5.0)
        stalled.resume("kafka")
        error, receipt = again.value, None
        while receipt is None:
            try:
                receipt = error.retry(timeout=10.0)
            except AppendOutcomeUnknown as unknown:
                error = unknown
        producer.append(Paid(basket="after"))
    copies = [record for record in shop.records() if id_of(record) == receipt.event_id]
    assert (copies[-1].offset, since_of(copies[-1])) == (receipt.offset, receipt.since)
    assert [since_of(copy) for copy in copies[1:]] == [known] * len(copies[1:])  # a retry of a retry keeps the bound
    assert all(copy.offset >= known for copy in copies)
    assert Counter(id_of(record) for record in shop.once())[receipt.event_id] == 1
    assert len(shop.once()) == 3


def test_an_append_that_the_client_gave_up_may_be_in_the_log(open_shop: Open, stalled: Stack) -> None:
    shop = open_shop(append_timeout=1.0)
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append(Paid(basket="before"))
        stalled.pause("kafka")
        with pytest.raises(AppendOutcomeUnknown, match="timed out") as caught:
            producer.append(Paid(basket="b"), timeout=30.0)
        stalled.resume("kafka")
        producer.append(Paid(basket="after"), timeout=30.0)
    assert Counter(shop.ids())[caught.value.event_id] <= 1  # mostly it is there


def test_a_retry_is_refused_when_its_producer_is_gone(open_shop: Open, stalled: Stack) -> None:
    shop = open_shop(append_timeout=1.0)
    producer = Producer(shop.log, settings=shop.settings)
    producer.append(Paid(basket="before"))
    stalled.pause("kafka")
    with pytest.raises(AppendOutcomeUnknown) as caught:
        producer.append(Paid(basket="b"))
    producer.close(timeout=0.1)
    stalled.resume("kafka")
    with pytest.raises(AppendOutcomeUnknown, match="no other producer may send it"):
        caught.value.retry()
    assert Counter(shop.ids())[caught.value.event_id] <= 1


def test_appending_goes_on_after_the_broker_was_killed(open_shop: Open, stalled: Stack) -> None:
    shop = open_shop(append_timeout=60.0)
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append(Paid(basket="b0"))
        stalled.kill("kafka")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(producer.append, Paid(basket="b1"))
            stalled.start("kafka")
            receipt = waiting.result()
        assert producer.append(Paid(basket="b2")).offset == 2
    assert shop.ids()[1] == receipt.event_id
    assert len(shop.ids()) == 3


def test_what_the_broker_refuses_is_surely_not_in_the_log(settings: Settings, unique: str, shop: Shop) -> None:
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    small = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for future in admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, unique, incremental_configs=[small])]
    ).values():
        future.result(PATIENCE)
    plain = shop.settings.model_copy(
        update={"kafka_options": Settings(kafka_options={"compression.type": "none"}).kafka_options}
    )
    with Producer(shop.log, settings=plain) as producer:
        with pytest.raises(AppendRejected, match=r"max\.message\.bytes of the topic"):
            producer.append(Paid(basket="b", note="x" * 2_000))
        receipt = producer.append(Paid(basket="b"))
    assert shop.ids() == [receipt.event_id]


def test_every_append_during_close_has_an_outcome(shop: Shop) -> None:
    producer = Producer(shop.log, settings=shop.settings)
    producer.append(Paid(basket="first"))
    outcomes: list[Receipt | AppendRejected | AppendOutcomeUnknown] = []
    under_way = threading.Semaphore(0)

    def appends() -> None:
        while True:
            try:
                outcomes.append(producer.append(Paid(basket="b")))
            except (AppendRejected, AppendOutcomeUnknown) as error:
                outcomes.append(error)
                return
            finally:
                under_way.release()

    threads = [threading.Thread(target=appends) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        under_way.acquire()
    producer.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert [
        str(outcome) for outcome in outcomes if isinstance(outcome, AppendRejected) and "closed" not in str(outcome)
    ] == []
    known = {outcome.event_id for outcome in outcomes if isinstance(outcome, Receipt)}
    unknown = {outcome.event_id for outcome in outcomes if isinstance(outcome, AppendOutcomeUnknown)}
    stand = shop.ids()[1:]
    assert len(stand) == len(set(stand))
    assert known <= set(stand) <= known | unknown


def test_closing_while_kafka_stands_still_ends_and_leaves_the_outcome_unknown(
    open_shop: Open, stalled: Stack, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    shop = open_shop(append_timeout=60.0)
    producer = Producer(shop.log, settings=shop.settings)
    producer.append(Paid(basket="before"))
    stalled.pause("kafka")
    client = producer.open_client
    assert client is not None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(producer.append, Paid(basket="b"))
        wait_until(lambda: len(client.kafka) > 0)
        producer.close(timeout=0.2)
        assert isinstance(waiting.exception(20), AppendOutcomeUnknown)


def test_ids_of_one_process_are_in_the_order_they_were_made(shop: Shop) -> None:
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append_many(Paid(basket=str(number)) for number in range(5_000))
    assert shop.ids() == sorted(shop.ids())
