"""Questions about the log's offsets to a client whose picture of the cluster is old."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from logsync import Log
from logsync.errors import LogUnavailable
from logsync.log import lookup
from logsync.log.group import KafkaReader
from logsync.settings import Settings


class Stale:
    """Knows a partition only after it has asked for newer metadata."""

    def __init__(self, code: int) -> None:
        self.code, self.asked = code, False

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        if not self.asked:
            raise KafkaException(KafkaError(self.code))
        return 3, 9

    def list_topics(self, *_: Any) -> None:
        self.asked = True


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._UNKNOWN_PARTITION])
def test_offsets_are_asked_for_again_with_newer_metadata(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(lookup, "_TICK", 0.0)
    reading = lookup.Lookup(Settings(_env_file=None), "t")
    stale = Stale(code)
    monkeypatch.setattr(reading, "_use", lambda: stale)
    assert reading.bounds(0) == (3, 9)


class Behind:
    """A client of a broker that shows the partition only up to ``end``."""

    def __init__(self, end: int) -> None:
        self.end = end

    def assign(self, places: list[TopicPartition]) -> None:
        self.at = places[0].offset

    def poll(self, *_: Any) -> Any:
        message = MagicMock()
        message.offset.return_value = self.at
        message.partition.return_value = 0
        message.headers.return_value = []
        message.error.return_value = None if self.at < self.end else KafkaError(KafkaError._PARTITION_EOF)
        self.at += 1
        return message

    def consume(self, *_: Any) -> list[Any]:
        return []

    def unassign(self) -> None:
        pass


def test_a_range_of_which_a_broker_does_not_show_the_end_was_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that is new, or is one no more: an id that it does not show may stand there all the same. # A1"""
    reading = lookup.Lookup(Settings(_env_file=None), "t")
    monkeypatch.setattr(reading, "_use", lambda: Behind(5))
    assert [record.offset for record in reading.read(0, 2, 5, whole=True)] == [2, 3, 4]
    assert [record.offset for record in reading.read(0, 2, 9)] == [2, 3, 4]
    with pytest.raises(LogUnavailable, match="ends at 5"):
        list(reading.read(0, 2, 9, whole=True))
    member = KafkaReader(Log("t"), "s", Settings(_env_file=None))
    monkeypatch.setattr(member._lookup, "_use", lambda: Behind(5))
    monkeypatch.setattr(member._lookup, "_between", lambda: None)
    with pytest.raises(LogUnavailable, match="ends at 5"):
        member.find(0, {"x"}, 2, 9)
