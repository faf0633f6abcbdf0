"""Each test of a reader runs over both logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from logsync.settings import Settings

from .sources import KafkaSource, Member, MemorySource, Source


@pytest.fixture
def kafka(request: pytest.FixtureRequest, unique: str, monkeypatch: pytest.MonkeyPatch) -> KafkaSource:
    request.getfixturevalue("settings")
    monkeypatch.setenv("LOGSYNC_KAFKA_OPTIONS", json.dumps({"session.timeout.ms": "6000"}))
    return KafkaSource(Settings(_env_file=None), unique)  # type: ignore[call-arg]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.servers("kafka"))])
def source(request: pytest.FixtureRequest, unique: str) -> Source:
    if request.param == "memory":
        return MemorySource(unique)
    made: Source = request.getfixturevalue("kafka")
    return made


@pytest.fixture
def open_reader(source: Source) -> Iterator[Callable[[], Member]]:
    members: list[Member] = []

    def make() -> Member:
        members.append(Member(source.reader()))
        return members[-1]

    yield make
    for member in members:
        member.reader.close()


@pytest.fixture
def member(open_reader: Callable[[], Member]) -> Member:
    made = open_reader()
    made.wait(lambda: made.held == {0, 1})
    return made
