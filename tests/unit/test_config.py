"""Kafka's settings: what carries a guarantee cannot be changed, and what is secret is never shown."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from logsync.errors import ConfigError
from logsync.log.config import REFUSED, admin_config, build, consumer_config, producer_config
from logsync.settings import Settings, load_settings


def settings(**options: str) -> Settings:
    return Settings(_env_file=None, kafka="kafka.test:9092", kafka_options=options)


@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_would_break_the_promise_is_refused_by_name_with_its_reason(name: str) -> None:
    for config in (admin_config, producer_config, lambda settings: consumer_config(settings, "g")):
        with pytest.raises(ConfigError) as caught:
            config(settings(**{name: "true"}))
        assert f"may not set {name}: {REFUSED[name]}" in str(caught.value)


def test_the_guarantees_are_in_the_configuration() -> None:
    producer = producer_config(Settings(_env_file=None, append_timeout=1.5))
    assert (producer["enable.idempotence"], producer["acks"], producer["message.timeout.ms"]) == (True, "all", 1500)
    consumer = consumer_config(settings(), "logsync.test.db")
    assert {name: consumer[name] for name in GUARANTEES} == GUARANTEES
    assert consumer["group.id"] == "logsync.test.db"


GUARANTEES = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "partition.assignment.strategy": "cooperative-sticky",
    "allow.auto.create.topics": False,
}


def test_everything_else_may_be_set_and_wins() -> None:
    mine = {"security.protocol": "sasl_ssl", "compression.type": "zstd", "queued.min.messages": "7", "client.id": "me"}
    assert producer_config(settings(**mine)).items() >= mine.items()
    assert consumer_config(settings(**mine), "g").items() >= mine.items()


@pytest.mark.parametrize(
    "config", [admin_config(settings()), producer_config(settings()), consumer_config(settings(), "g")]
)
def test_librdkafka_knows_every_key_that_is_set(config: dict[str, object]) -> None:
    client = Consumer if "group.id" in config else Producer
    build(client, {**config, "bootstrap.servers": ""})  # type: ignore[dict-item]


def test_a_poll_interval_shorter_than_a_store_call_is_refused() -> None:
    with pytest.raises(ConfigError, match="LOGSYNC_STORE_TIMEOUT"):
        consumer_config(settings(**{"max.poll.interval.ms": "45000"}), "g")


@pytest.mark.parametrize(
    "options",
    [
        {"sasl.pasword": "hunter2"},  # misspelt
        {"security.protocol": "hunter2"},  # a value in the wrong place
        {"sasl.mechanism": "hunter2", "security.protocol": "sasl_ssl"},
        {"ssl.key.pem": "hunter2", "security.protocol": "ssl"},
        {"session.timeout.ms": "hunter2"},
    ],
)
def test_no_value_of_an_option_is_ever_shown(options: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    secret = settings(**options)
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as caught:
        build(AdminClient, admin_config(secret))  # type: ignore[arg-type]
    assert "LOGSYNC_KAFKA_OPTIONS" in str(caught.value)
    for text in (str(caught.value), repr(secret), caplog.text, str(caught.value.__cause__)):
        assert "hunter2" not in text


def test_an_option_that_is_not_text_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", '{"sasl.password": 712345}')
    with pytest.raises(ConfigError, match="LOGSYNC_KAFKA_OPTIONS") as caught:
        load_settings()
    assert "712345" not in str(caught.value)


def test_a_trouble_that_repeats_is_logged_once_and_remarks_never(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("logsync.kafka")
    with caplog.at_level(logging.INFO, logger="logsync.kafka"):
        for attempt in range(3):
            log.error("FAIL [c] x:1: Connect failed: Connection refused (after %dms in state CONNECT)", attempt)
        log.warning("CONFWARN Configuration property acks is a producer property and will be ignored by this consumer")
        log.error("FAIL another")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
