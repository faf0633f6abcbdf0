"""`show --sink` says what keeps a sink from applying a record, as its handlers are now."""

from __future__ import annotations

from typing import Any

import pytest

from logsync import Event, Sink
from logsync.cli.records import _print
from logsync.errors import ConfigError, HandlerError
from logsync.ops import records
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.stores.postgres import Postgres, Upsert
from logsync.testing import MemoryLog
from tests.unit.shop import OrderPlaced, PageSeen, log, make_sink


def placed(event: Event[OrderPlaced]) -> Upsert:
    return Upsert("orders", {"order": event.data.order}, {"part": 100 // event.data.cents})


def sink_of(store: Any) -> Sink:
    sink = Sink("db", log, store)
    sink.on(OrderPlaced)(placed)
    return sink


def test_what_a_worker_would_halt_at_is_found_without_its_store() -> None:
    source = MemoryLog(log)
    good, bad = source.append(OrderPlaced(order="a", cents=1)), source.append(OrderPlaced(order="a", cents=0))
    seen = source.append(PageSeen(page="x"))
    sink = sink_of(Postgres(schema='CREATE TABLE orders ("order" text PRIMARY KEY, part int)'))
    assert records.trouble(sink, good, 1) is None
    assert records.trouble(sink, seen, 1) is None
    assert isinstance(records.trouble(sink, bad, 1), HandlerError)
    assert isinstance(records.trouble(sink, good, 2), ConfigError)
    narrow = sink_of(Postgres(schema='CREATE TABLE orders ("order" text PRIMARY KEY)'))
    assert isinstance(records.trouble(narrow, good, 1), ConfigError)


def test_show_prints_where_the_handler_raised(capsys: pytest.CaptureFixture[str]) -> None:
    source, store = MemoryLog(log), Memory()
    found = [source.append(OrderPlaced(order="a", cents=0)), source.append(OrderPlaced(order="a", cents=1))]
    facts = [records.describe(record, log) for record in found]
    records.relate(sink_of(store), found, facts, 1, Settings.model_construct())
    assert "fails" not in facts[1]["sink"]
    fails = facts[0]["sink"]["fails"]
    line = placed.__code__.co_firstlineno + 1
    assert fails["error"] == "HandlerError"
    assert (
        f"ZeroDivisionError: integer division or modulo by zero at test_trouble.py:{line} in placed" in fails["message"]
    )
    assert f'File "{__file__}", line {line}, in placed' in fails["traceback"]
    _print(facts[0])
    shown = capsys.readouterr().out
    assert "the sink as it is now cannot apply it: HandlerError: the handler placed raised ZeroDivisionError" in shown
    assert f"line {line}, in placed" in shown


def test_a_sink_without_trouble_says_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    source = MemoryLog(log)
    record = source.append(OrderPlaced(order="a", cents=1))
    facts = [records.describe(record, log)]
    records.relate(make_sink(), [record], facts, 1, Settings.model_construct())
    _print(facts[0])
    assert "cannot apply" not in capsys.readouterr().out
