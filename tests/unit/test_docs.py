"""The Python blocks of docs/ run, and mean what the text around them says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from logsync import DecodeError, Envelope, HandlerError, UnknownEventType
from logsync.core.codec import id_of
from logsync.testing import MemoryLog, event
from tests.integration.kafka import rights
from tests.unit import shop

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_of_parking_does_what_its_comments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    events = types.ModuleType("order_events")
    events.log, events.OrderPlaced = shop.log, shop.OrderPlaced  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "order_events", events)
    (block,) = blocks("parking.md")
    namespace: dict[str, object] = {}
    exec(compile(block, "docs/parking.md", "exec"), namespace)
    sink = namespace["sink"]
    found = [sink.parks(error("x")) for error in (HandlerError, UnknownEventType, DecodeError)]  # type: ignore[attr-defined]
    assert found == [True, False, False]
    assert sink.parks(DecodeError("x", event_type="order.placed"))  # type: ignore[attr-defined]
    assert sink.parking.sequences == 500  # type: ignore[attr-defined]


def test_the_example_of_an_event_is_one() -> None:
    block, appends = blocks("events.md")
    namespace: dict[str, Any] = {"__name__": "docs_events", "Envelope": Envelope}
    exec(compile(block, "docs/events.md", "exec", dont_inherit=True), namespace)
    data = namespace["OrderPlaced"].model_validate(
        {"order_id": "1", "placed": "2026-03-01T12:30:00+01:00", "lines": [{"sku": "a", "count": 1, "price": "2.50"}]}
    )
    assert event(namespace["log"], data).data == data
    source = MemoryLog(namespace["log"])
    producer = SimpleNamespace(
        append=source.append,
        append_many=lambda many: [source.append(one.event, id=one.id, time=one.time) for one in many],
    )
    namespace |= {"producer": producer, "order": data, "created": data.placed, "last_year": [data]}
    exec(compile(appends, "docs/events.md", "exec", dont_inherit=True), namespace)
    assert [id_of(namespace["log"], record) for record in source.records[0]] == ["evt_1MqqbKLt4dXK03v5", "import-1"]


def test_the_page_of_permissions_is_made_from_the_rights_that_the_tests_run_with() -> None:
    text = rights.PAGE.read_text()
    assert rights.page(text) == text, "python -m tests.integration.kafka.rights"
