"""What TLS complains of, told from a connection that only broke."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest

from logsync.stores.tls import asked, complaint


def error(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, f"[SSL: {reason}] words")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("HTTP_REQUEST", "does not speak TLS"),
        ("UNSUPPORTED_PROTOCOL", "no TLS version"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "no TLS version"),
        ("EE_KEY_TOO_SMALL", "no TLS version, cipher or key"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "refuses this client"),
        ("TLSV1_ALERT_INTERNAL_ERROR", ""),
        ("UNEXPECTED_EOF_WHILE_READING", ""),
        ("", ""),
    ],
)
def test_each_reason_means_one_thing(reason: str, words: str) -> None:
    assert words in complaint(error(reason))
    assert bool(complaint(error(reason))) is bool(words)


def test_a_cause_is_found_wherever_a_client_keeps_it() -> None:
    cause = ssl.SSLCertVerificationError(1, "no")
    for outer in (Exception("x", cause), Exception("x")):
        if not outer.args[1:]:
            outer.__context__ = cause
        assert "certificate does not verify" in complaint(outer)
    loop = Exception("x")
    loop.__context__ = Exception("y", loop)
    assert complaint(loop) == ""
    assert complaint(ConnectionResetError()) == ""


@pytest.mark.parametrize("secure", [True, False])
def test_nobody_there_is_no_complaint(secure: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert asked("127.0.0.1", port, secure=secure, timeout=1) == ""


@pytest.mark.parametrize("secure", [True, False])
def test_somebody_who_says_nothing_is_asked_for_a_bounded_time(secure: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asked("127.0.0.1", silent.getsockname()[1], secure=secure, timeout=0.1) == ""


@pytest.mark.parametrize(("secure", "words"), [(True, "does not speak TLS"), (False, "")])
def test_a_server_without_tls_is_wrong_only_for_a_client_with_it(secure: bool, words: str) -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as plain:
        answering = threading.Thread(target=answer, args=(plain,))
        answering.start()
        found = asked("127.0.0.1", plain.getsockname()[1], secure=secure, timeout=5)
        answering.join()
    assert words in found
    assert bool(found) is secure
