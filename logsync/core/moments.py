"""Points in time as CloudEvents write them: RFC 3339, all of it and nothing else.

Python's ``fromisoformat`` takes another language: also week dates and times without seconds, but no lower-case ``t``
and no leap second. What a record says must not depend on the version of Python that reads it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

_ZEROS = bytes(ord("0") if ord("0") <= code <= ord("9") else code for code in range(256))
_FRACTIONS = ("", ".000", ".000000")
_USUAL = frozenset(
    f"0000-00-00T00:00:00{fraction}{zone}".encode() for fraction in _FRACTIONS for zone in ("Z", "+00:00", "-00:00")
)
"""The shapes that nearly all writers use, with a 0 for each digit: of these the two languages say the same."""
_RFC3339 = re.compile(
    rb"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_LOCAL = re.compile(rb"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?", re.ASCII)


def moment(text: bytes) -> datetime:
    """The time that ``text`` names, with its offset. Raises ValueError, in words that quote it.

    A fraction is cut at microseconds. A leap second is the first second after it, as in POSIX time.
    """
    # Python takes +00:60 for an hour. A second of 06Z goes the long way with it, and arrives all the same.
    if text.translate(_ZEROS) in _USUAL and text[-2] not in b"6789":
        with suppress(ValueError):  # the long way takes a leap second, and says what is wrong otherwise
            return datetime.fromisoformat(text.decode())
    found = _RFC3339.fullmatch(text)
    if found is None:
        local = _LOCAL.fullmatch(text)
        raise _wrong(text, "it has no time zone" if local else "it has another form")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, sign, ahead, minutes = found.groups()[6:]
    leap = second == 60
    try:
        zone = UTC
        if sign is not None:
            if int(ahead) > 23 or int(minutes) > 59:
                raise ValueError("its offset must be in -23:59..+23:59")
            offset = timedelta(hours=int(ahead), minutes=int(minutes))
            zone = timezone(-offset if sign == b"-" else offset)
        micros = int((fraction or b"")[:6].ljust(6, b"0"))
        made = datetime(year, month, day, hour, minute, second - leap, micros, zone)
        if not leap:
            return made
        if (made.astimezone(UTC).hour, made.astimezone(UTC).minute) != (23, 59):
            raise ValueError("a leap second ends a day of UTC")
        return made + timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise _wrong(text, str(error)) from None


def since_1970(milliseconds: int) -> datetime | None:
    """The timestamp of a record; None for what no calendar of four digits holds."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _wrong(text: bytes, why: str) -> ValueError:
    return ValueError(f"{text[:60].decode('utf-8', 'backslashreplace')!r}: {why}")
