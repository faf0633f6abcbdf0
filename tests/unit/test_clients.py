"""A client library that is missing, and one that is broken, are told apart; each message says what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from logsync.errors import ConfigError
from logsync.stores.clients import importing


def test_a_client_that_is_not_installed_is_said_to_be() -> None:
    with pytest.raises(ConfigError, match="the package psycopg_absent is not installed") as caught:  # noqa: SIM117
        with importing("psycopg_absent", extra="postgres"):
            __import__("psycopg_absent")
    assert "pip install 'logsync[postgres]'" in caught.value.fix


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import events_absent", "No module named 'events_absent'"),
        ("from json import Events", "cannot import name 'Events' from 'json'"),
        ("import client_below.absent", "No module named 'client_below.absent'"),
        ("import json\njson.absent", "has no attribute 'absent'"),
        ("raise OSError('libpq.so.5')", "OSError: libpq.so.5"),
    ],
)
def test_a_client_that_is_broken_shows_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    (tmp_path / "client_below.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("client_below", None)
    with pytest.raises(ConfigError, match="the package client_below cannot be imported") as caught:  # noqa: SIM117
        with importing("client_below", extra="redis"):
            __import__("client_below")
    assert words in caught.value.message
    assert "not installed" not in caught.value.message


def test_a_file_that_stands_in_for_a_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stand_in.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:  # noqa: SIM117
        with importing("stand_in", extra="redis"):
            import stand_in.backoff  # type: ignore[import-not-found]  # noqa: F401
    assert f"rename {tmp_path / 'stand_in.py'}" in caught.value.fix
