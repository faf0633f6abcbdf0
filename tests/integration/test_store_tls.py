"""Redis and OpenSearch behind TLS: what a person has to mend halts at once, in words, and what is right works.

The packaged servers speak no TLS, so a small one stands before them and passes on what it decrypts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from logsync.errors import ConfigError, StoreError
from logsync.settings import Settings
from logsync.stores.opensearch import OpenSearch
from logsync.stores.redis import Redis

pytestmark = pytest.mark.servers("redis", "opensearch")


class Tls:
    """Ends TLS and passes on to a port of this machine; one thread each way of each connection."""

    def __init__(self, context: ssl.SSLContext, upstream: int) -> None:
        self._context, self._upstream = context, upstream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                raw, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            raw,
            self._context.wrap_socket(raw, server_side=True) as near,
            socket.create_connection(("127.0.0.1", self._upstream)) as far,
        ):
            threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
            self._pass(near, far)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, a certificate of 127.0.0.1 for it, and one of another name."""
    folder = tmp_path_factory.mktemp("tls")
    for name, subject in (("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
        names = f"-subj /CN={name} -addext subjectAltName={subject}"
        openssl(folder, f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 {names}")
    return folder


@pytest.fixture
def gate(folder: Path, settings: Settings) -> Iterator[object]:
    """``gate(kind, certificate)`` puts TLS before a server and tells the port."""
    opened: list[Tls] = []

    def before(kind: str, certificate: str = "good", *, asks: bool = False) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
        if asks:
            context.load_verify_locations(folder / "good.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        upstream = int(settings.address(kind).rpartition(":")[2].partition("/")[0])
        opened.append(Tls(context, upstream))
        return opened[-1].port

    yield before
    for tls in opened:
        tls.close()


def started(kind: str, url: str, settings: Settings) -> None:
    """What a worker does first. A store that only waits raises StoreError, which no ``raises`` here takes."""
    settings = settings.model_copy(update={"store_timeout": 5.0})
    store = Redis(url, prefix="tls:") if kind == "redis" else OpenSearch(f"{url}?prefix=tls-", indices={"a": {}})
    try:
        store.open("tls", settings)
        assert store.read_book() is None
    finally:
        store.close()


SCHEMES = {"redis": ("redis", "rediss"), "opensearch": ("http", "https")}
KINDS = pytest.mark.parametrize("kind", list(SCHEMES))


@pytest.fixture(autouse=True)
def _clean(settings: Settings) -> Iterator[None]:
    yield
    import httpx

    with httpx.Client(base_url=settings.address("opensearch")) as http:
        for name in http.get("/tls-*?expand_wildcards=all").json():
            http.delete(f"/{name}")


@KINDS
def test_a_certificate_that_verifies_is_taken(kind: str, gate, folder, settings, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "good.pem"))
    started(kind, f"{SCHEMES[kind][1]}://127.0.0.1:{gate(kind)}", settings)


@KINDS
@pytest.mark.parametrize(
    ("certificate", "trusted", "words"), [("good", "other", "self-signed"), ("other", "other", "mismatch")]
)
def test_a_certificate_that_does_not_verify_halts(  # type: ignore[no-untyped-def]
    kind: str, certificate: str, trusted: str, words: str, gate, folder, settings, monkeypatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / f"{trusted}.pem"))
    with pytest.raises(ConfigError, match=words) as caught:
        started(kind, f"{SCHEMES[kind][1]}://127.0.0.1:{gate(kind, certificate)}", settings)
    assert "certificate does not verify" in str(caught.value)
    assert f"LOGSYNC_{kind.upper()}" in str(caught.value)


@KINDS
def test_a_server_that_wants_a_certificate_of_its_client_says_so(kind, gate, folder, settings, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "good.pem"))
    with pytest.raises(ConfigError, match="certificate"):
        started(kind, f"{SCHEMES[kind][1]}://127.0.0.1:{gate(kind, asks=True)}", settings)


@KINDS
def test_plain_text_to_a_server_with_tls_halts(kind: str, gate, settings) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="the server expects TLS"):
        started(kind, f"{SCHEMES[kind][0]}://127.0.0.1:{gate(kind)}", settings)


@KINDS
def test_tls_to_a_server_without_it_halts(kind: str, settings: Settings) -> None:
    plain = settings.address(kind).partition("://")[2]
    with pytest.raises(ConfigError, match=r"no TLS|not speak TLS"):
        started(kind, f"{SCHEMES[kind][1]}://{plain}", settings)


def test_a_redis_url_names_whom_to_trust_and_what_to_show(gate, folder, settings) -> None:  # type: ignore[no-untyped-def]
    show = f"ssl_certfile={folder}/good.pem&ssl_keyfile={folder}/good.key"
    started("redis", f"rediss://127.0.0.1:{gate('redis', asks=True)}?ssl_ca_certs={folder}/good.pem&{show}", settings)
    started("redis", f"rediss://127.0.0.1:{gate('redis', 'other')}?ssl_cert_reqs=none", settings)
    started(
        "redis",
        f"rediss://127.0.0.1:{gate('redis', 'other')}?ssl_ca_certs={folder}/other.pem&ssl_check_hostname=no",
        settings,
    )


@KINDS
def test_a_server_that_is_down_is_an_outage_with_tls_too(kind: str, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreError):
        started(kind, f"{SCHEMES[kind][1]}://127.0.0.1:{port}", settings)
