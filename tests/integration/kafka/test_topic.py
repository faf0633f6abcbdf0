"""A topic that can be a log: made, described, told apart from another of its name, and refused when it loses events."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Literal

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from devstack import Stack
from logsync import ConfigError, Producer
from logsync.core.inspection import Severity
from logsync.errors import LogUnavailable
from logsync.log.admin import Kafka
from logsync.log.facts import check_topic
from logsync.log.topic import create_topic, describe, identify
from logsync.settings import Settings
from tests.waiting import PATIENCE

from .conftest import Paid, Shop


def make(settings: Settings, topic: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    new = NewTopic(topic, 1, 1, config={name.replace("_", "."): value for name, value in config.items()})
    for future in admin.create_topics([new]).values():
        future.result(PATIENCE)


def delete(settings: Settings, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka})
    for future in admin.delete_topics([topic]).values():
        future.result(PATIENCE)


def test_a_created_topic_keeps_everything(settings: Settings, unique: str) -> None:
    made = create_topic(settings, unique, partitions=3)
    facts = describe(settings, unique)
    assert (made.created, made.differences, made.facts) == (True, [], facts)
    assert (facts.identity.topic, facts.identity.partitions) == (unique, 3)
    assert (facts.cleanup_policy, facts.retention_ms, facts.retention_bytes) == ("delete", -1, -1)
    assert (facts.replication, facts.min_insync_replicas) == (1, 1)  # one broker has no more to give
    assert facts.offsets == {0: (0, 0), 1: (0, 0), 2: (0, 0)}
    assert [(each.severity, each.check) for each in check_topic(facts)] == [(Severity.NOTE, "topic.brokers")]
    assert [each.check for each in check_topic(dataclasses.replace(facts, brokers=3))] == [
        "topic.replication",
        "topic.min_insync_replicas",
    ]


def test_creating_a_topic_again_changes_nothing_and_says_how_it_differs(settings: Settings, unique: str) -> None:
    first = create_topic(settings, unique)
    again = create_topic(settings, unique)
    assert (again.created, again.differences, again.facts) == (False, [], first.facts)
    assert create_topic(settings, unique, partitions=4).differences == ["partitions is 1, expected 4"]


def test_more_replicas_than_brokers_are_refused(settings: Settings, unique: str) -> None:
    with pytest.raises(ConfigError, match="replication factor"):
        create_topic(settings, unique, replication=3)


def test_a_recreated_topic_is_another_log(settings: Settings, unique: str, shop: Shop) -> None:
    asking = Kafka(settings)
    before = asking.identify(unique)
    assert asking.identify(unique) == before == identify(settings, unique)
    delete(settings, unique)
    with pytest.raises(ConfigError, match=f"topic create {unique}"):
        asking.identify(unique)
    create_topic(settings, unique)
    after = asking.identify(unique)
    assert [text.split()[0] for text in before.differences(after)] == ["topic_id"]


def test_a_compacted_topic_is_refused(settings: Settings, unique: str) -> None:
    make(settings, unique, cleanup_policy="compact,delete", retention_ms="-1")
    with pytest.raises(ConfigError, match="compact"):
        check_topic(describe(settings, unique), frozenset([unique]))


def test_finite_retention_is_refused_unless_the_topic_is_named(settings: Settings, unique: str) -> None:
    make(settings, unique)  # the broker's default: a week
    with pytest.raises(ConfigError, match=r"retention\.ms=604800000") as caught:
        check_topic(describe(settings, unique), frozenset(["another"]))
    assert f"LOGSYNC_ACCEPT_FINITE_RETENTION='[\"{unique}\"]'" in caught.value.fix
    accepting = Settings(_env_file=None, accept_finite_retention=[unique])
    assert any(
        "accepted by name" in found.found
        for found in check_topic(describe(settings, unique), accepting.accept_finite_retention)
    )


def test_a_topic_as_it_should_be_has_no_warning(settings: Settings, unique: str) -> None:
    facts = create_topic(settings, unique).facts
    assert check_topic(dataclasses.replace(facts, replication=3, in_sync=3, min_insync_replicas=2)) == []


@pytest.mark.parametrize("which", ["first", "end"])
def test_offsets_that_nobody_tells_are_no_offsets(
    shop: Shop, stalled: Stack, wait_until: Callable[[Callable[[], bool]], None], which: Literal["first", "end"]
) -> None:
    asking = Kafka(shop.settings, timeout=0.5)
    assert asking.offsets(shop.log.topic, 1, which) == {0: 0}
    stalled.pause("kafka")

    def silent() -> bool:
        try:
            assert asking.offsets(shop.log.topic, 1, which) == {0: 0}  # asked before its last thread stood still
        except LogUnavailable:
            return True
        return False

    wait_until(silent)


def test_bounds_follow_what_is_appended(settings: Settings, shop: Shop) -> None:
    with Producer(shop.log, settings=shop.settings) as producer:
        producer.append_many(Paid(basket="b") for _ in range(5))
    assert describe(settings, shop.log.topic).offsets == {0: (0, 5)}


def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(LogUnavailable, match=rf"{servers} does not answer about t: .*Connection refused"):
            Kafka(Settings(_env_file=None, kafka=servers), timeout=1.0).identify("t")


def test_credentials_that_are_refused_are_a_matter_of_configuration_and_stay_secret(settings: Settings) -> None:
    options = {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "hunter2",
    }
    wrong = Settings(_env_file=None, kafka=settings.kafka, kafka_options=options)
    with pytest.raises(ConfigError, match="denies access") as caught:
        Kafka(wrong).identify("t")
    assert "hunter2" not in str(caught.value)
