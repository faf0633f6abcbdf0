"""The one place that talks to redis-py: connecting, time bounds, and what was surely not sent.

Imported by ``Redis.open``, so that importing a sink needs no client library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from logsync.errors import ConfigError, LogsyncError
from logsync.stores.redis.errors import translate

Answer = Any
"""What RESP can carry: int, bytes, None, and lists of them."""


class Script:
    """A Lua file of this package, and the name that Redis knows it by."""

    def __init__(self, name: str, *, when_full: bool = False) -> None:
        """``when_full``: it may run when memory is full, whatever its first line says."""
        self.body = files("logsync.stores.redis").joinpath(name).read_bytes()
        if when_full:
            self.body = self.body.replace(b"#!lua\n", b"#!lua flags=allow-oom\n", 1)
        self.sha = hashlib.sha1(self.body, usedforsecurity=False).hexdigest().encode()


class _Connection(Protocol):
    """The part of redis.Connection that is used here."""

    @property
    def is_connected(self) -> bool: ...
    def can_read(self, timeout: float = ...) -> bool: ...
    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_packed_command(self, command: list[bytes], check_health: bool = ...) -> None: ...
    def read_response(self) -> Answer: ...


class Client:
    """One connection to one Redis. Raises logsync's errors only."""

    meanwhile: Callable[[], bool] | None = None
    """See Store. Done while a script writes."""

    def __init__(self, url: str, timeout: float) -> None:
        """``timeout`` in seconds bounds connecting, and each wait for an answer. Opens nothing yet."""
        try:
            options = dict(parse_url(url))  # type: ignore[no-untyped-call]
        except ValueError:
            # Its text may hold a piece of the password.
            raise ConfigError(
                "expected the address of a Redis, found something else",
                fix="set LOGSYNC_REDIS=redis://user:password@host:port/0 (percent-encode what a URL cannot hold)",
            ) from None
        kind = options.pop("connection_class", redis.Connection)
        self.where = f"redis at {options.get('path') or options.get('host', 'localhost')}:{options.get('port', 6379)}"
        # redis-py's own retries are off. Resending a script blindly could not double anything (it compares the
        # position first), but its answer would be a conflict with ourselves: the worker counts those as a rival
        # (P3). And how long a call may take is the caller's decision.
        self._connection = cast(
            _Connection,
            kind(
                **{
                    "socket_timeout": timeout,
                    "socket_connect_timeout": timeout,
                    **options,
                    "protocol": 2,
                    "decode_responses": False,
                    "retry": Retry(NoBackoff(), 0),
                }
            ),
        )

    def close(self) -> None:
        self._connection.disconnect()

    def call(self, *command: bytes | str | int) -> Answer:
        """The answer to one command that reads, or whose repetition changes nothing."""
        return self._exchange(pack([_raw(word) for word in command]), writes=False)

    def ask(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Answer:
        """The answer of a script that reads, or whose repetition changes nothing."""
        return self._script(script, keys, args, writes=False)

    def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Answer:
        """The answer of a script that writes, run once. Raises StoreOutcomeUnknown if that cannot be told."""
        return self._script(script, keys, args, writes=True)

    def _script(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], *, writes: bool) -> Answer:
        rest = [b"%d" % len(keys), *keys, *args]
        try:
            return self._exchange(pack([b"EVALSHA", script.sha, *rest]), writes=writes)
        except _NoScript:  # restarted, or failed over: nothing ran, so the whole text may follow
            return self._exchange(pack([b"EVAL", script.body, *rest]), writes=writes)

    def _exchange(self, packed: bytes, *, writes: bool) -> Answer:
        sent = False
        try:
            self._drop_if_stale()
            self._connection.connect()  # does nothing if it is connected
            self._connection.send_packed_command([packed], check_health=False)
            sent = True
            while writes and self.meanwhile is not None and not self._connection.can_read(0) and self.meanwhile():
                pass
            return self._connection.read_response()
        except redis.exceptions.NoScriptError:
            raise _NoScript("") from None
        except (redis.RedisError, OSError) as error:
            if not isinstance(error, redis.ResponseError):
                # A late answer must not be taken for the answer to the next command.
                self._connection.disconnect()
            raise translate(error, self.where, sent=sent and writes) from error
        except BaseException:
            self._connection.disconnect()
            raise

    def _drop_if_stale(self) -> None:
        """Close a connection that has ended. Redis sends nothing unasked, so anything to read is the end of it."""
        try:
            stale = self._connection.is_connected and self._connection.can_read()
        except (redis.RedisError, OSError):
            stale = True
        if stale:
            self._connection.disconnect()


class _NoScript(LogsyncError):
    pass


class _Heads(dict[int, bytes]):
    """What stands before a word of so many bytes: the end of the one before, and its own length."""

    def __missing__(self, size: int) -> bytes:
        head = b"\r\n$%d\r\n" % size
        if size < 1_000:  # nearly all words; of larger sizes there are too many to keep
            self[size] = head
        return head


_HEADS = _Heads()


def pack(words: Sequence[bytes]) -> bytes:
    """One command as RESP, in one piece: many times faster than packing it word by word in redis-py."""
    parts = [b"\r\n"] * (2 * len(words) + 2)
    parts[0] = b"*%d" % len(words)
    parts[1:-1:2] = map(_HEADS.__getitem__, map(len, words))
    parts[2:-1:2] = words
    return b"".join(parts)


def _raw(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()
