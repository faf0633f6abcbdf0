"""Events exchanged with the `cloudevents` package over a real topic, in both directions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer as KafkaProducer

from logsync import Producer
from logsync.core.codec import Decoder
from logsync.core.event import Event

from .conftest import Paid, Shop

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_what_logsync_appends_is_a_cloudevent_to_others(shop: Shop) -> None:
    before = datetime.now(UTC)
    with Producer(shop.log, settings=shop.settings) as producer:
        receipt = producer.append(Paid(basket="b1", cents=250), headers={"traceparent": TRACE})
    record = shop.records()[0]
    headers = cast("dict[str, bytes]", dict(record.headers))
    found = kafka.from_kafka_event(kafka.KafkaMessage(headers, record.key, record.value or b""))
    assert (found.get_specversion(), found.get_id(), found.get_type()) == ("1.0", receipt.event_id, "basket.paid")
    assert (found.get_source(), found.get_datacontenttype()) == (f"/{shop.log.topic}", "application/json")
    assert found.get_data() == {"basket": "b1", "cents": 250, "note": ""}
    assert found.get_extension("partitionkey") == "b1"
    assert before <= cast("datetime", found.get_time()) <= datetime.now(UTC)
    assert headers["traceparent"] == TRACE.encode()  # W3C's own header, not an attribute


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.shop+json", None])
def test_a_cloudevent_from_others_is_an_event_to_logsync(shop: Shop, content_type: str | None) -> None:
    time = datetime(2026, 3, 1, 12, 30, 0, 5, tzinfo=UTC)
    attributes = {
        "id": "A-1",
        "type": "basket.paid",
        "source": "/till/7",
        "time": time,
        "subject": "b9",
        "partitionkey": "b9",
    }
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    message = kafka.to_binary_event(CloudEvent(attributes, {"basket": "b9", "cents": 100}))
    producer = KafkaProducer({"bootstrap.servers": shop.settings.kafka})
    producer.produce(shop.log.topic, message.value, message.key, headers=list(message.headers.items()))
    assert producer.flush(20) == 0
    found = Decoder(shop.log, ["basket.paid"])(shop.records()[0])
    assert isinstance(found, Event)
    assert (found.id, found.type, found.version, found.key, found.time) == ("A-1", "basket.paid", 1, "b9", time)
    assert found.data == Paid(basket="b9", cents=100)
