"""Each answer of Redis, and each way a connection ends, as what it says about the data."""

from __future__ import annotations

import ssl

import pytest
import redis.exceptions as theirs
from redis._parsers.base import BaseParser

from logsync.errors import ConfigError, LogsyncError, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.redis.errors import translate

ANSWERS: dict[str, type[LogsyncError]] = {
    "LOADING Redis is loading the dataset in memory": StoreUnavailable,
    "READONLY You can't write against a read only replica.": StoreUnavailable,
    "MASTERDOWN Link with MASTER is down": StoreUnavailable,
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to": StoreUnavailable,
    "NOREPLICAS Not enough good replicas to write.": StoreUnavailable,
    "OOM command not allowed when used memory > 'maxmemory'.": StoreUnavailable,
    "BUSY Redis is busy running a script.": StoreUnavailable,
    "TRYAGAIN Multiple keys request during rehashing of slot": StoreUnavailable,
    "CLUSTERDOWN Hash slot not served": StoreUnavailable,
    "ASK 3999 127.0.0.1:6381": StoreUnavailable,
    "MOVED 3999 127.0.0.1:6381": ConfigError,
    "CROSSSLOT Keys in request don't hash to the same slot": ConfigError,
    "NOAUTH Authentication required.": ConfigError,
    "WRONGPASS invalid username-password pair or user is disabled.": ConfigError,
    "NOPERM this user has no permissions to run the 'evalsha' command": ConfigError,
    "WRONGTYPE Operation against a key holding the wrong kind of value": ConfigError,
    "ERR unknown command 'ZMSCORE'": ConfigError,
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("sent", [True, False])
def test_an_answer_says_that_nothing_was_applied_whenever_it_comes(answer: str, sent: bool) -> None:
    error = translate(BaseParser.parse_error(answer), "redis at host:1", sent=sent)
    assert type(error) is ANSWERS[answer]
    assert str(error).startswith("redis at host:1: ")
    assert answer.split(" ", 1)[1][:20] in str(error)
    word = answer.split(" ", 1)[0]
    assert word == "ERR" or f"Redis answered {word}: " in str(error)
    assert error.fix or type(error) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [
        theirs.ConnectionError("gone"),
        theirs.TimeoutError("late"),
        OSError("reset"),
        BaseParser.parse_error("ERR max number of clients reached"),
    ],
    ids=str,
)
def test_a_broken_connection_leaves_the_outcome_open_only_once_the_script_was_sent(error: Exception) -> None:
    assert type(translate(error, "x", sent=False)) is StoreUnavailable
    assert type(translate(error, "x", sent=True)) is StoreOutcomeUnknown


def test_what_redis_repeats_of_a_command_is_not_passed_on() -> None:
    said = "ERR unknown command 'AUTH', with args beginning with: 'default' 's3cr3t' "
    text = str(translate(BaseParser.parse_error(said), "x", sent=False))
    assert "unknown command 'AUTH'" in text
    assert "s3cr3t" not in text


def test_a_message_is_one_bounded_line_and_holds_no_bytes_of_a_stranger() -> None:
    text = str(translate(theirs.ResponseError("odd\n\x1b[31m" + "y" * 9000), "x", sent=False))
    assert len(text) < 600
    assert "\x1b" not in text
    text = str(translate(theirs.InvalidResponse("Protocol Error: b's3cr3t'"), "x", sent=False))
    assert text == "x: what answers there is not Redis"


@pytest.mark.parametrize("sent", [True, False])
def test_a_certificate_that_does_not_verify_is_no_outage(sent: bool) -> None:
    error = theirs.ConnectionError("Error 1 connecting to h:1")
    error.__context__ = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    found = translate(error, "x", sent=sent)
    assert type(found) is ConfigError
    assert "LOGSYNC_REDIS" in found.fix
