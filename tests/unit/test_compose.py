"""docker-compose.yml is never started here; what can be said without an engine is said here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import NAMES, kafka, opensearch, postgres, redis
from devstack.stack import SERVERS

COMPOSE: dict[str, Any] = yaml.safe_load((Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VERSIONS = {kind.name: kind.version for kind in SERVERS}
IMAGES = {
    "kafka": "apache/kafka",
    "postgres": "postgres",
    "redis": "redis",
    "opensearch": "opensearchproject/opensearch",
}


def test_it_has_the_four_servers_of_devstack() -> None:
    assert set(SERVICES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_to_a_full_version(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    assert image == IMAGES[name]
    assert re.fullmatch(r"\d+(\.\d+){1,2}", tag)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "postgres"])
def test_an_image_is_the_version_that_devstack_runs(name: str) -> None:
    assert SERVICES[name]["image"].endswith(f":{VERSIONS[name]}")


def test_postgres_is_the_major_version_that_devstack_runs() -> None:
    assert SERVICES["postgres"]["image"].startswith(f"postgres:{VERSIONS['postgres'].split('.')[0]}.")


@pytest.mark.parametrize("name", NAMES)
def test_a_service_says_when_it_is_healthy(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= set(check)


@pytest.mark.parametrize("name", NAMES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    assert SERVICES[name]["ports"]
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", NAMES)
def test_data_outlives_the_container(name: str) -> None:
    volumes = [volume.partition(":")[0] for volume in SERVICES[name]["volumes"]]
    assert volumes == [name]
    assert name in COMPOSE["volumes"]


def test_kafka_has_devstacks_settings() -> None:
    environment = SERVICES["kafka"]["environment"]
    wanted = {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in kafka.SETTINGS.items()}
    assert environment == {**environment, **wanted}
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_postgres_has_devstacks_settings() -> None:
    command, environment = SERVICES["postgres"]["command"], SERVICES["postgres"]["environment"]
    assert command == ["postgres", *(part for k, v in postgres.SETTINGS.items() for part in ("-c", f"{k}={v}"))]
    assert environment["POSTGRES_INITDB_ARGS"].split() == list(postgres.INITDB)
    assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == (postgres.USER, postgres.DATABASE)


def test_redis_has_devstacks_settings() -> None:
    command = SERVICES["redis"]["command"]
    assert command == ["redis-server", *(part for k, v in redis.SETTINGS.items() for part in (f"--{k}", v))]
    assert redis.SETTINGS["appendonly"] == "yes"


def test_opensearch_has_devstacks_settings_and_no_security_plugin() -> None:
    environment = SERVICES["opensearch"]["environment"]
    assert environment == {**environment, **opensearch.SETTINGS}
    assert environment["action.auto_create_index"] == "false"
    assert environment["DISABLE_SECURITY_PLUGIN"] == "true"


def test_no_value_is_taken_for_a_boolean_or_a_number_by_yaml() -> None:
    for service in SERVICES.values():
        for value in [*service.get("environment", {}).values(), *service.get("command", [])]:
            assert isinstance(value, str), json.dumps(value)
