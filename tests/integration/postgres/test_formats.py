"""A position that a newer logsync wrote is refused, never half-read."""

from __future__ import annotations

import pytest

from logsync.core.position import Position
from logsync.errors import ConfigError
from tests.integration.postgres.conftest import Bench


def test_a_position_of_a_newer_format_is_refused(bench: Bench) -> None:
    store = bench.store(tables=[])
    assert store.positions() == {0: Position(0, 0)}
    bench.db.execute("UPDATE logsync.position SET format = 3 WHERE sink = %s", (bench.name,))
    with pytest.raises(ConfigError, match="position of format 3"):
        store.positions()
