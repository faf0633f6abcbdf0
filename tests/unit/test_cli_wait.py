"""`logsync wait` over stores in memory: words to receipts and sinks, answers to lines and exit codes."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Iterator

import pytest

from logsync.cli.exits import Exit
from logsync.cli.wait import CODES
from logsync.core.book import Book
from logsync.core.position import LogIdentity, Position
from logsync.core.receipt import Receipt
from logsync.reading import State
from logsync.stores.memory import Memory, Server
from logsync.testing.store_contract.making import waiting
from tests.unit.shop import make_sink
from tests.unit.test_cli import run

RECEIPT = Receipt("e", "test.shop", 0, 7, "id", "order.placed")
TEXT = RECEIPT.dump()


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A module with two sinks: `here:db` has applied 10 records, `here:cache` has 3."""
    server, module = Server(), types.ModuleType("here")
    for name, offset in (("db", 10), ("cache", 3)):
        sink = make_sink(Memory(server))
        sink.name = name
        setattr(module, name, sink)
        log = LogIdentity("c", "test.shop", "id", 1)
        server.books[name] = Book(sink=name, environment="default", log=log, handled=sink.handled)
        server.positions[name] = {0: Position(0, offset)}
    monkeypatch.setitem(sys.modules, "here", module)
    monkeypatch.delenv("LOGSYNC_ENVIRONMENT", raising=False)
    return server


def test_every_answer_has_a_code() -> None:
    assert CODES.keys() == set(State)


def test_an_event_that_is_applied_ends_with_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wait", TEXT, "here:db") == Exit.OK
    assert capsys.readouterr().out == "db: applied\n"


def test_time_that_runs_out_ends_with_behind_and_each_sink_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wait", TEXT, "here:db", "here:cache", "--timeout", "0.2") == Exit.BEHIND
    assert capsys.readouterr().out == "db: applied\ncache: behind by 5\n"


def test_what_is_parked_and_what_is_passed_over_have_codes_of_their_own(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.parked["db"] = {(0, 7): waiting(7)}
    assert run("wait", TEXT, "here:db") == Exit.PARKED
    assert "HandlerError" in capsys.readouterr().out
    assert run("wait", RECEIPT._replace(type="page.seen").dump(), "here:db") == Exit.PASSED_OVER
    assert capsys.readouterr().out == "db: passed over: page.seen has no handler\n"
    server.books.clear()
    assert run("wait", TEXT, "here:db", "--timeout", "0.2") == Exit.BEHIND


def test_receipts_come_from_stdin_one_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = f"{TEXT}\n\n{RECEIPT._replace(offset=20).dump()}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert run("wait", "-", "here:db", "--timeout", "0.2", "--json") == Exit.BEHIND
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"sink": "db", "state": "behind", "visible": False, "why": "", "events": 11, "seconds": None}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["here:db"], "no receipt"),
        ([TEXT], "no sink"),
        (['{"format":1}', "here:db"], "no receipt"),
        (["{", "here:db"], "no receipt"),
        ([TEXT.replace('"format":3', '"format":99'), "here:db"], "a receipt of format 99"),
    ],
)
def test_what_is_missing_or_no_receipt_is_usage(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("wait", *words) == Exit.USAGE
    assert expected in capsys.readouterr().err


def test_a_receipt_of_another_log_is_no_matter_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wait", RECEIPT._replace(topic="other").dump(), "here:db") == Exit.CONFIG
    assert "the receipt is of topic other" in capsys.readouterr().err
    assert run("wait", RECEIPT._replace(topic_id="made again").dump(), "here:db") == Exit.LOG
