"""Settings as people write them are taken, or refused by the name of the variable and without its value."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from logsync import settings as module
from logsync.cli.exits import Exit
from logsync.errors import ConfigError
from logsync.log.config import producer_config
from logsync.settings import VARIABLES, Settings, load_settings
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_warned", set())
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch):
    def load(name: str, text: str) -> Settings:
        monkeypatch.setenv(f"LOGSYNC_{name}", text)
        return load_settings()

    return load


def options(found: Settings) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in found.kafka_options.items()}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"message.max.bytes": 2000000}', {"message.max.bytes": "2000000"}),
        ('{"socket.keepalive.enable": true, "log.thread.name": false}',
         {"socket.keepalive.enable": "true", "log.thread.name": "false"}),
        ('{"linger.ms": 5.5, "a": 1e6, "b": 1E3, "c": 2.0, "d": -1}',
         {"linger.ms": "5.5", "a": "1000000", "b": "1000", "c": "2", "d": "-1"}),
        ('{"sasl.password": 712345}', {"sasl.password": "712345"}),
        ('{"sasl.password": "007"}', {"sasl.password": "007"}),
        (' \n{"client.id" : "me"}\n ', {"client.id": "me"}),
        ("'{\"client.id\": \"me\"}'", {"client.id": "me"}),
        ("{}", {}),
        ("", {}),
        ("  ", {}),
    ],
)  # fmt: skip
def test_kafka_options_with_texts_numbers_and_booleans_are_taken(setting, text: str, found: dict[str, str]) -> None:
    assert options(setting("KAFKA_OPTIONS", text)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("security.protocol=SSL", "expected a JSON object"),
        ("security.protocol=SASL_SSL,sasl.password=hunter2", "expected a JSON object"),
        ("security.protocol: SSL", "expected a JSON object"),
        ("{'sasl.password': 'hunter2'}", "found at character 2"),
        ('{"sasl.password": "hunter2",}', "expected a JSON object"),
        ('{"sasl.password": "hunter2"', "expected a JSON object"),
        ('{"sasl.password": hunter2}', "expected a JSON object"),
        ('{"a": 1} hunter2', "Extra data"),
        ("{", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("true", "expected a JSON object"),
        ('"hunter2"', "expected a JSON object"),
        ('{"acks": null}', "acks: expected a text, a number, true or false, found null"),
        ('{"ssl.key.pem": ["hunter2"]}', "ssl.key.pem: expected a text, a number, true or false, found a list"),
        ('{"default.topic.config": {"acks": 0}}', "found an object"),
        ('{"linger.ms": 1, "acks": 1, "linger.ms": 2}', "linger.ms stands there twice"),
        ('{"check.crcs\\u0000": "hunter2"}', "without NUL"),
        ('{"client.id": "hunter2\\u0000"}', "without NUL"),
        ('{"linger.ms": NaN}', "found NaN"),
        ('{"linger.ms": -Infinity}', "found -Infinity"),
        ('{"linger.ms": 1e400}', "linger.ms: expected a number"),
        ('{"linger.ms": ' + "9" * 5000 + "}", ""),
    ],
)
def test_kafka_options_that_are_something_else_are_refused_in_words(setting, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^LOGSYNC_KAFKA_OPTIONS: ") as caught:
        setting("KAFKA_OPTIONS", text)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_nesting_that_is_too_deep_for_a_parser_is_refused_as_well() -> None:
    Path(".env").write_text("LOGSYNC_KAFKA_OPTIONS=" + '{"a":' * 100_000 + "\n")  # too long for an environment
    with pytest.raises(ConfigError, match=r"^LOGSYNC_KAFKA_OPTIONS: "):
        load_settings()


@pytest.mark.parametrize("text", ["orders", " orders ", '"orders"', "'orders'", '["orders"]', "orders,", "orders\n"])
def test_a_topic_whose_retention_is_accepted_is_named_plainly(setting, text: str) -> None:
    assert setting("ACCEPT_FINITE_RETENTION", text).accept_finite_retention == {"orders"}


@pytest.mark.parametrize("text", ["a,b.c", "a, b.c", "a b.c", "a;b.c", '["a", "b.c"]', "a,,b.c,a"])
def test_several_topics_are_named_in_any_list(setting, text: str) -> None:
    assert setting("ACCEPT_FINITE_RETENTION", text).accept_finite_retention == {"a", "b.c"}


@pytest.mark.parametrize("text", ["", " ", "[]", ","])
def test_no_topic_is_none(setting, text: str) -> None:
    assert setting("ACCEPT_FINITE_RETENTION", text).accept_finite_retention == frozenset()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:9092", "a:9092"),
        (" a:9092 , b:9093 ", "a:9092,b:9093"),
        ("a:9092 b:9093", "a:9092,b:9093"),
        ("a:9092,,b:9093", "a:9092,b:9093"),
        ('"a:9092"', "a:9092"),
        ("SASL_SSL://a.test:9092", "SASL_SSL://a.test:9092"),
        ("[::1]:9092", "[::1]:9092"),
        ("kafka", "kafka"),
    ],
)
def test_servers_of_kafka_are_taken_with_blanks_and_quotes(setting, text: str, found: str) -> None:
    assert setting("KAFKA", text).kafka == found


WRONG = {
    "ENVIRONMENT": ["", " ", "a b", "Ä", "-x", "x" * 61, "{}", "Prod"],
    "KAFKA": ["", " ", "http://a:1", "user:hunter2@a:1", "a:b", "a:123456", "9092", "[]", '["a:1"]', "-a"],
    "ACCEPT_FINITE_RETENTION": ["*", "orders=true", "{}", "[1]", '["a", null]', "[", "ö", '["a b"]', '{"a": 1}'],
    "POSTGRES": ["", " ", "''"],
    "REDIS": ["", " ", '""'],
    "OPENSEARCH": ["", " "],
    "APPEND_TIMEOUT": ["", " ", "5s", "0", "-1", "inf", "nan", "1e400", "null", "true", "5,0", "86401"],
    "STORE_TIMEOUT": ["", "30s", "0", "121", "inf", "nan", "[]"],
    "DRAIN_TIMEOUT": ["", "1m", "0", "inf", "nan", "1e9"],
    "BATCH_RECORDS": ["", "1e3", "5.5", "0", "100001", "inf", "many"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_value_that_cannot_be_meant_is_refused_by_the_name_of_its_variable(setting, name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^LOGSYNC_{name}: ") as caught:
        setting(name, text)
    assert f"LOGSYNC_{name}" in caught.value.fix
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("STORE_TIMEOUT", " 7.5 ", 7.5),
        ("STORE_TIMEOUT", '"7.5"', 7.5),
        ("BATCH_RECORDS", "100", 100),
        ("ENVIRONMENT", " staging ", "staging"),
        ("APPEND_TIMEOUT", "0.25", 0.25),
        ("DRAIN_TIMEOUT", "86400", 86400),
    ],
)
def test_blanks_and_quotes_around_a_value_are_nothing(setting, name: str, text: str, found: object) -> None:
    assert getattr(setting(name, text), name.lower()) == found


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(VARIABLES)), st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_no_text_at_all_is_more_than_a_config_error(name: str, text: str) -> None:
    """Also a text that is not UTF-8: the environment may hold any bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
        try:
            producer_config(load_settings())
        except ConfigError as error:
            assert name in str(error)  # noqa: PT017 - it may raise, or not


FILE = b"LOGSYNC_KAFKA=from-file:1\nLOGSYNC_POSTGRES=postgresql://u:p@h/d\n"


@pytest.mark.parametrize(
    "data",
    [
        FILE,
        b"\xef\xbb\xbf" + FILE,
        FILE.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + FILE.replace(b"\n", b"\r\n"),
        b"export " + FILE,
        FILE.replace(b"=", b" = "),
        b'LOGSYNC_KAFKA="from-file:1" # there\n',
        b"# a comment\n\nlogsync_kafka='from-file:1'\n",
        b"this line belongs to another program\n" + FILE,
    ],
)
def test_a_dotenv_file_of_any_editor_is_read(data: bytes) -> None:
    Path(".env").write_bytes(data)
    assert load_settings().kafka == "from-file:1"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (FILE.decode().encode("utf-16"), "not UTF-8"),
        (b"LOGSYNC_POSTGRES=postgresql://u:hunter2\xe4@h/d\n", "not UTF-8"),
        (b"X=1\nLOGSYNC_POSTGRES: postgresql://u:hunter2@h/d\n", "line 2"),
        (b'LOGSYNC_POSTGRES="postgresql://u:hunter2@h/d\nLOGSYNC_KAFKA=a:1\n', "line 1"),
        (b"X=1\nLOGSYNC_POSTGRES\n", "line 2"),
    ],
)
def test_a_dotenv_file_that_would_be_missed_is_refused(data: bytes, said: str) -> None:
    """Without it a worker goes on with whatever runs on its own machine."""
    Path(".env").write_bytes(data)
    with pytest.raises(ConfigError, match=r"\.env cannot be read") as caught:
        load_settings()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_or_a_dead_link_in_place_of_the_dotenv_file_is_refused() -> None:
    """Docker makes a folder where the file that it was told to mount is missing."""
    Path(".env").mkdir()
    with pytest.raises(ConfigError, match=r"\.env cannot be read: Is a directory"):
        load_settings()
    Path(".env").rmdir()
    Path(".env").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"\.env cannot be read: the link leads nowhere"):
        load_settings()


def test_a_dotenv_file_that_may_not_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_args: object, **_kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)  # root may read everything
    with pytest.raises(ConfigError, match=r"\.env cannot be read: Permission denied"):
        load_settings()


def test_a_virtual_environment_of_that_name_is_none_of_ours() -> None:
    Path(".env").mkdir()
    Path(".env/pyvenv.cfg").touch()
    assert load_settings().kafka == "127.0.0.1:9092"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LOGSYNC_POSTGRESS", "LOGSYNC_POSTGRES"),
        ("LOGSYNC_POSTGRES_URL", "LOGSYNC_POSTGRES"),
        ("LOGSYNC_KAFKA_SERVERS", "LOGSYNC_KAFKA"),
        ("LOGSYNC_KAFKA_OPTION", "LOGSYNC_KAFKA_OPTIONS"),
        ("LOGSYNC_OPEN_SEARCH", "LOGSYNC_OPENSEARCH"),
        ("LOGSYNC_ENV", "LOGSYNC_ENVIRONMENT"),
        ("logsync_store_timout", "LOGSYNC_STORE_TIMEOUT"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_warned_of_once(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "hunter2")
    monkeypatch.setattr(logging.getLogger("logsync"), "propagate", True)
    load_settings()
    load_settings()
    assert [f"{name.upper()} is no setting of logsync and changes nothing; did you mean {meant}?"] == caplog.messages


def test_a_misspelt_name_in_the_dotenv_file_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("logsync"), "propagate", True)
    Path(".env").write_text("LOGSYNC_REDDIS=redis://h\n")
    load_settings()
    assert "did you mean LOGSYNC_REDIS?" in caplog.text


@pytest.mark.parametrize("name", ["LOGSYNC_TEST_STACK", "LOGSYNC_KEEP_STACK", "LOGSYNC_", "LOGSYNC_COLOR", "LOGSYNCED"])
def test_names_of_other_programs_are_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(logging.getLogger("logsync"), "propagate", True)
    load_settings()
    assert caplog.messages == []


def test_what_is_said_of_settings_has_the_form_of_the_worker_s_log_lines() -> None:
    environment = {**os.environ, "LOGSYNC_POSTGRESS": "x"}
    command = [sys.executable, "-m", "logsync.cli", "consume", "nowhere:sink", "--log-format", "json"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert json.loads(ended.stderr.splitlines()[0])["message"].endswith("did you mean LOGSYNC_POSTGRES?")
    assert ended.returncode == Exit.CONFIG
