"""From the writes of a plan to the few commands per key that apply.lua carries out. Pure.

Each key is followed through the plan in log order. What its writes add up to leaves as *instructions*: a
Redis command, one key, its arguments, and a mode that says whether apply.lua first checks that the command
cannot fail (R1). The result is that of carrying the writes out one by one at a moment when no expiry of the
plan has passed; the differences that leaves are in docs/writes-redis.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from logsync.writes import Write, keys

INT64 = 2**63 - 1
EXACT = 2**53
"""Sorted-set scores are doubles: integers beyond this are not exact."""

RUN, GUARD_AND_RUN, GUARD = b"0", b"1", b"2"  # the modes of apply.lua
Command = tuple[bytes, list[bytes]]
Instruction = tuple[bytes, bytes, list[bytes]]
T = TypeVar("T")
_INTEGER = re.compile(rb"-?[1-9][0-9]{0,18}|0")  # what Redis takes for an integer: no sign, space or zero in front
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Refused(Exception):
    """The write at ``offset`` cannot be carried out, whatever the server holds."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


class Program(NamedTuple):
    """What apply.lua gets: the keys that the plan touches, and the flat list of instructions about them."""

    keys: list[bytes]
    args: list[bytes]


class _Sum:
    """What a plan adds to a number on the server that it does not know."""

    __slots__ = ("high", "low", "total")

    def __init__(self) -> None:
        self.total = self.low = self.high = 0  # low, high: extremes of the running total; the number must bear both

    def add(self, by: int, limit: int) -> None:
        self.total = total = _bounded(self.total + by, limit)
        if total > self.high:
            self.high = total
        elif total < self.low:
            self.low = total

    @property
    def plain(self) -> bool:
        """The total is the only extreme: a number that bears it bore everything on the way."""
        return self.total in (self.low, self.high) and 0 in (self.low, self.high)


class _Gone(Enum):
    GONE = 0


_GONE = _Gone.GONE
Member = bytes | _Sum | _Gone


class _Kind(NamedTuple):
    """How one Redis type is written. Members are fields, members of sets, or b"" for the one value of a string."""

    name: str
    set: bytes
    add: bytes
    remove: bytes
    limit: int


_STRING = _Kind("string", b"SET", b"INCRBY", b"", INT64)
_HASH = _Kind("hash", b"HSET", b"HINCRBY", b"HDEL", INT64)
_SET = _Kind("set", b"SADD", b"", b"SREM", 0)
_ZSET = _Kind("zset", b"ZADD", b"ZINCRBY", b"ZREM", EXACT)


class _Key:
    """What is known about one key at this point of the plan.

    ``fresh``: what the server holds no longer matters, because the plan deleted or overwrote the key: then
    ``members`` is all there is. Otherwise members that are not named may exist.
    A *segment* is a run of writes whose commands may be merged: values first, then removals, then the expiry.
    Only one order does not fit into that: a value after the key may have become empty (Redis then deletes it,
    and its expiry with it), or after an expiry that a missing key ignored. There a new segment begins; no
    member is known to exist at that moment, so all that the new one must know of the old is who is gone.
    """

    __slots__ = ("asserted", "done", "expire", "fresh", "gone", "kind", "live", "members", "removed", "sums")

    def __init__(self) -> None:
        self.kind: _Kind | None = None
        self.asserted: _Kind | None = None  # the type that the server must hold, or nothing
        self.fresh = False
        self.members: dict[bytes, Member] = {}  # of this segment
        self.gone: set[bytes] = set()  # of the segments before it
        self.sums: dict[bytes, _Sum] = {}  # every number on the server that the plan adds to
        self.live = 0  # members that surely exist
        self.removed = False  # something, in this segment
        self.expire: int | None = None
        self.done: list[Command] = []  # of closed segments

    # The steps that writes are made of

    def become(self, kind: _Kind) -> None:
        if self.kind is None:
            self.kind = kind
            if not self.fresh:
                self.asserted = kind
        elif self.kind is not kind:
            raise ValueError(f"expected a {kind.name}, found a {self.kind.name}: Del the key before it changes type")

    def clear(self) -> None:
        """The key is gone. What the writes so far relied on is still checked; what they made is not needed."""
        self.kind, self.fresh, self.live, self.removed, self.expire = None, True, 0, False, None
        self.members, self.gone, self.done = {}, set(), []

    def find(self, name: bytes) -> Member | None:
        """What the plan knows of this member; None: only the server knows."""
        found = self.members.get(name)
        if found is None and (self.fresh or name in self.gone):
            return _GONE
        return found

    def appear(self) -> None:
        """Called before a member is put that was not there for sure."""
        if self.live == 0 and (self.removed or self.expire is not None):
            self.done += self.commands()
            self.gone.update(self.members)
            self.members, self.removed, self.expire = {}, False, None
        self.live += 1

    def put(self, kind: _Kind, name: bytes, value: bytes) -> None:
        self.become(kind)
        found = self.find(name)
        if found is None or found is _GONE:
            self.appear()
        self.members[name] = value

    def add(self, kind: _Kind, name: bytes, by: int) -> None:
        if type(by) is not int:
            raise TypeError(f"expected an integer to add, found {type(by).__name__} {by!r:.80}")
        self.become(kind)
        found = self.find(name)
        if found is None:
            self.appear()
            self.members[name] = self.sums[name] = total = _Sum()
            total.add(by, kind.limit)
        elif type(found) is _Sum:
            found.add(by, kind.limit)
        elif found is _GONE:
            self.appear()
            self.members[name] = b"%d" % _bounded(by, kind.limit)
        elif type(found) is bytes:
            self.members[name] = b"%d" % _bounded(_integer(found) + by, kind.limit)

    def remove(self, kind: _Kind, names: Sequence[bytes]) -> None:
        if not names or (self.fresh and not self.live):
            return  # the key is missing: nothing to remove, and no type to object to
        self.become(kind)
        for name in names:
            found = self.find(name)
            if found is not None and found is not _GONE:
                self.live -= 1
            self.members[name] = _GONE
        self.removed = True
        if self.fresh and not self.live:
            self.clear()  # Redis has no empty hash or set

    def expire_at(self, milliseconds: int) -> None:
        if self.live or not self.fresh:  # a missing key stays missing
            self.expire = milliseconds

    # What it all adds up to

    def commands(self) -> list[Command]:
        """The commands of this segment: values, then what is added, then removals, then the expiry."""
        kind, expire = self.kind, self.expire
        made: list[Command] = []
        if kind is not None:
            values: list[bytes] = []
            names: list[bytes] = []
            totals: list[bytes] = []
            gone: list[bytes] = []
            for name, member in self.members.items():
                if type(member) is bytes:
                    if kind is _HASH:
                        values += (name, member)
                    elif kind is _ZSET:
                        values += (member, name)
                    else:
                        values.append(name if kind is _SET else member)
                elif type(member) is _Sum:
                    if kind is not _STRING:
                        names.append(name)
                    totals.append(b"%d" % member.total)
                else:
                    gone.append(name)
            if values:
                if kind is _STRING and expire is not None:
                    # One command: no crash can leave the value without its expiry.
                    return [(b"SET", [*values, b"PXAT", b"%d" % expire])]
                made.append((kind.set, values))
            if totals:
                made.append((kind.add, names + totals))
            if gone:
                made.append((kind.remove, gone))
        if expire is not None:
            made.append((b"PEXPIREAT", [b"%d" % expire]))
        return made

    def instructions(self) -> list[Instruction]:
        """Everything for this key, with the checks that apply.lua makes before the first write. # R1"""
        made = self.done + self.commands()
        if self.fresh and self.kind is not _STRING:
            made.insert(0, (b"DEL", []))
        asserted = self.asserted
        if asserted is None:
            return [(name, RUN, args) for name, args in made]
        intact = not self.fresh and not self.done  # the server's value is what the commands meet
        if intact and all(self.members[name] is total and total.plain for name, total in self.sums.items()):
            # The commands say themselves what they rely on: the first of them, or the one that adds.
            guarded = asserted.add if self.sums else made[0][0]
            return [(name, GUARD_AND_RUN if name == guarded else RUN, args) for name, args in made]
        if not self.sums:
            return [(asserted.set, GUARD, []), *[(name, RUN, args) for name, args in made]]
        names: list[bytes] = []
        bears: list[bytes] = []
        for name, total in self.sums.items():
            for extreme in {total.low, total.high}:
                if asserted is not _STRING:
                    names.append(name)
                bears.append(b"%d" % extreme)
        return [(asserted.add, GUARD, names + bears), *[(name, RUN, args) for name, args in made]]


def compile_writes(writes: Sequence[Write], offsets: Sequence[int], prefix: str) -> Program:
    """The program for these writes; ``offsets[i]`` is the log offset of the event behind ``writes[i]``.

    Keys get ``prefix`` in front. Raises Refused for the first write that no server could carry out.
    """
    states: dict[str, _Key] = {}
    for n, write in enumerate(writes):
        try:
            key: str = write.key  # type: ignore[attr-defined]
            state = states.get(key)
            if state is None:
                if type(key) is not str:
                    raise TypeError(f"expected a key of type str, found {type(key).__name__}")
                key.encode()
                state = states[key] = _Key()
            _CARRY_OUT[type(write)](state, write)
        except (TypeError, ValueError, AttributeError) as error:  # UnicodeEncodeError is a ValueError
            raise Refused(offsets[n], f"{_brief(write)}: {error}") from error
    names: list[bytes] = []
    args: list[bytes] = []
    for key, state in states.items():
        found = state.instructions()
        if found:
            names.append((prefix + key).encode())
            index = b"%d" % len(names)
            for name, mode, rest in found:
                args += (name, mode, index, b"%d" % len(rest))
                args += rest
    return Program(names, args)


def _set(state: _Key, write: keys.Set) -> None:
    value = _bytes(write.value)
    expire = None if write.expire_at is None else _milliseconds(write.expire_at)
    state.clear()
    state.put(_STRING, b"", value)
    state.expire = expire


def _incr(state: _Key, write: keys.Incr) -> None:
    state.add(_STRING, b"", write.by)


def _hset(state: _Key, write: keys.HSet) -> None:
    for name, value in write.fields.items():
        state.put(_HASH, _name(name), _bytes(value))


def _hincr(state: _Key, write: keys.HIncr) -> None:
    for name, by in write.by.items():
        state.add(_HASH, _name(name), by)


def _hdel(state: _Key, write: keys.HDel) -> None:
    state.remove(_HASH, [_name(name) for name in _several(write.fields)])


def _sadd(state: _Key, write: keys.SAdd) -> None:
    for member in _several(write.members):
        state.put(_SET, _bytes(member), b"")


def _srem(state: _Key, write: keys.SRem) -> None:
    state.remove(_SET, [_bytes(member) for member in _several(write.members)])


def _zadd(state: _Key, write: keys.ZAdd) -> None:
    for name, score in write.scores.items():
        if type(score) is not int:
            raise TypeError(f"expected an integer score, found {type(score).__name__} {score!r:.80}")
        state.put(_ZSET, _name(name), b"%d" % _bounded(score, EXACT))


def _zincr(state: _Key, write: keys.ZIncr) -> None:
    for name, by in write.by.items():
        state.add(_ZSET, _name(name), by)


def _zrem(state: _Key, write: keys.ZRem) -> None:
    state.remove(_ZSET, [_name(name) for name in _several(write.members)])


def _del(state: _Key, write: keys.Del) -> None:  # noqa: ARG001 - the table's signature
    state.clear()


def _expire_at(state: _Key, write: keys.ExpireAt) -> None:
    state.expire_at(_milliseconds(write.at))


_CARRY_OUT: dict[type[Write], Callable[[_Key, Any], None]] = {
    keys.Set: _set,
    keys.Incr: _incr,
    keys.HSet: _hset,
    keys.HIncr: _hincr,
    keys.HDel: _hdel,
    keys.SAdd: _sadd,
    keys.SRem: _srem,
    keys.ZAdd: _zadd,
    keys.ZIncr: _zincr,
    keys.ZRem: _zrem,
    keys.Del: _del,
    keys.ExpireAt: _expire_at,
}
ACCEPTS: frozenset[type[Write]] = frozenset(_CARRY_OUT)


def _bytes(value: keys.Value) -> bytes:
    """The bytes that Redis keeps. Refuses what has no one spelling: bool, float, None."""
    if type(value) is str:
        return value.encode()
    if type(value) is bytes:
        return value
    if type(value) is int:
        return b"%d" % value
    raise TypeError(f"expected str, bytes or int, found {type(value).__name__} {value!r:.80}")


def _name(name: str) -> bytes:
    if type(name) is str:
        return name.encode()
    raise TypeError(f"expected a name of type str, found {type(name).__name__} {name!r:.80}")


def _several(names: tuple[T, ...]) -> tuple[T, ...]:
    if isinstance(names, str | bytes):  # iterable, and surely not what was meant
        raise TypeError(f"expected a tuple, found {type(names).__name__} {names!r:.80}")
    return names


def _integer(raw: bytes) -> int:
    if not _INTEGER.fullmatch(raw):
        raise ValueError(f"expected an integer to add to, found {raw!r:.80}")
    return int(raw)


def _bounded(value: int, limit: int) -> int:
    if not -limit <= value <= limit:
        raise ValueError(f"expected an integer from {-limit} to {limit}, found {value}")
    return value


def _milliseconds(at: datetime) -> int:
    """Milliseconds since 1970. At least 1: Redis refuses less, and any moment that long ago means "gone"."""
    if at.tzinfo is None:
        raise ValueError(f"expected a timezone-aware moment, found {at!r}: take it from event.time")
    return max(1, (at - _EPOCH) // _MILLISECOND)


def _brief(write: Write) -> str:
    text = repr(write)
    return text if len(text) <= 300 else text[:297] + "..."
