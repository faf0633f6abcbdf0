"""librdkafka's own log lines: readable where logging is set up, and silent where it is not."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from logsync.log.config import LastError, log

pytestmark = pytest.mark.processes

REFUSED = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused"


def lines(*texts: str, level: int = logging.ERROR) -> list[tuple[str, str]]:
    """What is left of the client's lines: level and message."""
    kept = []
    for text in texts:
        record = log.makeRecord(log.name, level, "", 0, text, (), None)
        if log.filter(record):
            kept.append((record.levelname, record.getMessage()))
    return kept


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for each in log.filters:
        getattr(each, "_told", {}).clear()


def test_a_broker_that_refuses_is_said_once_in_words_whatever_client_and_count() -> None:
    found = lines(
        f"FAIL [logsync#consumer-2] [thrd:x:1/bootstrap]: {REFUSED} (after 0ms in state CONNECT)",
        f"FAIL [logsync#producer-1] [thrd:x:1/bootstrap]: {REFUSED} (after 3ms in state CONNECT, 1 identical error(s) suppressed)",  # noqa: E501
        f"FAIL [logsync#consumer-2] [thrd:x:1/bootstrap]: {REFUSED} (after 7ms in state CONNECT, 31 identical error(s) suppressed)",  # noqa: E501
    )
    assert found == [("WARNING", f"Kafka: {REFUSED}; the client tries again by itself")]


def test_what_a_fresh_broker_says_is_no_news() -> None:
    assert not lines(
        "GETPID [logsync#producer-2] [thrd:main]: Failed to acquire idempotence PID from broker 127.0.0.1:20074/1: "
        "Broker: Coordinator load in progress: retrying",
        "CONFWARN [c] [thrd:app]: Configuration property acks is a producer property and will be ignored",
        level=logging.WARNING,
    )


def test_other_lines_keep_their_level_and_lose_the_names_of_threads() -> None:
    text = "MAXPOLL [logsync#consumer-1] [thrd:main]: Application maximum poll interval exceeded"
    assert lines(text) == [("ERROR", "Kafka: Application maximum poll interval exceeded")]
    assert lines("something else") == [("ERROR", "something else")]


def test_the_last_error_is_told_without_what_changes() -> None:
    class Error:
        def code(self) -> int:
            return -195

        def str(self) -> str:
            return f"{REFUSED} (after 3ms in state CONNECT, 1 identical error(s) suppressed)"

    last = LastError()
    last.error = Error()  # type: ignore[assignment]
    assert str(last) == f" (the client's last error: {REFUSED})"


def test_a_program_without_logging_is_not_written_to() -> None:
    code = "from logsync.log.config import log\nlog.error('FAIL [a] [thrd:b]: c')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
