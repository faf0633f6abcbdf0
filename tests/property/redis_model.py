"""Redis in forty lines: what its commands do to keys, types, numbers and expiries, at a moment that stands still."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from logsync.core.write import Write
from logsync.stores.redis.coalesce import GUARD, RUN
from logsync.writes import keys

INTEGER = re.compile(rb"-?[1-9][0-9]{0,18}|0")


class Wrong(Exception):
    """The command fails: wrong type, not an integer, out of range."""


@dataclass
class Server:
    """``values``: key to (type, {member: value}); a string has the one member b""."""

    values: dict[bytes, tuple[str, dict[bytes, bytes]]] = field(default_factory=dict)
    expiries: dict[bytes, int] = field(default_factory=dict)

    def run(self, command: bytes, key: bytes, *args: bytes) -> None:
        match command, args:
            case b"DEL", ():
                self.values.pop(key, None)
                self.expiries.pop(key, None)
            case ((b"SET" | b"MSET"), (value, *expiry)):
                self.values[key] = ("string", {b"": value})
                self.expiries.pop(key, None)
                if expiry:
                    self.expiries[key] = int(expiry[1])
            case b"PEXPIREAT", (at,):
                if key in self.values:
                    self.expiries[key] = int(at)
            case b"INCRBY", (by,):
                self.add("string", key, b"", int(by), 2**63 - 1, -(2**63))
            case b"HINCRBY", (name, by):
                self.add("hash", key, name, int(by), 2**63 - 1, -(2**63))
            case b"ZINCRBY", (by, name):
                self.add("zset", key, name, int(by), 2**53, -(2**53))
            case b"HSET", _:
                self.members("hash", key).update(zip(args[::2], args[1::2], strict=True))
            case b"ZADD", _:
                self.members("zset", key).update(zip(args[1::2], args[::2], strict=True))
            case b"SADD", _:
                self.members("set", key).update((name, b"") for name in args)
            case ((b"HDEL" | b"SREM" | b"ZREM"), _):
                kind = {b"HDEL": "hash", b"SREM": "set", b"ZREM": "zset"}[command]
                if key in self.values:
                    members = self.members(kind, key)
                    for name in args:
                        members.pop(name, None)
                    if not members:
                        self.run(b"DEL", key)
            case _:
                raise AssertionError((command, args))

    def members(self, kind: str, key: bytes) -> dict[bytes, bytes]:
        found, members = self.values.setdefault(key, (kind, {}))
        if found != kind:
            raise Wrong(f"{key!r} is a {found}")
        return members

    def add(self, kind: str, key: bytes, name: bytes, by: int, most: int, least: int) -> None:
        old = self.values.get(key, (kind, {}))[1].get(name, b"0")
        if not INTEGER.fullmatch(old) and self.values[key][0] == kind:
            raise Wrong(f"{old!r} is no integer")
        members = self.members(kind, key)
        if not least <= int(old) + by <= most:
            raise Wrong("out of range")
        members[name] = b"%d" % (int(old) + by)

    def bears(self, command: bytes, key: bytes, args: Sequence[bytes]) -> bool:
        """What the guards of apply.lua check, before anything is written."""
        assert command not in (b"SET", b"MSET"), "what overwrites needs no guard"
        kind = {b"H": "hash", b"S": "set", b"Z": "zset", b"I": "string"}[command[:1]]
        if key in self.values and self.values[key][0] != kind:
            return False
        if not command.endswith(b"INCRBY"):
            return True
        half = len(args) // 2
        names, bys = ([b""] * len(args), args) if kind == "string" else (args[:half], args[half:])
        most, least = (2**53, -(2**53)) if kind == "zset" else (2**63 - 1, -(2**63))
        for name, by in zip(names, bys, strict=True):
            old = self.values.get(key, (kind, {}))[1].get(name, b"0")
            if not INTEGER.fullmatch(old) or not least <= int(old) <= most or not least <= int(old) + int(by) <= most:
                return False
        return True

    def run_program(self, names: Sequence[bytes], words: Sequence[bytes]) -> bool:
        """What apply.lua does. False: a guard refused, and nothing was written. Raises Wrong if it dies half-way."""
        calls = list(instructions(names, words))
        if not all(self.bears(command, key, args) for command, mode, key, args in calls if mode != RUN):
            return False
        for command, mode, key, args in calls:
            if mode == GUARD:
                continue
            half = len(args) // 2
            if command == b"HINCRBY":
                for name, by in zip(args[:half], args[half:], strict=True):
                    self.run(command, key, name, by)
            elif command == b"ZINCRBY":
                for name, by in zip(args[:half], args[half:], strict=True):
                    self.run(command, key, by, name)
            else:
                self.run(command, key, *args)
        return True


def instructions(
    names: Sequence[bytes], words: Sequence[bytes]
) -> Iterable[tuple[bytes, bytes, bytes, Sequence[bytes]]]:
    """The instructions of a Program, one per key: (command, mode, key, arguments)."""
    i = 0
    while i < len(words):
        command, mode, n, first, count = words[i], words[i + 1], *map(int, words[i + 2 : i + 5])
        i += 5
        for key in names[first - 1 : first - 1 + count]:
            yield command, mode, key, words[i : i + n]
            i += n


def plainly(write: Write, prefix: str = "") -> list[tuple[bytes, bytes, list[bytes]]]:
    """The commands for one write as anybody would send them: (command, key, arguments)."""
    key = (prefix + write.key).encode()  # type: ignore[attr-defined]
    match write:
        case keys.Set(_, value, expire_at):
            return [(b"SET", key, [raw(value), *([b"PXAT", at(expire_at)] if expire_at else [])])]
        case keys.Incr(_, by):
            return [(b"INCRBY", key, [raw(by)])]
        case keys.HSet(_, fields):
            return [(b"HSET", key, [raw(name), raw(value)]) for name, value in fields.items()]
        case keys.HIncr(_, by):
            return [(b"HINCRBY", key, [raw(name), raw(n)]) for name, n in by.items()]
        case keys.HDel(_, names):
            return [(b"HDEL", key, [raw(name) for name in names])] if names else []
        case keys.SAdd(_, members):
            return [(b"SADD", key, [raw(member) for member in members])] if members else []
        case keys.SRem(_, members):
            return [(b"SREM", key, [raw(member) for member in members])] if members else []
        case keys.ZAdd(_, scores):
            return [(b"ZADD", key, [raw(score), raw(name)]) for name, score in scores.items()]
        case keys.ZIncr(_, by):
            return [(b"ZINCRBY", key, [raw(n), raw(name)]) for name, n in by.items()]
        case keys.ZRem(_, names):
            return [(b"ZREM", key, [raw(name) for name in names])] if names else []
        case keys.Del(_):
            return [(b"DEL", key, [])]
        case keys.ExpireAt(_, moment):
            return [(b"PEXPIREAT", key, [at(moment)])]
    raise AssertionError(write)


def raw(value: str | bytes | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def at(moment: datetime) -> bytes:
    return b"%d" % round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
