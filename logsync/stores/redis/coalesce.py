"""What the writes of one plan to one key add up to. Pure.

Each key is followed through the plan in log order. The result is that of carrying the writes out one by one
at a moment when no expiry of the plan has passed; docs/writes-redis.md says what that means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import Enum
from itertools import chain
from typing import Any, NamedTuple

INT64 = 2**63 - 1
EXACT = 2**53
"""Sorted-set scores are doubles: integers beyond this are not exact."""

RUN, GUARD_AND_RUN, GUARD = b"0", b"1", b"2"  # the modes of apply.lua
Command = tuple[bytes, list[bytes]]
Instruction = tuple[bytes, bytes, list[bytes]]  # command, mode, arguments

_INTEGER = re.compile(rb"-?[1-9][0-9]{0,18}|0")  # what Redis takes for one: no plus, space or zero in front


class _Gone(Enum):
    GONE = 0


_GONE = _Gone.GONE
Member = bytes | int | _Gone
"""bytes: it has this value. int: so much is added to what only the server knows. GONE: it does not exist."""


class Kind(NamedTuple):
    """How one Redis type is written. Members are fields, members of sets, or b"" for the one value of a string."""

    name: str
    set: bytes
    add: bytes
    remove: bytes
    limit: int


STRING = Kind("string", b"MSET", b"INCRBY", b"", INT64)
HASH = Kind("hash", b"HSET", b"HINCRBY", b"HDEL", INT64)
SET = Kind("set", b"SADD", b"", b"SREM", 0)
ZSET = Kind("zset", b"ZADD", b"ZINCRBY", b"ZREM", EXACT)


class Key:
    """What is known about one key at this point of the plan.

    ``fresh``: what the server holds no longer matters, because the plan deleted or overwrote the key: then
    ``members`` is all there is. Otherwise members that are not named may exist.
    A *segment* is a run of writes whose commands may be merged: values first, then removals, then the expiry.
    Only one order does not fit into that: a value after the key may have become empty (Redis then deletes it,
    and its expiry with it), or after an expiry that a missing key ignored. There a new segment begins; no
    member is known to exist at that moment, so all that the new one must know of the old is who is gone.
    """

    name: bytes
    """The key as the server knows it."""
    # Class attributes: most keys are written once in a plan and never need more than members.
    kind: Kind | None = None
    asserted: Kind | None = None  # the type that the server must hold, or nothing
    fresh: bool = False
    live: int = 0  # members that surely exist
    removed: bool = False  # something, in this segment
    expire: int | None = None  # milliseconds since 1970
    relied: dict[bytes, tuple[int, int]] | None = None  # extremes that numbers on the server must bear
    sums: bool = False  # some member may be one that is added to
    gone: Collection[bytes] = ()  # of the segments before this one
    done: Sequence[Command] = ()  # of the segments before this one

    def __init__(self) -> None:
        self.members: dict[bytes, Member] = {}  # of this segment

    def overwrite(self, value: bytes, expire: int | None) -> None:
        if self.kind is not None:
            self.clear()
        self.fresh = True
        self.kind, self.members, self.live, self.expire = STRING, {b"": value}, 1, expire

    def put(self, kind: Kind, values: dict[bytes, bytes]) -> None:
        """``values`` now belongs to this key."""
        if not values:
            return
        if self.kind is not kind:
            if self.kind is None and not self.fresh and self.expire is None:  # the first write: most keys' only one
                self.kind = self.asserted = kind
                self.members, self.live = values, len(values)  # type: ignore[assignment]
                return
            self._become(kind)
        for name, value in values.items():
            found = self.members.get(name)
            if found is None or found is _GONE:
                self._begin_segment_if_needed()
                self.live += 1
            elif type(found) is int:
                self._rely(name, found)
            self.members[name] = value

    def add(self, kind: Kind, name: bytes, by: int) -> None:
        if type(by) is not int:
            raise TypeError(f"expected an integer to add, found {type(by).__name__}")
        if self.kind is not kind:
            self._become(kind)
        self.sums = True
        found = self.members.get(name)
        if type(found) is int:
            total = bounded(found + by, kind.limit)
            if (found < 0) is not (by < 0) or self.relied:
                self._rely(name, found)
                self._rely(name, total)
            self.members[name] = total
        elif type(found) is bytes:
            self.members[name] = b"%d" % bounded(_integer(found) + by, kind.limit)
        else:
            missing = found is _GONE or self.fresh or name in self.gone
            self._begin_segment_if_needed()
            self.live += 1
            bounded(by, kind.limit)
            self.members[name] = b"%d" % by if missing else by

    def remove(self, kind: Kind, names: Sequence[bytes]) -> None:
        if not names or (self.fresh and not self.live):
            return  # the key is missing: nothing to remove, and no type to object to
        if self.kind is not kind:
            self._become(kind)
        for name in names:
            found = self.members.get(name)
            if found is not None and found is not _GONE:
                self.live -= 1
                if type(found) is int:
                    self._rely(name, found)
            self.members[name] = _GONE
        self.removed = True
        if self.fresh and not self.live:
            self.clear()  # Redis has no empty hash or set

    def clear(self) -> None:
        """The key is gone. What the writes so far relied on is still checked; what they made is not needed."""
        for name, member in self.members.items():
            if type(member) is int:
                self._rely(name, member)
        self.kind, self.fresh, self.live, self.removed, self.expire = None, True, 0, False, None
        self.members, self.gone, self.done = {}, (), ()

    def expire_at(self, milliseconds: int) -> None:
        if self.live or not self.fresh:  # a missing key stays missing
            self.expire = milliseconds

    def _become(self, kind: Kind) -> None:
        if self.kind is not None:
            raise ValueError(f"expected a {kind.name}, found a {self.kind.name}: Del the key before it changes type")
        self.kind = kind
        if not self.fresh:
            self.asserted = kind

    def _begin_segment_if_needed(self) -> None:
        """Called before a member appears: at this point the key may be missing, and its expiry with it."""
        if self.live == 0 and (self.removed or self.expire is not None):
            self.done = [*self.done, *self._commands()]
            self.gone = {*self.gone, *self.members}
            self.members, self.removed, self.expire = {}, False, None

    def _rely(self, name: bytes, total: int) -> None:
        if self.relied is None:
            self.relied = {}
        low, high = self.relied.get(name, (0, 0))
        self.relied[name] = (min(low, total), max(high, total))

    # What it all adds up to

    def instructions(self) -> list[Instruction]:
        """Everything for this key, with the checks that apply.lua makes before the first write. # R1"""
        kind = self.kind
        if kind is STRING and self.fresh and self.expire is None and self.asserted is None:
            return [(b"MSET", RUN, _values(kind, self.members))]
        if kind is not None and not (self.fresh or self.done or self.removed or self.relied) and self.expire is None:
            # The short way for most keys; all others go the long one.
            if not self.sums:
                return [(kind.set, GUARD_AND_RUN, _values(kind, self.members))]
            numbers = [b"%d" % member for member in self.members.values() if type(member) is int]
            if len(numbers) == len(self.members):
                return [(kind.add, GUARD_AND_RUN, numbers if kind is STRING else [*self.members, *numbers])]
        made = [*self.done, *self._commands()]
        if self.fresh and self.kind is not STRING:
            made.insert(0, (b"DEL", []))
        asserted = self.asserted
        if asserted is None:
            return [(command, RUN, args) for command, args in made]
        if self.relied:
            names = [name for name, extremes in self.relied.items() for _ in extremes if asserted is not STRING]
            bears = [b"%d" % extreme for extremes in self.relied.values() for extreme in extremes]
            guard = [(asserted.add, GUARD, names + bears)]
        elif any(command == asserted.add for command, _ in made):
            guard = []  # what adds to the server's numbers checks them itself, and the type with them
        elif self.fresh or self.done:
            guard = [(asserted.set, GUARD, [])]
        else:
            return [(command, RUN if n else GUARD_AND_RUN, args) for n, (command, args) in enumerate(made)]
        # A number that is still added to has its server's value in every case: see `missing` in add().
        return guard + [(command, GUARD_AND_RUN if command == asserted.add else RUN, args) for command, args in made]

    def _commands(self) -> list[Command]:
        """The commands of this segment: values, then what is added, then removals, then the expiry."""
        kind, expire, members = self.kind, self.expire, self.members
        made: list[Command] = []
        if kind is not None:
            values = {name: member for name, member in members.items() if type(member) is bytes}
            if values:
                args = _values(kind, values)
                if kind is STRING and expire is not None:
                    # One command: no crash can leave the value without its expiry.
                    return [(b"SET", [*args, b"PXAT", b"%d" % expire])]
                made.append((kind.set, args))
            if len(values) < len(members):
                sums = {name: b"%d" % member for name, member in members.items() if type(member) is int}
                if sums:
                    made.append((kind.add, [*([] if kind is STRING else sums), *sums.values()]))
                gone = [name for name, member in members.items() if member is _GONE]
                if gone:
                    made.append((kind.remove, gone))
        if expire is not None:
            made.append((b"PEXPIREAT", [b"%d" % expire]))
        return made


def _values(kind: Kind, values: Any) -> list[bytes]:
    """The arguments that give these members their values, as this kind of key takes them."""
    if kind is HASH:
        return list(chain.from_iterable(values.items()))
    if kind is ZSET:
        return list(chain.from_iterable(zip(values.values(), values, strict=True)))
    return list(values if kind is SET else values.values())


def bounded(value: int, limit: int) -> int:
    least = ~limit if limit == INT64 else -limit
    if not least <= value <= limit:
        raise ValueError(f"expected an integer from {least} to {limit}, found one beyond")
    return value


def _integer(raw: bytes) -> int:
    if not _INTEGER.fullmatch(raw):
        raise ValueError("expected an integer to add to, found what is none")
    return int(raw)
