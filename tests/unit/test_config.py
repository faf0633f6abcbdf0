"""Kafka's settings: what carries a guarantee cannot be changed, and what is secret is never shown."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from logsync.errors import ConfigError
from logsync.log.config import REFUSED, admin_config, build, consumer_config, producer_config
from logsync.settings import Settings


def settings(**options: str) -> Settings:
    return Settings(_env_file=None, kafka="kafka.test:9092", kafka_options=options)


@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_would_break_the_promise_is_refused_by_name_with_its_reason(name: str) -> None:
    for config in (admin_config, producer_config, lambda settings: consumer_config(settings, "g")):
        with pytest.raises(ConfigError) as caught:
            config(settings(**{name: "true"}))
        assert f"may not set {name}: {REFUSED[name]}" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in REFUSED if not name.startswith("ut_")])
def test_the_prefix_that_librdkafka_takes_for_every_key_hides_none(name: str) -> None:
    with pytest.raises(ConfigError, match=r"may not set topic\."):
        producer_config(settings(**{f"topic.{name}": "true"}))


@pytest.mark.parametrize(
    ("mine", "ours"),
    [
        ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
        ("compression.codec", "compression.type"),
        ("topic.compression.type", "compression.type"),
    ],
)
def test_another_name_of_a_key_replaces_what_logsync_sets(mine: str, ours: str) -> None:
    made = producer_config if "compression" in mine else lambda given: consumer_config(given, "g")
    assert ours in made(settings())
    assert ours not in made(settings(**{mine: "7"}))


@pytest.mark.parametrize("largest", ["1000001", "30000000", "99999999", "250000000", "1000000000"])
def test_a_consumer_starts_with_the_bound_that_a_producer_needs_and_can_receive_as_much(largest: str) -> None:
    """One list of options serves both: what the refusal of a large event advises must not end every worker."""
    options = settings(**{"message.max.bytes": largest})
    assert producer_config(options)["message.max.bytes"] == largest
    consumer = consumer_config(options, "g")
    assert int(str(consumer.get("receive.message.max.bytes", 100_000_000))) > int(largest)
    build(Consumer, {**consumer, "bootstrap.servers": ""}).close()
    build(Producer, {**producer_config(options), "bootstrap.servers": ""})


@pytest.mark.parametrize(
    "options",
    [
        {"message.max.bytes": "hunter2"},
        {"message.max.bytes": "1000000001"},
        {"max.poll.interval.ms": "hunter2"},
        {"max.poll.interval.ms": "-1"},
        {"max.in.flight": "10"},
        {"oauth_cb": "hunter2"},
        {"stats_cb": "hunter2"},
        {"on_commit": "hunter2"},
        {"plugin.library.paths": "hunter2"},
        {"debug": "hunter2"},
        {"ACKS": "all"},
        {" linger.ms": "5"},
        {"": ""},
        {"topic.topic.acks": "0"},
    ],
)
def test_an_option_that_librdkafka_does_not_take_is_a_config_error(options: dict[str, str]) -> None:
    def make() -> None:
        build(Producer, producer_config(settings(**options)))
        build(Consumer, consumer_config(settings(**options), "g"))

    with pytest.raises(ConfigError, match="LOGSYNC_KAFKA_OPTIONS") as caught:
        make()
    assert "hunter2" not in str(caught.value)


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


def test_a_trouble_that_repeats_is_logged_once_and_remarks_never(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("logsync.kafka")
    with caplog.at_level(logging.INFO, logger="logsync.kafka"):
        for attempt in range(3):
            log.error("FAIL [c] x:1: Connect failed: Connection refused (after %dms in state CONNECT)", attempt)
        log.warning("CONFWARN Configuration property acks is a producer property and will be ignored by this consumer")
        log.error("FAIL another")
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_the_client_s_log_lines_hold_no_known_secret(caplog: pytest.LogCaptureFixture) -> None:
    settings(**{"sasl.password": "hunter2"})
    log = logging.getLogger("logsync.kafka")
    with caplog.at_level(logging.INFO, logger="logsync.kafka"):
        log.error("FAIL [c] hunter2@x:1: %s", "cannot resolve hunter2@x")
    assert caplog.messages == ["FAIL [c] ***@x:1: cannot resolve ***@x"]
