"""What a connection of the app's own is asked, statement by statement, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from logsync.core.book import Book
from logsync.core.position import LogIdentity
from logsync.core.receipt import Receipt
from logsync.errors import ConfigError
from logsync.reading import Seen, State, own, seen_on, wait_on
from logsync.reading.lines import Ask, Facts, Row
from logsync.stores.memory import Memory
from logsync.stores.postgres import Postgres
from logsync.stores.postgres.view import LOOK
from tests.unit.shop import make_sink

SINK = make_sink(Postgres("postgresql://nobody-is-asked"))
BOOK = Book(sink="db", environment="default", log=LogIdentity("c", "test.shop", "id", 1))
RECEIPT = Receipt("e", "test.shop", 0, 7, "id", "order.placed")
ISOLATION = "SELECT current_setting('transaction_isolation')"


class Broken(Exception):
    """What a driver raises."""


class FakeLine:
    """A connection whose answers the test sets, by what the statement is."""

    def __init__(self, database: str = "postgresql") -> None:
        self.facts = Facts(database, {})
        self.asked: list[str] = []
        self.made, self.allowed, self.next_offset, self.isolation = True, True, 8, "read committed"
        self.transactions = 0
        self.error: Exception | None = None

    def ask(self, ask: Ask) -> Row:
        if ask.statement == LOOK:
            self.asked.append("look")
            if self.error is not None:
                raise self.error
            return BOOK.dump(), json.dumps([self._position()]), None
        if ask.statement.startswith(ISOLATION):
            self.asked.append("isolation")
            return self.isolation, str(self.transactions)
        self.asked.append("there")
        return self.made, self.allowed

    def _position(self) -> Mapping[str, Any]:
        return {"format": 2, "partition": 0, "epoch": 1, "next_offset": self.next_offset}


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> FakeLine:
    found = FakeLine()
    monkeypatch.setattr(own, "line", lambda _: found)
    monkeypatch.setattr(own, "own_environment", lambda: "default")
    return found


def test_the_first_look_on_a_connection_asks_the_catalog_and_every_later_one_is_one_select(line: FakeLine) -> None:
    assert seen_on(None, RECEIPT, SINK) == Seen(State.APPLIED, "db")
    assert line.asked == ["there", "look"]
    line.asked.clear()
    assert seen_on(None, [RECEIPT, RECEIPT._replace(offset=9)], SINK) == Seen(State.BEHIND, "db", events=2)
    assert line.asked == ["look"], "one, however many receipts"


def test_what_would_fail_is_not_asked(line: FakeLine) -> None:
    line.made = False
    assert seen_on(None, RECEIPT, SINK).state is State.NOT_STARTED
    line.made, line.allowed = True, False
    with pytest.raises(ConfigError, match=r"GRANT USAGE ON SCHEMA logsync"):
        seen_on(None, RECEIPT, SINK)
    assert line.asked == ["there"] * 2
    assert not line.facts.notes, "asked again next time"


def test_after_an_error_the_catalog_is_asked_again(line: FakeLine) -> None:
    seen_on(None, RECEIPT, SINK)
    line.error = Broken("the table is gone")
    with pytest.raises(Broken):
        seen_on(None, RECEIPT, SINK)
    line.asked.clear()
    line.made = False
    assert seen_on(None, RECEIPT, SINK).state is State.NOT_STARTED
    assert line.asked == ["there"]


def test_what_the_receipt_tells_is_not_asked(line: FakeLine) -> None:
    assert seen_on(None, RECEIPT._replace(type="page.seen"), SINK).state is State.PASSED_OVER
    assert wait_on(None, RECEIPT._replace(type="page.seen"), SINK).state is State.PASSED_OVER
    assert line.asked == []


def test_a_wait_looks_once_more_when_time_is_over(line: FakeLine) -> None:
    line.next_offset = 0
    assert wait_on(None, RECEIPT, SINK, timeout=0) == Seen(State.BEHIND, "db", events=8)
    assert line.asked == ["isolation", "there", "look"]
    assert wait_on(None, RECEIPT, SINK, timeout=0.05).state is State.BEHIND
    assert line.asked.count("look") > 2


def test_a_frozen_snapshot_is_refused_only_if_it_lasts(line: FakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
    line.isolation = "repeatable read"
    with pytest.raises(ConfigError, match="REPEATABLE READ"):
        wait_on(None, RECEIPT, SINK)
    assert line.asked == ["isolation"] * 2, "before any look, so that it is refused whatever the look would say"

    asked = line.ask

    def alone(ask: Ask) -> Row:
        line.transactions += 1
        return asked(ask)

    monkeypatch.setattr(line, "ask", alone)
    assert wait_on(None, RECEIPT, SINK).state is State.APPLIED, "in autocommit"


def test_another_database_and_another_store_are_refused(line: FakeLine) -> None:
    line.facts = Facts("sqlite", {})
    for ask in (seen_on, wait_on):
        with pytest.raises(ConfigError, match="one to sqlite, and sink db fills postgresql"):
            ask(None, RECEIPT, SINK)
    assert line.asked == []
    with pytest.raises(ConfigError, match="of kind memory"):
        seen_on(None, RECEIPT, make_sink(Memory()))


def test_what_is_no_connection_is_refused_and_told_what_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "own_environment", lambda: "default")
    with pytest.raises(
        ConfigError, match=r"seen_on takes a Connection or Cursor of psycopg 3.*object of builtins\.str"
    ):
        seen_on("postgresql://...", RECEIPT, SINK)
