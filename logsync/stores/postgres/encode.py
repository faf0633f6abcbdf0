"""A column of Python values as one array in Postgres' own notation. Pure.

One array per column means one parameter per column, whatever the number of rows: the cost in Python is a
few string operations per value. Every value goes through the input function of its column's type, alone or
in bulk, so that how a plan was batched cannot be seen in the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from logsync.stores.postgres.coalesce import Refused


def array(values: Sequence[Any], *, is_json: bool = False, is_array: bool = False) -> str:
    """The array literal of ``values``. Raises Refused for a type that has no stated form here."""
    if not is_json and not is_array:
        kinds = set(map(type, values))
        if kinds == {int}:
            return "{" + ",".join(map(str, values)) + "}"
        if kinds == {str}:
            # All strings are escaped in one go; a NUL, which no text of Postgres can hold, parts them.
            joined = "\0".join(values)
            if joined.count("\0") != len(values) - 1:
                raise Refused("a text holds the character NUL (0x00), which Postgres cannot store")
            if '"' in joined or "\\" in joined:
                joined = joined.replace("\\", "\\\\").replace('"', '\\"')
            return '{"' + joined.replace("\0", '","') + '"}'
    return "{" + ",".join([_element(value, is_json, is_array) for value in values]) + "}"


def escaped(name: str) -> str:
    """ASCII: any character may stand in an id or a name, and Postgres takes neither NUL nor what its encoding lacks."""
    return name.encode("unicode_escape").decode("ascii")


def unescaped(stored: str) -> str:
    return stored.encode("ascii", "backslashreplace").decode("unicode_escape")


def _element(value: Any, is_json: bool, is_array: bool) -> str:
    if value is None:
        return "NULL"
    if is_array and isinstance(value, list | tuple):
        return _quoted(_nested(value))
    if isinstance(value, dict) or (is_json and type(value) is not str):
        return _quoted(_json(value))
    return _quoted(text(value))


def _nested(values: Sequence[Any]) -> str:
    parts = [
        _nested(value) if isinstance(value, list | tuple) else "NULL" if value is None else _quoted(text(value))
        for value in values
    ]
    return "{" + ",".join(parts) + "}"


def _quoted(value: str) -> str:
    if "\0" in value:
        raise Refused("a text holds the character NUL (0x00), which Postgres cannot store")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"a value is not JSON ({type(error).__name__}): expected what json.dumps takes") from None


def text(value: Any) -> str:
    """One value as the text that its column's type reads. Raises Refused."""
    for kind in type(value).__mro__:
        form = _FORMS.get(kind)
        if form is not None:
            return form(value)
    raise Refused(
        f"a value of type {type(value).__name__}: expected str, int, float, bool, Decimal, bytes, UUID, a date, "
        "time or interval, None, a dict for json, a list for an array"
    )


_FORMS: dict[type, Callable[[Any], str]] = {
    str: str.__str__,
    bool: lambda value: "true" if value else "false",
    int: int.__repr__,
    float: float.__repr__,
    Decimal: str,
    UUID: str,
    datetime: lambda value: str(value.isoformat(" ")),
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds",
    bytes: lambda value: "\\x" + value.hex(),
}
