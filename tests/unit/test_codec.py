"""Events to records and back: a round trip for what is an event, a value for everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from logsync.core.cloudevents import CLOUD_EVENTS, RETRY_FROM
from logsync.core.codec import Decoder, encode
from logsync.core.event import Event, Headers, Ignored, Record, Tombstone, Undecodable
from logsync.core.log import Log
from logsync.errors import AppendRejected

log = Log("shop.events")


@log.event("basket.paid", key="basket")
class Paid(BaseModel):
    basket: str
    cents: int
    note: str | None = None


@log.event("basket.paid", key=lambda paid: paid.basket_id, version=2)
class Paid2(BaseModel):
    basket_id: int
    cents: int


@log.event("basket.seen", key="basket")
class Seen(BaseModel):
    basket: str


decode = Decoder(log, ["basket.paid", Tombstone.TYPE])
NOW = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
GOOD: Headers = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_type", b"basket.paid")]
JSON = b'{"basket": "b", "cents": 1}'


def record(value: bytes | None, headers: Headers, key: bytes | None = b"b") -> Record:
    return Record(0, 7, key, value, headers, 3, 1_700_000_000_000)


def through(event: BaseModel, **headers: str) -> object:
    key, value, found = encode(log, event, event_id="id-1", time=NOW, headers=headers.items())
    return decode(Record(2, 9, key, value, found, 4, 5))


@given(st.text(min_size=1), st.integers(-(2**63), 2**63 - 1), st.none() | st.text())
def test_an_event_comes_back_as_it_was(basket: str, cents: int, note: str | None) -> None:
    try:
        event = Paid(basket=basket, cents=cents, note=note)
        found = through(event, traceparent=TRACE)
    except AppendRejected:  # a lone surrogate is text for Python and for nobody else
        assert any("\ud800" <= letter <= "\udfff" for letter in basket + (note or ""))
        return
    assert isinstance(found, Event)
    assert found[:9] == ("id-1", "basket.paid", 1, basket, NOW, event, 2, 9, 4)
    assert found.traceparent == TRACE
    assert found.retry_from is None


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_version_travels_and_chooses_the_model() -> None:
    found = through(Paid2(basket_id=5, cents=3))
    assert isinstance(found, Event)
    assert (found.version, found.key, found.data) == (2, "5", Paid2(basket_id=5, cents=3))


def test_a_tombstone_is_a_null_value_and_never_empty_bytes() -> None:
    key, value, headers = encode(log, Tombstone(key="b", of="basket.paid"), event_id="i", time=NOW)
    assert (key, value) == (b"b", None)
    assert "content-type" not in dict(headers)
    found = through(Tombstone(key="b"))
    assert isinstance(found, Event)
    assert (found.type, found.data) == (Tombstone.TYPE, Tombstone(key="b"))
    ended = through(Tombstone(key="b", of="basket.paid"))
    assert isinstance(ended, Event)
    assert ended.data == Tombstone(key="b", of="basket.paid")
    bare = decode(record(None, []))
    assert isinstance(bare, Event)
    assert (bare.id, bare.time) == ("shop.events/0/7", datetime.fromtimestamp(1_700_000_000, UTC))
    assert isinstance(decode(record(b"", GOOD)), Undecodable)


def test_a_tombstone_that_no_handler_wants_is_ignored_not_refused() -> None:
    assert isinstance(Decoder(log, ["basket.paid"])(record(None, [])), Ignored)


def test_a_known_type_without_a_handler_is_not_even_looked_at() -> None:
    headers: Headers = [*GOOD[:2], ("ce_type", b"basket.seen")]
    assert decode(record(b"\xff not json", headers)) == Ignored(0, 7, 3, "1", "basket.seen")


@pytest.mark.parametrize(
    ("headers", "value", "unknown", "says"),
    [
        ([*GOOD[:2], ("ce_type", b"basket.lost")], JSON, True, "type 'basket.lost'"),
        ([*GOOD, ("ce_dataversion", b"3")], JSON, True, "version 3"),
        ([*GOOD, ("ce_dataversion", b"\xff")], JSON, True, "version"),
        ([], JSON, False, "without ['ce_specversion', 'ce_id', 'ce_type']"),
        ([("ce_specversion", b"0.3"), *GOOD[1:]], JSON, False, "ce_specversion=0.3"),
        ([GOOD[0], ("ce_id", b""), GOOD[2]], JSON, False, "without ['ce_id']"),
        ([GOOD[0], ("ce_id", None), GOOD[2]], JSON, False, "without ['ce_id']"),
        (GOOD, b"{", False, "Invalid JSON"),
        (GOOD, b"null", False, "the value"),
        (GOOD, b'{"basket": "b"}', False, "cents: Field required"),
        (GOOD, b"\x00\xff\xfe", False, "JSON"),
        ([*GOOD, ("content-type", b"application/avro")], JSON, False, "content-type application/avro"),
        ([*GOOD, ("ce_time", b"yesterday")], JSON, False, "yesterday"),
        ([*GOOD, ("ce_time", b"2026-03-01T12:30:00")], JSON, False, "no time zone"),
        ([*GOOD, ("ce_time", b"2026-03-01T12:30:00")], None, False, "no time zone"),
        *(
            ([*GOOD, (RETRY_FROM, odd)], JSON, False, "logsync-retry-from '")
            for odd in (b"x", b"-5", b"1_0", b"9" * 5000)
        ),
    ],
)
def test_what_is_no_event_becomes_a_value_that_says_what_was_expected_and_found(
    headers: Headers, value: bytes | None, unknown: bool, says: str
) -> None:
    found = decode(record(value, headers))
    assert isinstance(found, Undecodable)
    assert found.unknown_type is unknown
    assert says in found.found
    assert found.expected
    assert (found.partition, found.offset) == (0, 7)


@pytest.mark.parametrize(
    ("headers", "key", "expected", "found"),
    [
        ([*GOOD, ("ce_time", b"yesterday")], b"b", "a ce_time as in RFC 3339", "'yesterday': it has another form"),
        ([*GOOD, ("ce_time", b"2026-02-30T00:00:00Z")], b"b", "a ce_time as in RFC 3339", "day is out of range"),
        (GOOD, b"\xff", "a key in UTF-8", "\\xff, whose byte 0 is not UTF-8"),
        ([*GOOD, (RETRY_FROM, b"x")], b"b", "an offset in logsync-retry-from", "'x'"),
        ([*GOOD, ("content-type", b"text/\x1b[2J")], b"b", "content-type application/json", "text/\\x1b[2J"),
    ],
)
def test_what_is_wrong_is_named_and_not_taken_for_json(headers: Headers, key: bytes, expected: str, found: str) -> None:
    made = decode(record(JSON, headers, key))
    assert isinstance(made, Undecodable)
    assert made.expected.startswith(expected)
    assert found in made.found


def test_a_time_in_any_form_of_rfc_3339_stands_in_the_event() -> None:
    for text in (b"2026-03-01t12:30:00z", b"2026-03-01 12:30:00-00:00", b"2026-02-28T23:59:60Z"):
        assert isinstance(decode(record(JSON, [*GOOD, ("ce_time", text)])), Event)


def test_a_record_beyond_the_calendar_has_no_time_of_its_own() -> None:
    made = decode(record(JSON, GOOD)._replace(timestamp=2**63 - 1))
    assert isinstance(made, Undecodable)
    assert "timestamp" in made.found


def test_values_are_not_repeated_in_messages() -> None:
    """A message goes to logs; a customer's data does not."""
    found = decode(record(b'{"basket": "b", "cents": "4111-1111"}', GOOD))
    assert isinstance(found, Undecodable)
    assert "4111" not in found.found


@given(
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["ce_id", "ce_type", "ce_time", "ce_specversion", "ce_dataversion", "content-type", RETRY_FROM]
            )
            | st.text(max_size=5),
            st.none() | st.binary(max_size=20) | st.sampled_from([b"1.0", b"basket.paid", b"2", b"application/json"]),
        ),
        max_size=9,
    ),
)
def test_decode_is_total(key: bytes | None, value: bytes | None, headers: Headers) -> None:
    found = decode(record(value, headers, key))
    assert (found.partition, found.offset) == (0, 7)


PLAIN = encode(log, Paid(basket="b", cents=1), event_id="id-1", time=NOW).headers


def test_an_event_whose_headers_stand_as_written_is_decoded_as_any_other() -> None:
    """Every header once with another name, value or place: what is looked up by name says what it must become."""
    odd = [None, b"", b"1.0", b"\xff", b"basket.seen", b"2026-03-01T12:30:00", b"text/plain", b"application/json",
           b"2026-W09-7T12:30:00.123456+00:00", b"2026-03-01T12:30:00.123456+00:60", b"2026-03-01t12:30:00.1+00:00",
           b"2026-03-01T12:30:00.1+00:00", b"2026-03-01T123000.1234567+00:00"]  # fmt: skip
    cases: list[Headers] = [PLAIN, PLAIN[::-1]]
    for at, (name, value) in enumerate(PLAIN):
        cases += [[*PLAIN[:at], (name, other), *PLAIN[at + 1 :]] for other in odd]
        cases += [[*PLAIN[:at], (other, value), *PLAIN[at + 1 :]] for other, _ in [*PLAIN, ("traceparent", b"")]]
        cases += [[*PLAIN[:at], again, *PLAIN[at + 1 :]] for again in [*PLAIN, ("ce_dataversion", b"2")]]
        cases += [[*PLAIN[:at], *PLAIN[at + 1 :], (name, value)]]
    for value in (JSON, None, b"", b"{}"):
        for key in (b"b", None, b"\xff"):
            for headers in cases:
                found = record(value, headers, key)
                assert decode(found) == decode._by_name(found)


def test_the_usual_event_is_not_looked_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logsync.core.cloudevents._Decoder._by_name", None)
    assert isinstance(decode(record(JSON, PLAIN)), Event)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"2026-03-01T12:30:00Z", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        (b"2026-03-01T12:30:00.123456789Z", NOW),  # other languages have nanoseconds
        (b"2026-03-01T14:30:00.5+02:00", datetime(2026, 3, 1, 14, 30, 0, 500_000, timezone(timedelta(hours=2)))),
    ],
)
def test_every_form_of_a_time_with_a_zone_is_understood(text: bytes, time: datetime) -> None:
    found = decode(record(JSON, [*GOOD, ("ce_time", text)]))
    assert isinstance(found, Event)
    assert found.time == time


def test_nonsense_in_a_retry_is_no_offset_in_a_record_that_is_no_event_either() -> None:
    for odd in (b"x", b"-5", b"9" * 5000, None):
        assert CLOUD_EVENTS.retry_from(record(b"{", [*GOOD, (RETRY_FROM, odd)])) is None
    assert CLOUD_EVENTS.retry_from(record(b"{", [*GOOD, (RETRY_FROM, b"42")])) == 42


def test_a_retry_says_where_its_original_may_stand() -> None:
    found = decode(record(JSON, [*GOOD, (RETRY_FROM, b"42")]))
    assert isinstance(found, Event)
    assert found.retry_from == 42


@pytest.mark.parametrize("name", ["ce_id", "ce_anything", "logsync-retry-from", "logsync-x", "content-type"])
def test_headers_that_carry_the_protocol_are_reserved(name: str) -> None:
    with pytest.raises(AppendRejected, match="reserved"):
        through(Seen(basket="b"), **{name: "x"})


@pytest.mark.parametrize("text", ["", "00", TRACE.upper(), TRACE + "-x", TRACE[:-3], "00-" + "g" * 32 + TRACE[35:]])
def test_a_broken_traceparent_is_refused(text: str) -> None:
    with pytest.raises(AppendRejected, match="traceparent"):
        through(Seen(basket="b"), traceparent=text)


def test_a_key_that_cannot_be_taken_is_refused() -> None:
    class Odd(BaseModel):
        x: int

    odd = Log("odd")
    odd.event("odd", key=lambda event: event.missing)(Odd)
    with pytest.raises(AppendRejected, match="the key of odd could not be taken"):
        encode(odd, Odd(x=1), event_id="i", time=NOW)


def test_an_event_under_another_id_is_what_that_id_would_have_made() -> None:
    for event in (Paid(basket="b", cents=1), Paid2(basket_id=1, cents=1), Tombstone(key="b", of="basket.paid")):
        first, second = (
            encode(log, event, event_id=event_id, time=NOW, headers=[("traceparent", TRACE)]) for event_id in ("0", "b")
        )
        assert CLOUD_EVENTS.renamed(first, "b") == second
