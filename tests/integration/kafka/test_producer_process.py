"""Fork and interpreter exit never hang, lose or double."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import Shop


@pytest.mark.parametrize(("what", "fewest"), [("fork", 7), ("end", 200)])
def test_a_process_ends_by_itself_and_every_acknowledged_event_stands_once(
    shop: Shop, env: dict[str, str], what: str, fewest: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.kafka.apps", what],
        env={**env, "LOGSYNC_TEST_TOPIC": shop.log.topic},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    acknowledged = done.stdout.split()
    assert len(acknowledged) >= fewest
    stand = shop.ids()
    assert len(stand) == len(set(stand))
    assert set(acknowledged) <= set(stand)
