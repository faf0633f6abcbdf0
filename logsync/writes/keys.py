"""Writes for Redis, named after the commands they become.

Numbers are integers: Redis keeps sorted-set scores as doubles, exact up to 2**53. ``expire_at`` comes from
the event's time, never from a clock or as a duration: a replay must not revive a value (R1, traps).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from logsync.core.write import Target, Write

__all__ = [
    "Del", "ExpireAt", "HDel", "HIncr", "HSet", "Incr", "Kept", "KeyWrite", "SAdd", "SRem", "Scores", "Set", "Text",
    "Value", "ZAdd", "ZIncr", "ZRem",
]  # fmt: skip

Value = str | bytes | int
Text = str | bytes
"""A value as Redis keeps it: what is text is str here, other bytes are bytes."""


class Kept(NamedTuple):
    """What stands at a key: Text, a dict of fields, a frozenset of members, or Scores; and when it goes away."""

    value: Any
    expire_at: datetime | None = None


class Scores(dict[str, int]):
    """A sorted set; a type of its own, so that it is not taken for a hash."""


class KeyWrite(Write):
    """What all of them have in common: they are about one key."""

    __slots__ = ()
    key: str

    @property
    def target(self) -> Target:
        if type(self.key) is not str:
            raise TypeError(f"expected a key of type str, found {type(self.key).__name__} {self.key!r}")
        return "keys", self.key


@dataclass(frozen=True, slots=True)
class Set(KeyWrite):
    """SET: the key holds this string, whatever it held. ``expire_at`` None: it does not expire."""

    commutes: ClassVar[bool] = False
    key: str
    value: Value
    expire_at: datetime | None = None

    def law(self, found: Kept | None) -> Kept:  # noqa: ARG002 - whatever stands there
        return Kept(_text(self.value), self.expire_at)


@dataclass(frozen=True, slots=True)
class Incr(KeyWrite):
    """INCRBY: add to the integer at key; a missing key counts from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: int = 1

    def law(self, found: Kept | None) -> Kept:
        value = "0" if found is None else found.value
        return Kept(_sum(value, self.by), found.expire_at if found else None)


@dataclass(frozen=True, slots=True)
class HSet(KeyWrite):
    """HSET: set these fields of the hash; other fields keep what they hold."""

    commutes: ClassVar[bool] = False
    key: str
    fields: Mapping[str, Value]

    def law(self, found: Kept | None) -> Kept | None:
        new = {_name(name): _text(value) for name, value in self.fields.items()}
        return _changed(found, dict, lambda fields: {**fields, **new}) if new else found


@dataclass(frozen=True, slots=True)
class HIncr(KeyWrite):
    """HINCRBY: add to integer fields of the hash; missing fields count from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: Mapping[str, int]

    def law(self, found: Kept | None) -> Kept | None:
        def add(fields: dict[str, Text]) -> dict[str, Text]:
            return {**fields, **{_name(f): _sum(fields.get(f, "0"), by) for f, by in self.by.items()}}

        return _changed(found, dict, add) if self.by else found


@dataclass(frozen=True, slots=True)
class HDel(KeyWrite):
    """HDEL: remove fields of the hash."""

    commutes: ClassVar[bool] = False
    key: str
    fields: tuple[str, ...]

    def law(self, found: Kept | None) -> Kept | None:
        gone = _several(self.fields, _name)
        return (
            _changed(found, dict, lambda fields: {f: v for f, v in fields.items() if f not in gone}) if gone else found
        )


@dataclass(frozen=True, slots=True)
class SAdd(KeyWrite):
    """SADD: add members to the set."""

    commutes: ClassVar[bool] = True
    key: str
    members: tuple[Value, ...]

    def law(self, found: Kept | None) -> Kept | None:
        new = _several(self.members, _text)
        return _changed(found, frozenset, lambda members: members | new) if new else found


@dataclass(frozen=True, slots=True)
class SRem(KeyWrite):
    """SREM: remove members from the set."""

    commutes: ClassVar[bool] = False
    key: str
    members: tuple[Value, ...]

    def law(self, found: Kept | None) -> Kept | None:
        gone = _several(self.members, _text)
        return _changed(found, frozenset, lambda members: members - gone) if gone else found


@dataclass(frozen=True, slots=True)
class ZAdd(KeyWrite):
    """ZADD: set the scores of members of the sorted set."""

    commutes: ClassVar[bool] = False
    key: str
    scores: Mapping[str, int]

    def law(self, found: Kept | None) -> Kept | None:
        new = {_name(member): _bounded(_integer(score), *_SCORES) for member, score in self.scores.items()}
        return _changed(found, Scores, lambda scores: Scores({**scores, **new})) if new else found


@dataclass(frozen=True, slots=True)
class ZIncr(KeyWrite):
    """ZINCRBY: add to the scores of members; missing members count from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: Mapping[str, int]

    def law(self, found: Kept | None) -> Kept | None:
        def add(scores: Scores) -> Scores:
            sums = {_name(m): _bounded(scores.get(m, 0) + _integer(by), *_SCORES) for m, by in self.by.items()}
            return Scores({**scores, **sums})

        return _changed(found, Scores, add) if self.by else found


@dataclass(frozen=True, slots=True)
class ZRem(KeyWrite):
    """ZREM: remove members from the sorted set."""

    commutes: ClassVar[bool] = False
    key: str
    members: tuple[str, ...]

    def law(self, found: Kept | None) -> Kept | None:
        gone = _several(self.members, _name)
        if not gone:
            return found
        return _changed(found, Scores, lambda scores: Scores({m: n for m, n in scores.items() if m not in gone}))


@dataclass(frozen=True, slots=True)
class Del(KeyWrite):
    """DEL: remove the key, whatever it holds."""

    commutes: ClassVar[bool] = False
    key: str

    def law(self, found: Kept | None) -> None:  # noqa: ARG002 - whatever stands there
        return None


@dataclass(frozen=True, slots=True)
class ExpireAt(KeyWrite):
    """PEXPIREAT: the key disappears at this moment, which comes from the event's time. A missing key stays so."""

    commutes: ClassVar[bool] = False
    key: str
    at: datetime

    def law(self, found: Kept | None) -> Kept | None:
        return found and found._replace(expire_at=self.at)


_COUNTERS = (-(2**63), 2**63 - 1)
_SCORES = (-(2**53), 2**53)
"""Redis keeps scores as doubles, which are exact up to here."""
_INTEGER = re.compile("-?[1-9][0-9]{0,18}|0")


def _changed(found: Kept | None, kind: type[Any], change: Callable[[Any], Any]) -> Kept | None:
    """What stands at a key whose value of this type was changed. Redis has no empty hash or set."""
    value = kind() if found is None else found.value
    if type(value) is not kind:
        raise TypeError(f"the key holds a {type(value).__name__}, expected a {kind.__name__}")
    after = change(value)
    return Kept(after, found.expire_at if found else None) if after else None


def _sum(found: object, by: int) -> str:
    """Redis counts in its texts, and takes one spelling of a number only."""
    if not isinstance(found, str) or not _INTEGER.fullmatch(found):
        raise ValueError(f"{found!r} is no integer")
    return str(_bounded(int(found) + _integer(by), *_COUNTERS))


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"expected an integer, found {type(value).__name__} {value!r}")
    return value


def _bounded(value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ValueError(f"{value} is out of range")
    return value


def _text(value: Value) -> Text:
    if type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if type(value) is str or type(value) is int:
        return str(value)
    raise TypeError(f"expected str, bytes or int, found {type(value).__name__} {value!r}")


def _name(name: str) -> str:
    if type(name) is not str:
        raise TypeError(f"expected a name of type str, found {type(name).__name__} {name!r}")
    return name


def _several(names: Iterable[Any], each: Callable[[Any], Any]) -> frozenset[Any]:
    if isinstance(names, str | bytes):  # iterable, and surely not what was meant
        raise TypeError(f"expected a tuple, found {type(names).__name__} {names!r}")
    return frozenset(map(each, names))
