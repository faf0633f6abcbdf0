"""A column of Python values as one array in Postgres' own notation. Pure.

One array per column means one parameter per column, whatever the number of rows: the cost in Python is a
few string operations per value. Every value goes through the input function of its column's type, alone or
in bulk, so that how a plan was batched cannot be seen in the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any
from uuid import UUID

from logsync.stores.postgres.coalesce import RowsRefused

Form = Callable[[Any], str]
"""How a value that is not None becomes the text that its column's type reads. Raises RowsRefused."""


def array(values: Sequence[Any], base: str = "", element: str = "") -> str:
    """The array literal of ``values`` for a column of type ``base``, which is an array if it has an ``element``.

    Raises RowsRefused for a type that has no stated form here.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        try:
            return "{" + ",".join(map(str, values)) + "}"
        except ValueError:
            return "{" + ",".join(map(_digits, values)) + "}"
    if kinds == {str}:
        # All strings are escaped in one go; a NUL, which no text of Postgres can hold, parts them.
        joined = "\0".join(values)
        if joined.count("\0") != len(values) - 1:
            raise RowsRefused("a text holds the character NUL (0x00), which Postgres cannot store")
        if '"' in joined or "\\" in joined:
            joined = joined.replace("\\", "\\\\").replace('"', '\\"')
        return '{"' + joined.replace("\0", '","') + '"}'
    form = partial(_list, _FORMS_OF.get(element, text)) if element else _FORMS_OF.get(base, text)
    return "{" + ",".join(["NULL" if value is None else _quoted(form(value)) for value in values]) + "}"


def escaped(name: str) -> str:
    """ASCII: any character may stand in an id or a name, and Postgres takes neither NUL nor what its encoding lacks."""
    return name.encode("unicode_escape").decode("ascii")


def unescaped(stored: str) -> str:
    return stored.encode("ascii", "backslashreplace").decode("unicode_escape")


def text(value: Any) -> str:
    """One value as the text that its column's type reads. Raises RowsRefused."""
    for kind in type(value).__mro__:
        form = _FORMS.get(kind)
        if form is not None:
            return form(value)
    raise RowsRefused(
        f"a value of type {type(value).__name__}: expected str, int, float, bool, Decimal, bytes, UUID, an Enum, a "
        "date, time or interval, a network address, None, a dict for json, a list for an array"
    )


def _list(form: Form, value: Any) -> str:
    """A value of an array column: a list of any depth, or a text in Postgres' own notation."""
    if not isinstance(value, list | tuple):
        return text(value)
    deeper = form is not _json  # in json, a list is a value
    parts = [
        "NULL" if one is None else _list(form, one) if deeper and isinstance(one, list | tuple) else _quoted(form(one))
        for one in value
    ]
    return "{" + ",".join(parts) + "}"


def _quoted(value: str) -> str:
    if "\0" in value:
        raise RowsRefused("a text holds the character NUL (0x00), which Postgres cannot store")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(value: Any) -> str:
    """A str is JSON already; of everything else JSON is made."""
    if type(value) is str:
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowsRefused(f"a value is not JSON ({type(error).__name__}: {_brief(error)})") from None


def _plain(value: Any) -> Any:
    """What ``json`` does not know, as the OpenSearch sink writes it; a model as its fields, an Enum as its value."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(type(value), "model_dump"):
        return value.model_dump()
    # A set has no order: two workers would write two different values for one event (I5).
    raise TypeError(
        "expected str, int, float, bool, None, list, dict with names, date, time, Decimal, UUID, Enum or a model, "
        f"found {type(value).__name__}"
    )


def _brief(error: Exception) -> str:
    """What json says, without what it was about: a value may be a secret."""
    words = str(error)
    return words if words.startswith(("expected ", "keys must be ", "Circular ")) else "nested too deep or not finite"


def _utc(value: Any) -> str:
    """For columns that keep no zone: an instant is that of UTC, as the server makes it of one in a Sql."""
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return str(_in_utc(value).replace(tzinfo=None).isoformat(" "))
    if isinstance(value, time) and value.tzinfo is not None:
        raise RowsRefused("a time of day with a zone: expected one without, or a column of type timetz")
    return text(value)


def _utc_time(value: Any) -> str:
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return str(_in_utc(value).isoformat(" "))
    return text(value)


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise RowsRefused("a datetime that is not within the years 1 to 9999 in UTC") from None


def _time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise RowsRefused("a time of day in a zone whose offset depends on the date: expected one with a fixed offset")
    return value.isoformat()


def _enum(value: Enum) -> str:
    return text(value.value)


def _digits(value: int) -> str:
    """Python writes no int of more than 4,300 digits as a text; Decimal does."""
    return str(Decimal(value))


_FORMS: dict[type, Form] = {
    str: str.__str__,
    bool: lambda value: "true" if value else "false",
    int: _digits,
    float: float.__repr__,
    Decimal: str,
    UUID: str,
    datetime: lambda value: str(value.isoformat(" ")),
    date: date.isoformat,
    time: _time,
    timedelta: lambda value: f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds",
    bytes: lambda value: "\\x" + value.hex(),
    dict: _json,
    Enum: _enum,
    **dict.fromkeys((IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network), str),
}
_FORMS_OF: dict[str, Form] = {
    "json": _json,
    "jsonb": _json,
    **dict.fromkeys(("timestamp", "date", "time"), _utc),
    "timetz": _utc_time,
}
"""By the short name of a type. All others: :func:`text`."""
