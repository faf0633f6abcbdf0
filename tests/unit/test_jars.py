"""Jars are fetched once per checkout, by the first that needs them, and no file is written by two at once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from devstack import jars
from devstack.process import StackError
from tests.waiting import PATIENCE


def test_kafka_and_opensearch_fetch_a_jar_that_both_need_into_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = [
        {(jar["groupId"], jar["artifactId"], jar["version"]) for jar in tomllib.loads(path.read_text())["dependencies"]}
        for path in (jars._lock_path("kafka"), jars._lock_path("opensearch"))
    ]
    assert locked[0] & locked[1], "the race this test is about needs a jar in both locks"
    together = Barrier(2, timeout=PATIENCE)  # neither returns before both are fetching

    def fetch(server: str, repo: Path, progress: Callable[[int, int], None]) -> list[Path]:
        together.wait()
        return [repo / "shared.jar"]

    monkeypatch.setattr(jars, "_fetch", fetch)
    with ThreadPoolExecutor(2) as pool:
        kafka, opensearch = pool.map(
            lambda server: jars.classpath(server, tmp_path, lambda _done, _total: None), ("kafka", "opensearch")
        )
    assert kafka != opensearch


def test_an_interrupted_fetch_leaves_no_half_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[Path]:
        raise StackError("no network")

    monkeypatch.setattr(jars, "_fetch", interrupted)
    with pytest.raises(StackError):
        jars.classpath("kafka", tmp_path, lambda _done, _total: None)
    monkeypatch.setattr(jars, "_fetch", lambda _server, repo, _progress: [repo / "a.jar", repo / "b.jar"])
    path = jars.classpath("kafka", tmp_path, lambda _done, _total: None)
    assert path == f"{tmp_path}/kafka/a.jar:{tmp_path}/kafka/b.jar"
