"""Redis as a store: values and position move in one script, so an event's effect is there exactly once.

The handlers' keys are relative: the store puts ``prefix`` in front of each, so a sink cannot touch a
neighbour's keys, and ``wipe`` finds all of its own. What logsync itself must remember lies outside the prefix:

    logsync:<sink>:book        the book, JSON
    logsync:<sink>:positions   hash: partition -> position, JSON; and how many scripts began and ended to write (R1)
    logsync:<sink>:evicted     "<run id> <evicted_keys>" of the server when the content began (R2)
    logsync:<sink>:parked...   events set aside, see parking.py
    logsync:prefixes           hash: sink -> prefix, of all sinks: none may begin with another's

With a hash tag in the prefix (``{shop}:``) they carry it too, so that all live in one slot of a cluster.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable, WriteRejected
from logsync.stores.clients import importing
from logsync.stores.redis import parking
from logsync.stores.redis.compile import ACCEPTS, Program, Refused, compile_writes

if TYPE_CHECKING:
    from logsync.stores.redis.client import Client

log = logging.getLogger(__name__)

_SCAN = 1000
"""Keys looked at per SCAN, and deleted in one step."""
_WATCH_EVERY = 1.0
"""Seconds between two looks at what Redis evicted: an eviction is noticed by an apply that starts later than this."""


class Redis:
    """A Store over one Redis (7.0 or later, or Valkey)."""

    kind = "redis"
    accepts = ACCEPTS
    traits = Traits(atomic=True)
    meanwhile: Callable[[], bool] | None = None

    def __init__(self, url: str | None = None, *, prefix: str) -> None:
        """``url`` None: LOGSYNC_REDIS. ``prefix`` stands before every key of the sink, and before no other key."""
        if not prefix or prefix.startswith("logsync:") or "logsync:".startswith(prefix):
            raise ConfigError(
                f"Redis(prefix={prefix!r}): expected a prefix of the sink's own, apart from logsync's bookkeeping "
                "under 'logsync:'",
                fix="choose one such as 'shop:'",
            )
        self._url = url
        self.prefix = prefix
        tag = re.match(r"[^{]*(\{[^}]+\})", prefix)  # what decides the slot in a cluster, with its braces
        self._tag = f"{tag[1]}:" if tag else ""
        self._client: Client | None = None

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect and check what can be checked once: version, eviction policy (R2), cluster.

        Raises StoreUnavailable, ConfigError. A sink whose content is broken (R1, R2) opens all the same, so that
        a rebuild can mend it; ``positions`` and ``apply`` refuse it.
        """
        self._connect(sink, settings)
        self._check_server()
        self._check_policy()
        self._warn_without_file()
        scripts = (self._apply, self._drain, self._write_book, self._wipe, *self._shelf.scripts)
        for script in scripts:  # found wanting now, rather than in the first plan
            self._io.call("SCRIPT", "LOAD", script.body)

    def _connect(self, sink: str, settings: StoreSettings) -> None:
        """Everything of ``open`` that asks the server nothing."""
        with importing("redis", extra="redis"):
            from logsync.stores.redis import client  # late: importing a sink needs no client library
        self.close()
        self._sink = sink
        names = f"logsync:{sink}:{self._tag}"
        self._book, self._positions, self._evicted = (
            (names + name).encode() for name in ("book", "positions", "evicted")
        )
        self._prefixes = f"logsync:{self._tag}prefixes".encode()
        self._shelf = parking.Shelf(names)
        self._apply, self._write_book = client.Script("apply.lua"), client.Script("book.lua")
        self._wipe = client.Script("wipe.lua")
        self._drain = client.Script("apply.lua", when_full=True)
        named = "the url of Redis(...), given for LOGSYNC_REDIS" if self._url else "LOGSYNC_REDIS"
        self._client = client.Client(self._url or settings.address("redis"), settings.store_timeout, named)
        self._client.meanwhile = self.meanwhile
        self._watched = -math.inf

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    # The book and the positions

    def read_book(self) -> Book | None:
        text = self._io.call("GET", self._book)
        return None if text is None else Book.read(text, f"{self._io.where}: {self._book.decode()}")

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        expected = book.revision - 1
        if expected == 0:
            # The content begins: evictions before this moment do not matter.
            self._io.call("SET", self._evicted, self._now_evicted())
        args = [b"%d" % expected, book.dump().encode(), self._sink.encode(), self.prefix.encode()]
        args.append(b"keep" if positions is None else b"replace")
        for position in positions or ():
            args += (b"%d" % position.partition, _json(position))
        found = self._io.run(self._write_book, [self._book, self._positions, self._prefixes], args)
        if isinstance(found, list):
            raise self._overlap(*[str(item, errors="replace") for item in found])
        if found != expected:
            raise book_conflict(self._sink, expected, found)

    def positions(self) -> dict[int, Position]:
        """What is stored, and nothing else: an empty answer after FLUSHALL means "unknown", not "start". # P1

        Raises ConfigError if a script died half-way, if keys were evicted, or if the content has another prefix.
        """
        prefix = self._io.call("HGET", self._prefixes, self._sink)
        if prefix not in (None, self.prefix.encode()):
            raise self._moved(str(prefix, errors="replace"))
        self._check_evictions()
        flat = self._io.call("HGETALL", self._positions)
        kept = dict(zip(flat[::2], flat[1::2], strict=True))
        begun, ended = kept.pop(b"begun", b"0"), kept.pop(b"ended", b"0")
        if begun != ended:
            raise self._poisoned(begun, ended)
        with self._legible(self._positions):
            return {int(partition): Position.from_dict(json.loads(text)) for partition, text in kept.items()}

    # The content

    def check_writes(self, plan: Plan) -> None:
        """See ``logsync.core.store.ChecksWrites``: a value that is none, a time without a zone, a float to add."""
        for offset, writes in plan.by_event():
            try:
                compile_writes(writes, self.prefix)
            except Refused as error:
                raise WriteRejected(str(error), offset=offset) from None

    def apply(self, plan: Plan) -> None:
        """One script: compare the position, check that nothing can fail, write, move the position. # I1 I2 I4

        Raises what the contract says; ConfigError also when the sink is poisoned (R1) or Redis evicted (R2).
        """
        if time.monotonic() - self._watched > _WATCH_EVERY:
            self._check_evictions()
        with suppress(Refused):
            program = compile_writes(plan.writes, self.prefix)
            if self._run(plan, program, b"apply", parking.changes(plan)) is None:
                return
        raise self._first_refused(plan)

    def _run(self, plan: Plan, program: Program, mode: bytes, parked: Sequence[bytes] = ()) -> str | None:
        """Run the script. Returns what a guard refused, in words, or None."""
        start = plan.start
        keys = [self._positions, *program.keys, *(self._shelf.keys if parked else ())]
        args = [b"%d" % number for number in (start.partition, *start.place)]
        args += (_json(plan.end), mode, b"%d" % len(parked))
        try:
            # Parked events take memory and a release gives it back: a server that they fill must be able to release.
            frees = not plan.parked and bool(plan.released or plan.still_parked)
            verdict, *rest = self._io.run(self._drain if frees else self._apply, keys, [*args, *program.args, *parked])
        except ConfigError:
            # Refused before it ran, or died half-way?
            begun, ended = self._io.call("HMGET", self._positions, "begun", "ended")
            if begun != ended:
                raise self._poisoned(begun, ended) from None
            raise
        found = [str(item, errors="replace") for item in rest]
        if verdict == b"ok":
            return None
        if verdict == b"conflict":
            # Also the fate of our own earlier attempt whose answer was lost, and which did arrive. # P4
            raise PositionConflict(f"{self._io.where}: sink {self._sink}: expected {start}, found {found[0]}")
        if verdict == b"poisoned":
            raise self._poisoned(*rest)
        if verdict == b"denied":
            raise ConfigError(
                f"{self._io.where}: the user may not run {found[0]} on {found[1]}; nothing was written",
                fix="give it the rights that docs/writes-redis.md lists (`ACL SETUSER`)",
            )
        return f"key {found[0]}: {found[1]}"

    def _first_refused(self, plan: Plan) -> WriteRejected:
        """The error for the first event in log order that cannot be applied, found by halving the plan.

        A guard knows the key, not the event: the sums it checked are those of the whole plan. Running prefixes
        of the plan without writing is exact: if one fails, every longer one does.
        """
        events = sorted(set(plan.offsets))
        last = len(events) - 1  # if all those before it pass, it is this one
        first = events[bisect_left(events, True, hi=last, key=lambda offset: self._refusal(plan, offset) is not None)]
        reason = self._refusal(plan, first) or "refused, then accepted: something else writes the sink's keys"
        return WriteRejected(reason, offset=first)

    def _refusal(self, plan: Plan, until: int) -> str | None:
        """What is wrong with the plan up to the event at offset ``until``, in words, or None."""
        writes = [write for write, offset in zip(plan.writes, plan.offsets, strict=True) if offset <= until]
        try:
            return self._run(plan, compile_writes(writes, self.prefix), b"check")
        except Refused as error:
            return str(error)

    # What is parked

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        with self._legible(self._shelf.keys[1]):
            return self._shelf.sequences(self._io, partition)

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        with self._legible(self._shelf.keys[0]):
            return list(self._shelf.parked(self._io, partition, sequence, after, limit))

    # All of it

    def holds_data(self) -> bool:
        return next(self._own_keys(), None) is not None or self._io.call("EXISTS", self._shelf.keys[0]) == 1

    def wipe(self, book: Book) -> None:
        """Delete every key of the prefix, then what is parked, and forget evictions and a script that died.

        In this order: after a crash in between, the sink is still known to be broken. Each deletion looks at the book.
        """
        for keys in self._own_keys():
            self._delete(book, keys)
        self._delete(book, self._shelf.keys, self._now_evicted())

    def _delete(self, book: Book, keys: Sequence[bytes], *evicted: bytes) -> None:
        found = self._io.ask(
            self._wipe, [self._book, self._positions, self._evicted, *keys], [b"%d" % book.revision, *evicted]
        )
        if found != book.revision:
            raise book_conflict(self._sink, book.revision, found)

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:  # noqa: ARG002 - the contract's
        return ""

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        from logsync.stores.redis.inspect import inspect

        return inspect(self, sink, settings)

    def __repr__(self) -> str:
        return f"Redis(prefix={self.prefix!r})"  # never the url: it may hold a password

    # Inside

    @property
    def _io(self) -> Client:
        if self._client is None:
            raise StoreUnavailable("the store is not open", fix="call open() first")
        return self._client

    def _own_keys(self) -> Iterator[list[bytes]]:
        """The sink's keys in batches that are not empty. SCAN returns every key that is there all the time."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self.prefix) + "*"
        cursor = b"0"
        while True:
            cursor, keys = self._io.call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN)
            if keys:
                yield keys
            if cursor == b"0":
                return

    def _info(self, section: str) -> dict[str, str]:
        text = str(self._io.call("INFO", section), errors="replace")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def _check_server(self) -> None:
        where = self._io.where
        version = self._info("server").get("redis_version", "0")
        if int(version.split(".")[0]) < 7:
            raise ConfigError(f"{where}: expected Redis 7.0 or later, found {version}", fix="upgrade the server")
        if self._info("cluster").get("cluster_enabled") == "1" and not self._tag:
            raise ConfigError(
                f"{where} is a cluster, and one script can only reach one slot: prefix {self.prefix!r} has no hash tag",
                fix="give it one, which the whole sink then shares, as in Redis(prefix='{shop}:')",
            )

    def _warn_without_file(self) -> None:
        if self._info("persistence").get("aof_enabled") == "0":
            # The content stays correct, because a restart takes values and position back together. But it takes them
            # back far.
            log.warning(
                "Redis has no append-only file: a restart takes the sink back to its last snapshot, or to nothing",
                extra={"sink": self._sink},
            )

    def _check_policy(self) -> None:
        policy = self._info("memory").get("maxmemory_policy", "unknown")
        if policy != "noeviction":  # R2
            raise ConfigError(
                f"{self._io.where}: expected maxmemory-policy noeviction, found {policy}: an evicted key would "
                "silently differ from the log",
                fix="`CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf",
            )

    def _check_evictions(self) -> None:
        """An evicted key leaves the position valid and the content wrong. # R2

        The policy proves nothing about the time before, so the server's counter is compared with what it was
        when the content began. A restart sets the counter to 0, and gives the server a new run id.
        """
        self._check_policy()
        evicted, run_id = self._evictions()
        known = self._io.call("GET", self._evicted)
        if known is None and not self._io.call("EXISTS", self._book):
            return  # nothing began yet
        # Our own mark may be among the evicted: then every eviction since the server started counts.
        with self._legible(self._evicted):
            begun_under, _, text = str(known or b"", "ascii").partition(" ")
            before = int(text) if begun_under == run_id else 0
        if evicted > before:
            raise ConfigError(
                f"{self._io.where}: Redis evicted {evicted} keys since it started: some may have been of sink "
                f"{self._sink}, and its content then differs from the log",
                fix="`logsync rebuild SINK --yes`",
            )
        self._watched = time.monotonic()

    def _now_evicted(self) -> bytes:
        evicted, run_id = self._evictions()
        return f"{run_id} {evicted}".encode()

    def _evictions(self) -> tuple[int, str]:
        return int(self._info("stats")["evicted_keys"]), self._info("server")["run_id"]

    @contextmanager
    def _legible(self, key: bytes) -> Iterator[None]:
        """What is read inside is what logsync wrote there. Raises ConfigError if something else has written it."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{self._io.where}: {key.decode()} of logsync's own bookkeeping was overwritten by something else",
                fix="`logsync rebuild SINK --yes`, once it is known what writes there",
            ) from error

    def _overlap(self, other: str, prefix: str) -> ConfigError:
        return ConfigError(
            f"{self._io.where}: sink {self._sink} has the prefix {self.prefix!r}, sink {other} has {prefix!r}: one "
            "begins with the other, so a rebuild of one would delete keys of the other",
            fix=f"choose another prefix; if sink {other} and its keys are no more: "
            f"`HDEL {self._prefixes.decode()} {other}` in redis-cli",
        )

    def _moved(self, prefix: str) -> ConfigError:
        return ConfigError(
            f"{self._io.where}: the content of sink {self._sink} has the prefix {prefix!r}, and now it is "
            f"{self.prefix!r}",
            fix=f"set it back, or `logsync rebuild SINK --yes`; the keys under {prefix!r} stay until you delete them",
        )

    def _poisoned(self, begun: bytes | None, ended: bytes | None) -> ConfigError:
        return ConfigError(
            f"{self._io.where}: sink {self._sink}: a script died half-way (begun {int(begun or 0)}, ended "
            f"{int(ended or 0)}): its keys are neither the old nor the new",
            fix="see Redis' log for the cause, then `logsync rebuild SINK --yes`",
        )


def _json(position: Position) -> bytes:
    return json.dumps(position.to_dict()).encode()
