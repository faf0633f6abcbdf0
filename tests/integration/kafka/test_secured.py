"""A broker behind TLS and passwords: what is wrong is said at once, and no secret with it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from logsync import ConfigError
from logsync.log.admin import Kafka
from logsync.settings import Settings
from tests.waiting import PATIENCE

from .cluster import Cluster

PASSWORD = "hunter2-of-the-writer"
AUTHORITY = """
[ca]
default_ca = own
[own]
database = index
serial = serial
unique_subject = no
copy_extensions = copy
new_certs_dir = .
default_md = sha256
policy = names
[names]
commonName = supplied
"""


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, **dates: str) -> None:
    """A key of 127.0.0.1, and a certificate of each name for it with these dates, as openssl takes them."""
    (folder / "authority").write_text(AUTHORITY)
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    subject = "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    openssl(folder, f"req -new -newkey rsa:2048 -nodes -keyout key -out request {subject}")
    for name, when in dates.items():
        openssl(folder, f"ca -batch -selfsign -notext -config authority -keyfile key -in request -out {name} {when}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, and a certificate for it that expired years ago."""
    folder = tmp_path_factory.mktemp("secured")
    certify(folder, expired="-startdate 20200101000000Z -enddate 20210101000000Z")
    (folder / "store").write_text((folder / "key").read_text() + (folder / "expired").read_text())
    return folder


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[Cluster]:
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_writer="{PASSWORD}";'
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "store"),
        "sasl.enabled.mechanisms": "PLAIN",
        "plain.sasl.jaas.config": login,
    }
    own = {f"listener.name.secure.{name}": value for name, value in settings.items()}
    broker = Cluster(folder / "nodes", 1, listeners={"SECURE": "SASL_SSL"}, **own)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.mark.parametrize(
    ("more", "password", "says"),
    [
        ({"ssl.ca.location": "expired"}, PASSWORD, "the certificate of Kafka"),
        ({"enable.ssl.certificate.verification": "false"}, PASSWORD[:-1] + "x", "Invalid username or password"),
    ],
    ids=["expired certificate", "wrong password"],
)
def test_what_is_wrong_is_said_without_the_secret(
    broker: Cluster, folder: Path, more: dict[str, str], password: str, says: str
) -> None:
    options = {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "writer", **more}
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "LOGSYNC_KAFKA": broker.address("SECURE"),
        "LOGSYNC_KAFKA_OPTIONS": json.dumps({**options, "sasl.password": password}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "logsync.cli", "topic", "describe", "shop.events"],
        cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 3, told
    assert says in told
    assert "LOGSYNC_KAFKA_OPTIONS" in told  # where to mend it
    assert password not in told


def test_a_certificate_that_does_not_verify_is_remembered_until_there_is_an_answer() -> None:
    """The client tells it once and is silent while it repeats: the later questions must not seem an outage."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        asking = Kafka(Settings(_env_file=None, kafka=where), timeout=0.5)
        asking._last(KafkaError(KafkaError._SSL, "SSL handshake failed: certificate verify failed"))
        for _ in range(2):
            with pytest.raises(ConfigError, match="the certificate of Kafka"):
                asking.identify("t")
