"""Who follows the advice that the refusal of a large event gives gets it into the log, and out of it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from logsync import AppendRejected, Event, Producer, Sink
from logsync.run import run_worker
from logsync.settings import Settings, load_settings
from logsync.stores.memory import Memory
from tests.waiting import PATIENCE

from .conftest import Open, Paid

SIZE = 3_000_000


def append(shop: Any, settings: Settings) -> None:
    with Producer(shop.log, settings=settings) as producer:
        producer.append(Paid(basket="b", note=os.urandom(SIZE // 2).hex()))


def allow(servers: str, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": servers})
    for change in admin.incremental_alter_configs([resource]).values():
        change.result(PATIENCE)


def test_a_large_event_gets_through_for_whoever_does_what_each_refusal_says(
    open_shop: Open, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop()
    with pytest.raises(AppendRejected) as caught:
        append(shop, settings)
    assert '"message.max.bytes" in LOGSYNC_KAFKA_OPTIONS' in caught.value.fix

    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", '{"message.max.bytes": 5000000}')
    raised = load_settings()
    with pytest.raises(AppendRejected) as caught:
        append(shop, raised)
    assert f"--topic {shop.log.topic} --add-config max.message.bytes" in caught.value.fix

    allow(settings.kafka, shop.log.topic, 5_000_000)
    append(shop, raised)

    sizes: list[int] = []
    sink = Sink("large", shop.log, Memory())

    @sink.on(Paid)
    def paid(event: Event[Paid]) -> list[Any]:
        sizes.append(len(event.data.note))
        return []

    run_worker(sink, raised, until_end=True)
    assert sizes == [SIZE]
