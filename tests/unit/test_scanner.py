"""Questions about the log's offsets to a client whose picture of the cluster is old."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from logsync.log import lookup
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
