"""`logsync parked` over a store in memory: what it prints, what it leaves alone, and its exit codes."""

from __future__ import annotations

import json

import pytest

from logsync.cli import main
from logsync.cli import parked as command
from logsync.cli.exits import Exit
from logsync.core.sink import Sink
from logsync.settings import Settings
from logsync.stores.memory import Memory
from tests.unit.shop import make_sink
from tests.unit.test_parking import parked, poisoned


class Untouched(Memory):
    """A store that was never used by this sink. Opening a real one creates what is kept beside the content."""

    def open(self, sink: str, settings: Settings | None = None) -> None:
        if settings is not None:
            pytest.fail("opened")
        super().open(sink, settings)

    def inspect(self, sink: str, settings: Settings | None = None):  # type: ignore[no-untyped-def]
        return super().inspect(sink, None)


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    store = Memory()
    parked(poisoned(), store)
    return use(monkeypatch, make_sink(store))


def use(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> Sink:
    monkeypatch.setenv("LOGSYNC_ENVIRONMENT", "test")
    monkeypatch.setattr(command, "load_sink", lambda _: sink)
    return sink


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["parked", *words])
    return int(ended.value.code or 0)


def test_show_prints_one_event_whole(sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "db", "0:1") == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert (shown["offset"], shown["error"], shown["attempts"]) == (1, "HandlerError", 1)
    assert "negative" in shown["message"]
    assert shown["record"]


@pytest.mark.parametrize(
    "words",
    [
        ("show", "db", "0:0"),
        ("retry", "db", "--event", "0:0", "--yes"),
        ("retry", "db", "--key", "a", "--yes"),
        ("discard", "db", "--error", "DecodeError", "--reason", "x", "--yes"),
    ],
)
def test_what_is_not_parked_is_not_found(sink: Sink, capsys: pytest.CaptureFixture[str], words: tuple[str]) -> None:
    before = sink.store.read_book()
    assert run(*words) == Exit.NOT_FOUND
    assert "logsync parked list db" in capsys.readouterr().err
    assert sink.store.read_book() == before


@pytest.mark.parametrize("words", [("retry", "db", "--all"), ("discard", "db", "--all", "--reason", "x")])
def test_without_yes_it_counts_and_changes_nothing(
    sink: Sink, capsys: pytest.CaptureFixture[str], words: tuple[str]
) -> None:
    before = sink.store.read_book()
    assert run(*words) == Exit.REFUSED
    assert "1 sequences with 3 events meant" in "".join(capsys.readouterr())
    assert sink.store.read_book() == before


@pytest.mark.parametrize("words", [("list", "db"), ("show", "db", "0:1"), ("retry", "db", "--all", "--yes")])
def test_a_store_that_does_not_know_the_sink_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str]
) -> None:
    use(monkeypatch, make_sink(Untouched()))
    assert run(*words) == Exit.CONFIG
    assert "has no position in this store yet" in capsys.readouterr().err
