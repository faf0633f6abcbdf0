"""Whether what was decoded is what was appended. Python's ``==`` decides, with one exception.

A ``datetime`` of a zone with summer time equals no ``datetime`` of another zone while its clocks are set back
(PEP 495), not even the one of the same instant. JSON holds the offset and not the zone, so for one hour a year nothing
with such a time would come back equal; here the instant decides.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

_ABSENT = object()


def is_same(sent: BaseModel, back: BaseModel) -> bool:
    """True if ``back`` equals what was ``sent``. Quick if so: a model's own ``==`` takes five times as long."""
    try:
        quick = (
            type(sent) is type(back)
            and sent.__dict__ == back.__dict__
            and sent.__pydantic_extra__ == back.__pydantic_extra__
            and sent.__pydantic_private__ == back.__pydantic_private__
        )
    except Exception:  # noqa: BLE001 - ``==`` of the user's classes
        quick = False
    return quick or difference(sent, back) is None


def difference(sent: Any, back: Any, at: str = "") -> str | None:
    """Where ``back`` is not what was ``sent``, in words and without values; None if it is nowhere."""
    where = at.lstrip(".") or "the event"
    try:
        if sent == back:
            return None
    except Exception as error:  # noqa: BLE001 - of the user's class
        return f"{where} cannot be compared with what comes back: {type(error).__name__}"
    if back is _ABSENT or sent is _ABSENT:
        return f"{where} does not come back" if back is _ABSENT else f"{where} comes back, and was not there"
    if type(sent) is not type(back):
        return f"{where} is {type(sent).__name__} and comes back as {type(back).__name__}"
    if isinstance(sent, BaseModel | dict | list | tuple):
        mine, other = _parts(sent), _parts(back)
        found = (
            difference(mine.get(part, _ABSENT), other.get(part, _ABSENT), at + _label(sent, part))
            for part in mine | other
        )
        return next((one for one in found if one is not None), None)
    if isinstance(sent, datetime) and _instant(sent) == _instant(back):
        return None
    return f"{where} comes back as another {type(sent).__name__}"


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value
    if not isinstance(value, BaseModel):
        return dict(enumerate(value))
    # Not all of __dict__: a cached property keeps its value there.
    fields = {name: value.__dict__[name] for name in type(value).model_fields if name in value.__dict__}
    return fields | (value.__pydantic_extra__ or {}) | (value.__pydantic_private__ or {})


def _label(value: Any, part: Any) -> str:
    if isinstance(value, BaseModel):
        return f".{part}"
    return "[...]" if isinstance(value, dict) else f"[{part}]"  # a key of a dict is a value of somebody's


def _instant(value: datetime) -> datetime | None:
    return None if value.utcoffset() is None else value.astimezone(UTC)
