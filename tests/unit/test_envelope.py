"""Ids and times that come from outside: taken by every append, and refused before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from logsync import AppendRejected, Envelope, Log, Sink, Tombstone
from logsync.appending import prepare
from logsync.core.codec import Decoder
from logsync.core.envelope import checked_id, checked_time
from logsync.core.event import Event
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, event, feed
from logsync.writes.rows import Upsert

log = Log("t")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LAST_YEAR = datetime(2025, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


@log.event("paid", key="basket")
class Paid(BaseModel):
    basket: str


@pytest.mark.parametrize("given", ["evt_1MqqbKLt4dXK03v5qaIbiNCC", "12345", "0:17", "ü/ß", "a b", "x" * 255, "{}"])
def test_an_id_from_outside_stands_in_the_log_as_it_was_given(given: str) -> None:
    source = MemoryLog(log)
    found = Decoder(log, ["paid"])(source.append(Paid(basket="b"), id=given, time=LAST_YEAR))
    assert isinstance(found, Event)
    assert (found.id, found.time) == (given, LAST_YEAR)
    assert event(log, Paid(basket="b"), id=given).id == given


@pytest.mark.parametrize(
    "given", ["", " ", " a", "a\n", "a\nb", "a\x1b[2J", "\u200e", "\u2028", "\ud800", "x" * 256, "ü" * 128, b"a", 5]
)
def test_an_id_that_no_header_and_no_line_can_hold_is_refused(given: Any) -> None:
    with pytest.raises(AppendRejected, match=r"id is .* expected 1 to 255 bytes") as caught:
        prepare(log, Paid(basket="b"), None, given)
    assert str(caught.value).isascii()
    with pytest.raises(AppendRejected):
        MemoryLog(log).append(Paid(basket="b"), id=given)


@pytest.mark.parametrize(
    "given",
    [
        LAST_YEAR.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
        LAST_YEAR.astimezone(ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    ],
)
def test_a_time_from_outside_is_the_same_instant_in_the_log(given: datetime) -> None:
    found = event(log, Paid(basket="b"), time=given)
    assert found.time == given.astimezone(UTC)


@pytest.mark.parametrize(
    "given",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        LAST_YEAR.date(),
        "2026-01-01T00:00:00Z",
        1_700_000_000,
    ],
)
def test_a_time_that_names_no_instant_is_refused(given: Any) -> None:
    with pytest.raises(AppendRejected, match="time is no instant"):
        prepare(log, Paid(basket="b"), None, None, given)


def test_without_an_id_and_a_time_an_event_gets_its_own() -> None:
    (first, _, one, _), (second, _, other, _) = (prepare(log, Paid(basket="b"), None) for _ in range(2))
    assert first < second
    assert dict(one.headers)["ce_id"] == first.encode()
    assert dict(other.headers)["ce_time"]


def test_what_is_checked_is_plain() -> None:
    class Own(str):
        __slots__ = ()

    assert type(checked_id(Own("a"))) is str
    assert checked_time(LAST_YEAR.astimezone(ZoneInfo("Asia/Tokyo"))).tzinfo is UTC


@pytest.mark.parametrize("headers", [{"a": "\ud800"}, {"\ud800": "a"}, {"a": 5}, {"a": None}, {5: "a"}])
def test_a_header_that_is_no_text_is_refused(headers: Any) -> None:
    with pytest.raises(AppendRejected, match="header"):
        prepare(log, Paid(basket="b"), headers)


def test_feed_takes_an_event_with_its_id_and_time() -> None:
    sink, seen = Sink("s", log, Memory()), list[tuple[str, datetime, str | None]]()

    @sink.on(Paid)
    def paid(found: Event[Paid]) -> list[Upsert]:
        seen.append((found.id, found.time, found.traceparent))
        return []

    feed(sink, Envelope(Paid(basket="b"), id="evt_1", time=LAST_YEAR, headers={"traceparent": TRACE}))
    assert seen == [("evt_1", LAST_YEAR, TRACE)]


def test_an_envelope_is_an_event_with_what_stands_beside_it() -> None:
    assert Envelope(Paid(basket="b")) == (Paid(basket="b"), None, None, None)


@pytest.mark.parametrize("of", ["", Tombstone.TYPE, "a\nb", "\ud800", 5])
def test_a_tombstone_that_would_end_another_type_is_refused(of: Any) -> None:
    with pytest.raises(AppendRejected, match="would not come back equal"):
        prepare(log, Tombstone.model_construct(key="k", of=of), None)


def test_a_tombstone_whose_key_is_no_text_is_refused() -> None:
    with pytest.raises(AppendRejected, match="would not come back equal"):
        prepare(log, Tombstone.model_construct(key=5), None)
