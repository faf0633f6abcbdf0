"""A relay as a process: which troubles it waits out, and how it calls its source in what it says."""

from __future__ import annotations

from typing import Any, cast

import pytest

from logsync.errors import ConfigError, LogsyncError, StoreUnavailable
from logsync.settings import Settings
from logsync.sources import Source, run
from logsync.sources.postgres import PostgresLog
from logsync.sources.status import RelayState, RelayStatus

from .shop import log


class Scripted:
    """A relay that is through at once."""

    stopping = False
    closed = 0

    def __init__(self, source: Source, *_: Any) -> None:
        self.status = RelayStatus(confirmed="b")

    def step(self) -> None:
        self.status.state = RelayState.RUNNING

    def stop(self) -> None:
        self.stopping = True

    def close(self) -> None:
        type(self).closed += 1


class Origin(PostgresLog):
    """Its database raises these when it is asked for its end, and answers then."""

    def __init__(self, *errors: LogsyncError) -> None:
        super().__init__("postgresql://nowhere.invalid/x", outbox=True)
        self.errors = list(errors)

    def now(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "b"


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Relay", Scripted)
    monkeypatch.setattr(Scripted, "closed", 0)


def relay(*errors: LogsyncError) -> None:
    source = Source("shop-db", log, Origin(*errors))
    source.address = "shop"
    run.run_relay(source, Settings(kafka=cast("Any", "nowhere.invalid:9")), until_end=True)


def test_an_outage_while_the_end_is_asked_for_is_waited_out() -> None:
    relay(StoreUnavailable("down"), StoreUnavailable("down"))
    assert Scripted.closed == 3  # after each, and in the end


def test_what_a_person_has_to_mend_names_the_source_as_the_command_line_does() -> None:
    with pytest.raises(ConfigError, match="source adopt shop --reason"):
        relay(ConfigError("the slot is gone", fix="`logsync source adopt SOURCE --reason ...`"))
