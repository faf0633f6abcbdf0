"""From the writes of a plan to what apply.lua is given: keys and instructions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from logsync.core.write import Write
from logsync.stores.redis.coalesce import EXACT, GUARD_AND_RUN, HASH, SET, STRING, ZSET, Instruction, Key, bounded
from logsync.writes import keys

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class RedisRefusal(Exception):
    """A write cannot be carried out, whatever the server holds; the text says which and why."""


class Program(NamedTuple):
    """What apply.lua gets: the keys that the plan touches, and the instructions about them.

    An instruction is command, mode, number of arguments per key, index of its first key (from 1), number of
    keys, and then the arguments of each of these keys.
    """

    keys: list[bytes]
    args: list[bytes]


def compile_writes(writes: Sequence[Write], prefix: str) -> Program:
    """The program for these writes. Keys get ``prefix`` in front.

    Raises RedisRefusal for a write that no server could carry out.
    """
    found: dict[str, Write | Key] = {}  # most keys are written once in a plan: that write stays as it is
    for write in writes:
        try:
            key: str = write.key  # type: ignore[attr-defined]
            before = found.get(key)
        except TypeError as error:
            raise _refused(write, error) from error
        if before is None:
            found[key] = write
        else:
            if type(before) is not Key:
                before = found[key] = _followed(before, prefix)  # type: ignore[arg-type]
            _carry_out(before, write)
    # Keys are independent: those that need the same single instruction share one, which costs the script a third
    # of an instruction for each. A key that needs several keeps them together and in order.
    alike: dict[tuple[bytes, bytes, int], tuple[list[bytes], list[bytes]]] = {}
    several: list[tuple[bytes, list[Instruction]]] = []
    for entry in found.values():
        if type(entry) is keys.HSet and entry.fields:
            # What most Redis sinks do all day, and what following the key comes to, at half the cost.
            name, args = _hset_alone(entry, prefix)
            shape = (b"HSET", GUARD_AND_RUN, len(args))
        else:
            state = entry if type(entry) is Key else _followed(entry, prefix)  # type: ignore[arg-type]
            name, instructions = state.name, state.instructions()
            if len(instructions) != 1:
                if instructions:
                    several.append((name, instructions))
                continue
            command, mode, args = instructions[0]
            shape = (command, mode, len(args))
        group = alike.get(shape)
        if group is None:
            group = alike[shape] = ([], [])
        group[0].append(name)
        group[1].extend(args)
    touched: list[bytes] = []
    words: list[bytes] = []
    for (command, mode, count), (names, args) in alike.items():
        words += (command, mode, b"%d" % count, b"%d" % (len(touched) + 1), b"%d" % len(names), *args)
        touched += names
    for name, instructions in several:
        touched.append(name)
        for command, mode, args in instructions:
            words += (command, mode, b"%d" % len(args), b"%d" % len(touched), b"1", *args)
    return Program(touched, words)


def _followed(write: Write, prefix: str) -> Key:
    """What is known of a key after its first write."""
    state = Key()
    state.name = _key(write, prefix)
    _carry_out(state, write)
    return state


def _carry_out(state: Key, write: Write) -> None:
    try:
        _CARRY_OUT[type(write)](state, write)
    except (TypeError, ValueError, AttributeError) as error:  # UnicodeEncodeError is a ValueError
        raise _refused(write, error) from error


def _hset_alone(write: keys.HSet, prefix: str) -> tuple[bytes, list[bytes]]:
    """The name of a key and the arguments of its one HSET."""
    args: list[bytes] = []
    try:
        for name, value in write.fields.items():
            args += (
                name.encode() if type(name) is str else _name(name),
                value.encode() if type(value) is str else _bytes(value),
            )
    except (TypeError, ValueError, AttributeError) as error:
        raise _refused(write, error) from error
    return _key(write, prefix), args


def _key(write: Write, prefix: str) -> bytes:
    key: str = write.key  # type: ignore[attr-defined]
    try:
        return (prefix + key).encode() if type(key) is str else _name(key)
    except (TypeError, ValueError) as error:
        raise _refused(write, error) from error


def _refused(write: Write, error: Exception) -> RedisRefusal:
    return RedisRefusal(f"{_brief(write)}: {error}")


def _set(state: Key, write: keys.Set) -> None:
    state.overwrite(_bytes(write.value), None if write.expire_at is None else _milliseconds(write.expire_at))


def _incr(state: Key, write: keys.Incr) -> None:
    state.add(STRING, b"", write.by)


def _hset(state: Key, write: keys.HSet) -> None:
    # The two functions' common case without calling them. `_hset_alone` spells it out as well: one made of the other's
    # container took half as long again.
    state.put(
        HASH,
        {
            name.encode() if type(name) is str else _name(name): value.encode() if type(value) is str else _bytes(value)
            for name, value in write.fields.items()
        },
    )


def _hincr(state: Key, write: keys.HIncr) -> None:
    for name, by in write.by.items():
        state.add(HASH, _name(name), by)


def _hdel(state: Key, write: keys.HDel) -> None:
    state.remove(HASH, [_name(name) for name in _several(write.fields)])


def _sadd(state: Key, write: keys.SAdd) -> None:
    state.put(SET, {_bytes(member): b"" for member in _several(write.members)})


def _srem(state: Key, write: keys.SRem) -> None:
    state.remove(SET, [_bytes(member) for member in _several(write.members)])


def _zadd(state: Key, write: keys.ZAdd) -> None:
    state.put(ZSET, {_name(name): _score(score) for name, score in write.scores.items()})


def _zincr(state: Key, write: keys.ZIncr) -> None:
    for name, by in write.by.items():
        state.add(ZSET, _name(name), by)


def _zrem(state: Key, write: keys.ZRem) -> None:
    state.remove(ZSET, [_name(name) for name in _several(write.members)])


def _del(state: Key, write: keys.Del) -> None:  # noqa: ARG001 - the table's signature
    state.clear()


def _expire_at(state: Key, write: keys.ExpireAt) -> None:
    state.expire_at(_milliseconds(write.at))


_CARRY_OUT: dict[type[Write], Callable[[Key, Any], None]] = {
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
    raise TypeError(f"expected str, bytes or int, found {type(value).__name__}")


def _name(name: str) -> bytes:
    if type(name) is str:
        return name.encode()
    raise TypeError(f"expected a name of type str, found {type(name).__name__}")


def _score(score: int) -> bytes:
    if type(score) is int:
        return b"%d" % bounded(score, EXACT)
    raise TypeError(f"expected an integer score, found {type(score).__name__}")


def _several(names: tuple[T, ...]) -> tuple[T, ...]:
    if isinstance(names, str | bytes):  # iterable, and surely not what was meant
        raise TypeError(f"expected a tuple, found {type(names).__name__}")
    return names


def _milliseconds(at: datetime) -> int:
    """Milliseconds since 1970. At least 1: Redis refuses less, and any moment that long ago means "gone"."""
    if at.tzinfo is None:
        raise ValueError("expected a timezone-aware moment, found one without: take it from event.time")
    return max(1, (at - _EPOCH) // _MILLISECOND)


def _brief(write: Write) -> str:
    """The write with the types of its values: the values themselves are data, and messages go into logs."""
    named = isinstance(write, keys.HSet | keys.HIncr)
    shown = (f"{field.name}={_shape(field.name, getattr(write, field.name), named)}" for field in fields(write))  # type: ignore[arg-type]
    text = f"{type(write).__name__}({', '.join(shown)})"
    return text if len(text) <= 300 else text[:297] + "..."


def _shape(name: str, value: object, named: bool) -> str:
    """``named``: the keys of a mapping are names of fields, and no data."""
    if name == "key":
        return f"{value!r:.80}" if isinstance(value, str) else type(value).__name__
    if isinstance(value, dict):
        kinds = ((each, type(held).__name__) for each, held in value.items())
        return f"{{{', '.join(f'{each!r:.40}: {kind}' if named else kind for each, kind in kinds)}}}"
    if isinstance(value, tuple):
        return f"({', '.join(type(each).__name__ for each in value)})"
    return type(value).__name__
