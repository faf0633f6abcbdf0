"""No part of a password leaves a process: not on a terminal, not in a log line, not in a traceback."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from logsync.core import secrets
from logsync.errors import StoreUnavailable
from logsync.observe.logs import log_to_stderr
from tests.waiting import PATIENCE

pytestmark = pytest.mark.processes

SINK = """
from logsync import Log, Sink
from logsync.stores.postgres import Postgres
from logsync.stores.redis import Redis
from logsync.stores.opensearch import OpenSearch
log = Log("orders")
pg = Sink("orders-pg", log, Postgres(tables=["t"]))
rd = Sink("orders-rd", log, Redis(prefix="x:"))
os = Sink("orders-os", log, OpenSearch(indices={"x": {}}))
"""
NOWHERE = "127.0.0.1:1"
PASSWORDS = [
    "pa@hunter2",
    "pa/hunter2",
    "pa?hunter2",
    "pa#hunter2",
    "pa:hunter2",
    "12/hunter2",
    "pa%40hunter2",
    "pa[hunter2",
]


@pytest.mark.parametrize(
    ("command", "name", "sink", "passwords"),
    [
        ("position show", "postgresql", "pg", PASSWORDS),
        ("position show", "redis", "rd", PASSWORDS),
        ("position show", "http", "os", PASSWORDS),
        ("status", "postgresql", "pg", PASSWORDS[:1]),  # waits for Kafka, too
        ("doctor", "redis", "rd", PASSWORDS[1:2]),
    ],
)
def test_no_command_shows_a_part_of_a_password(
    command: str, name: str, sink: str, passwords: list[str], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SINK)
    variable = {"pg": "LOGSYNC_POSTGRES", "rd": "LOGSYNC_REDIS", "os": "LOGSYNC_OPENSEARCH"}[sink]
    program = f"""
import os, sys
from logsync.cli import main
for password in {passwords!r}:
    os.environ[{variable!r}] = f"{name}://us:{{password}}@{NOWHERE}/0".removesuffix("/0" if {name!r} == "http" else "")
    os.environ["LOGSYNC_KAFKA"], os.environ["LOGSYNC_STORE_TIMEOUT"] = {NOWHERE!r}, "1"
    try:
        main([*{command!r}.split(), "shop:{sink}", "--debug"])
    except SystemExit as ended:
        print("ended", ended.code)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    said = ended.stdout + ended.stderr
    assert said.count("ended ") == len(passwords), said
    assert "hunter2" not in said.lower()
    assert "ended 70" not in said, said


def test_an_error_is_made_without_the_secrets_that_its_text_holds() -> None:
    secrets.keep(["hunter2"])
    error = StoreUnavailable("cannot resolve hunter2@db.test")
    assert (str(error), error.message, error.args) == ("cannot resolve ***@db.test",) * 2 + (
        ("cannot resolve ***@db.test",),
    )


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_log_line_holds_no_secret_in_message_fields_or_traceback(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.keep(['hun"ter2', "info", "2026"])
    log_to_stderr(form)  # type: ignore[arg-type]
    log = logging.getLogger("logsync.test")
    try:
        raise ValueError('as hun"ter2 said')
    except ValueError as error:
        log.warning('told by hun"ter2', exc_info=True, extra={"error": error, "sink": 'hun"ter2', "end": 7})
    said = capsys.readouterr().err
    assert "ter2" not in said
    if form == "json":
        line = json.loads(said)
        assert (line["message"], line["sink"], line["end"], line["level"]) == ("told by ***", "***", 7, "warning")
        assert "ValueError: as *** said" in line["exception"]
    else:
        assert "told by *** error=as *** said sink=*** end=7" in said
