"""Postgres behind TLS: a certificate that does not verify halts, in words; a server elsewhere wants one.

The packaged server speaks no TLS, so a small one stands before it: it answers a client's question for TLS with yes, and
passes on what it decrypts.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from logsync.core.inspection import Severity
from logsync.errors import ConfigError, StoreUnavailable
from logsync.stores.postgres import Postgres
from logsync.stores.postgres.link import Link
from tests.integration.test_store_tls import Tls, openssl

from .conftest import Bench

Gate = Callable[..., str]


class Asked(Tls):
    """TLS as Postgres begins it: the client asks in the clear, eight bytes, and "S" is a yes."""

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError):
            raw.recv(8, socket.MSG_WAITALL)
            raw.sendall(b"S")
            super()._serve(raw)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1, and of another name."""
    folder = tmp_path_factory.mktemp("tls")
    for name, subject in (("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
        names = f"-subj /CN={name} -addext subjectAltName={subject}"
        openssl(folder, f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 {names}")
        (folder / f"{name}.key").chmod(0o600)
    return folder


@pytest.fixture
def gate(folder: Path, bench: Bench) -> Iterator[Gate]:
    """``gate(certificate, **parameters)`` puts TLS before the server and tells the address."""
    opened: list[Asked] = []

    def before(certificate: str = "good", *, asks: bool = False, **parameters: str) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
        if asks:
            context.load_verify_locations(folder / "good.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        opened.append(Asked(context, int(bench.dsn.rpartition(":")[2].partition("/")[0])))
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://logsync@127.0.0.1:{opened[-1].port}/logsync?{query}"

    yield before
    for tls in opened:
        tls.close()


def test_a_certificate_that_verifies_lets_the_worker_on(bench: Bench, gate: Gate, folder: Path) -> None:
    trusted = str(folder / "good.pem")
    bench.table("id int PRIMARY KEY")
    assert bench.store(dsn=gate(sslmode="verify-full", sslrootcert=trusted)).positions()
    own = {"sslcert": str(folder / "good.pem"), "sslkey": str(folder / "good.key")}
    assert bench.store(dsn=gate(asks=True, sslmode="verify-full", sslrootcert=trusted, **own)).positions()


@pytest.mark.parametrize(
    ("certificate", "parameters", "words"),
    [
        ("good", {"sslmode": "verify-full", "sslrootcert": "{folder}/other.pem"}, "certificate verify failed"),
        ("good", {"sslmode": "verify-ca", "sslrootcert": "{folder}/other.pem"}, "certificate verify failed"),
        ("other", {"sslmode": "verify-full", "sslrootcert": "{folder}/other.pem"}, "does not match host name"),
        ("good", {"sslmode": "verify-full", "sslrootcert": "{folder}/none.pem"}, "none.pem. does not exist"),
        ("good", {"sslmode": "require", "sslrootcert": "system"}, "weak sslmode"),
        ("good", {"sslmode": "require", "sslcert": "{folder}/good.pem", "sslkey": "{folder}/none"}, "private key file"),
    ],
)
def test_what_a_person_has_to_mend_halts(
    bench: Bench, gate: Gate, folder: Path, certificate: str, parameters: dict[str, str], words: str
) -> None:
    given = {name: value.format(folder=folder) for name, value in parameters.items()}
    with pytest.raises(ConfigError, match=f"(?s){words}.*LOGSYNC_POSTGRES"):
        bench.store(dsn=gate(certificate, **given))


def test_a_server_without_tls_is_refused_where_tls_is_wanted_and_one_that_is_down_is_waited_for(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="does not support SSL"):
        bench.store(dsn=f"{bench.dsn}?sslmode=verify-full&sslrootcert=system")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(StoreUnavailable):
        bench.store(dsn=f"postgresql://logsync@127.0.0.1:{port}/logsync?sslmode=verify-full&sslrootcert=system")


def test_a_server_elsewhere_without_verify_full_is_warned_of_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.table("id int PRIMARY KEY")
    with caplog.at_level(logging.WARNING, "logsync"):
        bench.store()
        assert caplog.records == []  # this very machine
        monkeypatch.setattr(Link, "unverified", "prefer")
        store = bench.store()
        store.open(bench.name, bench.settings)
    (record,) = caplog.records
    assert "sslmode=verify-full" in record.getMessage()
    found = Postgres(tables=[bench.name]).inspect(bench.name, bench.settings).findings
    (finding,) = [finding for finding in found if finding.check == "postgres.sslmode"]
    assert finding.severity is Severity.WARNING
