"""Writes for Redis, named after the commands they become.

Numbers are integers: Redis keeps sorted-set scores as doubles, exact up to 2**53. ``expire_at`` comes from
the event's time, never from a clock or as a duration: a replay must not revive a value (R1, traps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from logsync.core.write import Write

Value = str | bytes | int


@dataclass(frozen=True, slots=True)
class Set(Write):
    """SET: the key holds this string, whatever it held. ``expire_at`` None: it does not expire."""

    key: str
    value: Value
    expire_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Incr(Write):
    """INCRBY: add to the integer at key; a missing key counts from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: int = 1


@dataclass(frozen=True, slots=True)
class HSet(Write):
    """HSET: set these fields of the hash; other fields keep what they hold."""

    key: str
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class HIncr(Write):
    """HINCRBY: add to integer fields of the hash; missing fields count from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HDel(Write):
    """HDEL: remove fields of the hash."""

    key: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SAdd(Write):
    """SADD: add members to the set."""

    commutes: ClassVar[bool] = True
    key: str
    members: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class SRem(Write):
    """SREM: remove members from the set."""

    key: str
    members: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class ZAdd(Write):
    """ZADD: set the scores of members of the sorted set."""

    key: str
    scores: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ZIncr(Write):
    """ZINCRBY: add to the scores of members; missing members count from 0."""

    commutes: ClassVar[bool] = True
    key: str
    by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ZRem(Write):
    """ZREM: remove members from the sorted set."""

    key: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Del(Write):
    """DEL: remove the key, whatever it holds."""

    key: str


@dataclass(frozen=True, slots=True)
class ExpireAt(Write):
    """PEXPIREAT: the key disappears at this moment, which comes from the event's time. A missing key stays so."""

    key: str
    at: datetime
