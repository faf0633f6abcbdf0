"""Times as records write them: what RFC 3339 allows is taken, what it does not allow is refused, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logsync.core.moments import moment, since_1970

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2026-01-31T12:00:00Z", NOON),
        (b"2026-01-31t12:00:00z", NOON),
        (b"2026-01-31 12:00:00Z", NOON),
        (b"2026-01-31T12:00:00-00:00", NOON),
        (b"2026-01-31T12:00:00.000Z", NOON),
        (b"2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        (b"2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
        (b"2026-01-31T12:00:00." + b"9" * 3000 + b"Z", NOON + timedelta(microseconds=999999)),
        (b"2026-01-31T12:20:00+00:20", NOON),
        (b"2026-01-31T13:37:00.25+01:37", NOON + timedelta(milliseconds=250)),
        (b"2026-02-01T11:59:00+23:59", NOON),
        (b"1990-12-31T23:59:60Z", datetime(1991, 1, 1, tzinfo=UTC)),
        (b"1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        (b"1990-12-31T15:59:60.25-08:00", datetime(1991, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        (b"0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        (b"9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
        (b"2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_all_of_rfc_3339_is_taken(text: bytes, expected: datetime) -> None:
    assert moment(text) == expected


def test_the_offset_of_the_writer_is_kept() -> None:
    assert moment(b"2026-01-31t12:00:00-08:00").utcoffset() == timedelta(hours=-8)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"now", b"\xff", b"2026-01-31", b"2026-01-31T12:00:00", b"2026-01-31T12:00Z", b"2026-01-31T12Z",
        b"2026-W05-6T12:00:00Z", b"20260131T120000Z", b"2026-01-31T120000Z", b"2026-01-31_12:00:00Z",
        b"2026-01-31T12:00:00,5Z", b"2026-01-31T12:00:00.Z", b"2026-01-31T12:00:00+00", b"2026-01-31T12:00:00+0000",
        b"2026-01-31T12:00:00+00:00:00", b"2026-01-31T12:00:00+24:00", b"2026-01-31T12:00:00+00:60",
        b"2026-02-30T12:00:00Z", b"2025-02-29T12:00:00Z", b"2026-13-01T12:00:00Z", b"2026-01-31T24:00:00Z",
        b"2026-01-31T12:60:00Z", b"2026-01-31T12:00:61Z", b"2026-01-31T12:00:60Z", b"0000-01-01T00:00:00Z",
        b"9999-12-31T23:59:60Z", b"10000-01-01T00:00:00Z", b" 2026-01-31T12:00:00Z", b"2026-01-31T12:00:00Z\n",
        "２026-01-31T12:00:00Z".encode(),
    ],
)  # fmt: skip
def test_what_rfc_3339_does_not_allow_is_refused_with_its_text(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"'.*': "):
        moment(text)


@given(
    st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - its timezones come beside it
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)  # fmt: skip
def test_what_python_writes_of_an_aware_time_is_read_as_the_same_time(time: datetime) -> None:
    assert moment(time.isoformat().encode()) == time
    assert moment(time.isoformat().replace("T", "t").encode()) == time


@pytest.mark.parametrize("milliseconds", [-(2**63), 2**63 - 1, 253402300800000, -62135596800001])
def test_a_timestamp_beyond_the_calendar_is_no_time(milliseconds: int) -> None:
    assert since_1970(milliseconds) is None
