"""Health, as strangers meet it: what it tells, what it does not, and what nobody can do to a worker through it."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace

import pytest

from logsync.cli import main
from logsync.errors import ConfigError
from logsync.observe import server
from logsync.observe.health import ObservedWorker
from logsync.observe.listening import Listening
from logsync.observe.metrics import OPENMETRICS, TEXT, metrics
from logsync.observe.server import Health
from logsync.worker_status import WorkerState, WorkerStatus
from tests.waiting import PATIENCE

SECRETIVE = "cannot connect to Postgres at db.internal:5432: s3cr3t@10.0.0.7"


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(**changes: object) -> WorkerStatus:
    at = SimpleNamespace(number=0, next_offset=123456789, end=9_007_199_254_740_993, held=0, parked=3)
    found = WorkerStatus({0: at}, WorkerState.RUNNING, turned_at=1e12, moved_at=1e12, looked_at=1e12)  # type: ignore[dict-item]
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def health() -> Iterator[Health]:
    with Health(
        ObservedWorker("shop", running(applied=123456789, parked=7)), Listening("127.0.0.1", 0), bound=10
    ) as health:
        yield health


def ask(health: Health, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", health.port, timeout=PATIENCE)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()


def say(health: Health, data: bytes) -> bytes:
    """Everything that comes back when a client says this and waits for the end."""
    with socket.create_connection(("127.0.0.1", health.port), timeout=PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while part := client.recv(65_536):
            found += part
        return found


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics", "/ready?verbose=1", "http://worker.test/ready"])
def test_each_page_is_there_with_a_query_and_for_head(health: Health, path: str) -> None:
    answer, text = ask(health, path)
    head, nothing = ask(health, path, "HEAD")
    assert (answer.status, head.status, nothing) == (200, 200, "")
    assert text
    assert int(head.headers["Content-Length"]) == len(text.encode())


def test_anything_else_is_refused_in_words(health: Health) -> None:
    assert ask(health, "/other")[0].status == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer, _ = ask(health, "/ready", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert say(health, b"POST /ready HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000).startswith(
        b"HTTP/1.1 405"
    )


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"GET /ready\r\n\r\n", b"nonsense\n\n", b"\x16\x03\x01\x02\x00\x01\xff\n\n", b"GET //[ HTTP/1.1\n\n",
     b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_400(health: Health, data: bytes) -> None:
    assert say(health, data).startswith(b"HTTP/1.1 400 ")


def test_lines_that_end_without_a_carriage_return_are_read(health: Health) -> None:
    assert say(health, b"GET /ready HTTP/1.0\n\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_goes_leaves_no_trace(health: Health, capfd: pytest.CaptureFixture[str]) -> None:
    for data in (b"", b"GET", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", health.port), timeout=PATIENCE)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
            client.sendall(data)
            client.close()
    assert ask(health, "/ready")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_clients_that_hold_connections_cost_one_thread_and_few_descriptors_and_keep_no_probe_out(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PATIENCE", PATIENCE)  # what goes here goes because there are too many
    threads, before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with ExitStack() as held:
        for _ in range(4 * server.MOST):
            client = held.enter_context(socket.create_connection(("127.0.0.1", health.port), timeout=PATIENCE))
            client.sendall(b"GET /ready HTTP/1.1\r\nX-Slow: ")
        assert ask(health, "/ready")[0].status == 200
        assert len(health._open) <= server.MOST
        until(lambda: len(os.listdir("/proc/self/fd")) <= before + 4 * server.MOST + server.MOST)
        assert threading.active_count() == threads


def test_a_slow_client_is_let_go_whatever_it_is_slow_with(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    for data in (b"", b"GET /ready HTTP/1.1\r\n", b"GET /ready HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", health.port), timeout=PATIENCE) as client:
            client.sendall(data)
            try:
                while client.recv(65_536):
                    pass
            except ConnectionResetError:
                pass
    until(lambda: not health._open)


def test_a_page_that_cannot_be_made_is_500_and_in_the_log(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    health._observed = None  # type: ignore[assignment]
    answer, text = ask(health, "/ready")
    assert (answer.status, text) == (500, "see the worker's log\n")


@pytest.mark.parametrize("state", [WorkerState.JOINING, WorkerState.WAITING, WorkerState.STOPPED])
def test_ready_tells_states_and_nothing_of_any_server(state: WorkerState) -> None:
    with Health(
        ObservedWorker("shop", running(state=state, reason=SECRETIVE)), Listening("127.0.0.1", 0), bound=10
    ) as health:
        answer, text = ask(health, "/ready")
        said = text + ask(health, "/live")[1] + ask(health, "/metrics")[1]
    assert (answer.status, text) == (503, f"not ok: {state.value}: the worker's log says why\n")
    for word in ("s3cr3t", "db.internal", "5432", "10.0.0.7", "Postgres"):
        assert word not in said


def test_values_are_whole_numbers_of_any_size() -> None:
    text = metrics(ObservedWorker("shop", running(applied=123456789)), 0.0)
    assert 'logsync_applied_events_total{sink="shop"} 123456789\n' in text
    assert 'logsync_position{sink="shop",partition="0"} 123456789\n' in text
    assert 'logsync_log_end{sink="shop",partition="0"} 9007199254740993\n' in text  # one that no float holds


def test_prometheus_own_parsers_read_the_metrics_in_both_formats(health: Health) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families as plain

    health._observed.report.skipped.update({'a "rule"\\ of\ntwo lines': 2, "type": 1})
    asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    answers = [ask(health, "/metrics"), ask(health, "/metrics", Accept=asked)]
    assert [answer.headers["Content-Type"] for answer, _ in answers] == [TEXT, OPENMETRICS]
    assert answers[1][1].endswith("\n# EOF\n")
    found = [list(plain(answers[0][1])), list(openmetrics(answers[1][1]))]
    samples = [
        {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
        for families in found
    ]
    assert samples[0] == samples[1]
    assert samples[0]["logsync_skipped_events_total", "shop", 'a "rule"\\ of\ntwo lines'] == 2
    for families in found:
        assert len({family.name for family in families}) == len(families)
        assert all(family.documentation and family.type in ("counter", "gauge") for family in families)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:8080", ("localhost", 8080)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        (":8080", ("", 8080)),
        ("*:8080", ("*", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_a_port_alone_is_for_this_machine_and_an_address_says_for_whom_else(text: str, found: tuple[str, int]) -> None:
    assert Listening.at(text) == found


@pytest.mark.parametrize(
    "text", ["", "http", "65536", "-1", "a:b", "::1:80", "[::1]", "[::1:80", "1:2:3", "a b:80", "8080/"]
)
def test_what_is_no_place_to_listen_at_is_a_wrong_command_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["consume", "db", "--health", text])
    assert ended.value.code == 2
    assert "expected PORT, HOST:PORT or [IPV6]:PORT" in capsys.readouterr().err.replace("\n", " ").replace(
        "│", ""
    ).replace("  ", " ")


def reached(listening: Listening, host: str) -> bool:
    with Health(ObservedWorker("shop", running()), listening, bound=10) as health:
        try:
            socket.create_connection((host, health.port), timeout=PATIENCE).close()
        except OSError:
            return False
        return True


def test_only_what_was_asked_for_listens() -> None:
    outside = "127.0.0.2"  # an address of this machine, and none that 127.0.0.1 answers at
    assert reached(Listening.at("0"), "127.0.0.1")
    assert not reached(Listening.at("0"), outside)
    assert reached(Listening.at("0.0.0.0:0"), outside)
    assert reached(Listening.at(":0"), outside)
    assert reached(Listening.at("[::]:0"), outside)
    if socket.has_dualstack_ipv6():
        assert reached(Listening.at(":0"), "::1")
        assert reached(Listening.at("[::1]:0"), "::1")


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.7", "no.such.host.invalid"])
def test_a_place_that_cannot_be_had_is_refused_at_the_start(host: str, health: Health) -> None:
    with pytest.raises(ConfigError, match=f"--health cannot listen at {host}:{health.port}"):
        Listening(host, health.port).open()
