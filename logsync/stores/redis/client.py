"""The one place that talks to redis-py: connecting, time bounds, and what was surely not sent.

Imported by ``Redis.open``, so that importing a sink needs no client library.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from logsync.errors import LogsyncError
from logsync.stores import tls
from logsync.stores.redis.address import parse
from logsync.stores.redis.errors import mismatch, translate

_PROBE = 2.0
"""Seconds to find out what stands at the other end."""
_PLAIN = (b"+PONG", b"-NOAUTH", b"-DENIED", b"-LOADING", b"-ERR")  # what a Redis says to PING in the clear
Answer = Any
"""What RESP can carry: int, bytes, None, and lists of them."""


_KINDS: dict[str, Callable[..., object]] = {
    "tcp": redis.Connection,
    "tls": redis.SSLConnection,
    "unix": redis.UnixDomainSocketConnection,
}


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


class RedisClient:
    """One connection to one Redis. Raises logsync's errors only."""

    meanwhile: Callable[[], bool] | None = None
    """See Store. Done while a script writes."""

    def __init__(self, url: str, timeout: float, named: str = "LOGSYNC_REDIS") -> None:
        """``timeout`` in seconds bounds connecting, and each wait for an answer. Opens nothing yet.

        ``named``: what a person has to correct if ``url`` is wrong. Raises ConfigError.
        """
        self._address = parse(url, named)
        self.where, self._named = self._address.where, named
        self._timeout = min(timeout, self._address.timeout)
        self._answered = False
        kind = _KINDS[self._address.kind]
        # redis-py's own retries are off. Resending a script blindly could not double anything (it compares the
        # position first), but its answer would be a conflict with ourselves: the worker counts those as a rival
        # (P3). And how long a call may take is the caller's decision.
        self._connection = cast(
            _Connection,
            kind(
                **self._address.options,
                socket_timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                protocol=2,
                decode_responses=False,
                retry=Retry(NoBackoff(), 0),
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
            answer = self._connection.read_response()
        except redis.exceptions.NoScriptError:
            raise _NoScript("") from None
        except (redis.RedisError, OSError) as error:
            if not isinstance(error, redis.ResponseError):
                # A late answer must not be taken for the answer to the next command.
                self._connection.disconnect()
                if not self._answered and (wrong := self._mismatch()):
                    raise mismatch(self.where, wrong, self._named) from error
            raise translate(error, self.where, sent=sent and writes) from error
        except BaseException:
            self._connection.disconnect()
            raise
        self._answered = True
        return answer

    def _mismatch(self) -> str:
        """Why nothing was understood, if one side speaks TLS and the other does not; empty if it is not that.

        Neither says so by itself: a plain Redis waits for the end of the line in what is a handshake, and a server with
        TLS hangs up.
        """
        address, patience = self._address, min(_PROBE, self._timeout)
        if address.kind == "unix":
            return ""
        host, port, secure = address.options["host"], address.options["port"], address.kind == "tls"
        if "ssl_certfile" in address.options:
            return ""
        wrong = tls.asked(host, port, secure=secure, timeout=patience)
        if wrong or not secure:
            return wrong
        try:
            with socket.create_connection((host, port), timeout=patience) as plain:
                plain.sendall(b"PING\r\n")
                answer = plain.recv(8)
        except OSError:
            return ""
        return "the server speaks no TLS on this port" if answer.startswith(_PLAIN) else ""

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
