"""The number that every stored format carries: what is newer is refused, what is older is brought up to date here.

Half-reading a newer format is worse than not reading it: a program that writes it back drops what it did not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = dict[str, Any]
UPDATE = "run the version that wrote it, or a newer one"
"""What mends a format that is too new."""


def _book_0(fields: Fields) -> Fields:
    """Each skip named one offset."""
    skips = [{"offsets": str(skip["offset"]), **skip} if "offset" in skip else skip for skip in fields.get("skips", [])]
    return {**fields, "skips": skips}


def _position_0(fields: Fields) -> Fields:
    """Releases were called drains."""
    return {**fields, "releases": fields.get("drains", 0)}


def _receipt_1(fields: Fields) -> Fields:
    """Neither the topic's id nor the event's type was noted."""
    return {"topic_id": "", "type": "", **fields}


def _receipt_2(fields: Fields) -> Fields:
    """Whether it was of a retried append was not noted."""
    return {"since": None, **fields}


def _same(fields: Fields) -> Fields:
    return fields


UPGRADES: Mapping[str, tuple[Callable[[Fields], Fields], ...]] = {
    "book": (_book_0, _same),  # 2: rebuilt_to
    "position": (_position_0, _same),  # 2: sources
    "parked event": (_same,),
    "receipt": (_same, _receipt_1, _receipt_2),
    "source": (_same,),
    "ledger": (_same,),
}
"""By kind: how to make format n + 1 of format n. Format 0 is from before there were numbers."""


def number(kind: str) -> int:
    """The format of this kind that is written now."""
    return len(UPGRADES[kind])


def upgraded(kind: str, fields: Mapping[str, Any]) -> Fields:
    """``fields`` as the present format has them. Raises ValueError for a newer format."""
    found = fields.get("format", 0)
    if type(found) is not int or not 0 <= found <= number(kind):
        raise ValueError(
            f"a {kind} of format {found!r}, and this version of logsync reads formats up to {number(kind)}"
        )
    present = {name: value for name, value in fields.items() if name != "format"}
    for upgrade in UPGRADES[kind][found:]:
        present = upgrade(present)
    return present
