"""A command in a message can be typed as it stands: it names the sink as its user did, not by the name in its code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from logsync import Sink
from logsync.core.inspection import Finding, Inspection, Severity
from logsync.errors import ConfigError, LogsyncError, StoreUnavailable
from logsync.ops import access
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog
from tests.unit.shop import log, make_sink
from tests.unit.test_worker import worker

PACKAGE = Path(__file__).parents[2] / "logsync"
COMMAND = re.compile(
    r"logsync (?:consume|status|doctor|rebuild|skip|position|parked|schema)\b[^\"'`{]*\{(?P<what>[^}]+)\}"
)
FIX = "`logsync rebuild SINK --yes` mends it"


class Broken(Memory):
    def open(self, sink: str, settings: object = None) -> None:
        raise ConfigError("broken", fix=FIX)

    def inspect(self, sink: str, settings: object = None) -> Inspection:
        return Inspection([Finding(Severity.ERROR, "x", "broken", fix=FIX)])


@pytest.fixture
def sink() -> Sink:
    made = make_sink(Broken())
    made.address = "shop.orders:sink"
    return made


def test_a_store_does_not_know_the_address_and_whoever_calls_it_does(sink: Sink) -> None:
    def errors() -> Iterator[LogsyncError]:
        with pytest.raises(ConfigError) as opened:  # noqa: SIM117
            with access.opened(sink, Settings.model_construct()):
                pass
        yield opened.value
        with pytest.raises(ConfigError) as looked:
            access.look(sink, Settings.model_construct())
        yield looked.value
        with pytest.raises(ConfigError) as ran:
            worker(MemoryLog(log), sink=sink).run()
        yield ran.value

    assert [error.fix for error in errors()] == ["`logsync rebuild shop.orders:sink --yes` mends it"] * 3


def test_only_the_word_that_stands_for_it_is_replaced(sink: Sink) -> None:
    error = sink.addressed(StoreUnavailable("x", fix="see SINKS, `logsync parked list SINK`"))
    assert error.fix == "see SINKS, `logsync parked list shop.orders:sink`"


def test_no_command_in_a_message_names_a_sink_by_its_name() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {match[0]}"
        for path in PACKAGE.rglob("*.py")
        for match in COMMAND.finditer(path.read_text())
        if "address" not in match["what"]
        and match["what"] != "where"
        # In the command line itself ``sink`` is what was typed.
        and not (path.parent.name == "cli" and match["what"] in ("sink", "partition", "offset"))
    ]
    assert found == []
