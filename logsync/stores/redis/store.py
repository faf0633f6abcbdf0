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
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Inspection
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.core.store import StoreSettings, Traits
from logsync.core.view import NO_RETRIES, CommandLook, Place, Retried, View
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable, WriteRejected
from logsync.stores.clients import importing
from logsync.stores.redis import parking
from logsync.stores.redis.compile import ACCEPTS, Program, RedisRefusal, compile_writes
from logsync.stores.redis.kept import Kept

if TYPE_CHECKING:
    from logsync.stores.redis.client import Script
    from logsync.stores.redis.connection import Connection

log = logging.getLogger(__name__)

_WATCH_EVERY = 1.0
"""Seconds between two looks at what Redis evicted: an eviction is noticed by an apply that starts later than this."""


class Scripts(NamedTuple):
    """What the store runs in Redis to write."""

    apply: Script
    apply_when_full: Script
    write_book: Script
    wipe: Script


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
        self._connection: Connection | None = None

    def open(self, sink: str, settings: StoreSettings) -> None:
        """Connect and check what can be checked once: version, eviction policy (R2), cluster.

        Raises StoreUnavailable, ConfigError. A sink whose content is broken (R1, R2) opens all the same, so that
        a rebuild can mend it; ``positions`` and ``apply`` refuse it.
        """
        self.close()
        here = self._connection = self._connect(sink, settings)
        here.check_server()
        here.check_policy()
        here.warn_without_file()
        for script in (*self._scripts, *here.parked_scripts):  # found wanting now, rather than in the first plan
            here.client.call("SCRIPT", "LOAD", script.body)

    def _connect(self, sink: str, settings: StoreSettings) -> Connection:
        """What asks the server nothing yet."""
        with importing("redis", extra="redis"):  # late: importing a sink needs no client library
            from logsync.stores.redis.client import RedisClient, Script
            from logsync.stores.redis.connection import Connection
        self._scripts = Scripts(
            Script("apply.lua"), Script("apply.lua", when_full=True), Script("book.lua"), Script("wipe.lua")
        )
        named = "the url of Redis(...), given for LOGSYNC_REDIS" if self._url else "LOGSYNC_REDIS"
        client = RedisClient(self._url or settings.address("redis"), settings.store_timeout, named)
        client.meanwhile = self.meanwhile
        return Connection(client, sink, self.prefix, self._tag)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    # The book and the positions

    def read_book(self) -> Book | None:
        return self._here.read_book()

    def write_book(self, book: Book, *, positions: Sequence[Position] | None = None) -> None:
        here, expected = self._here, book.revision - 1
        if expected == 0:
            # The content begins: evictions before this moment do not matter.
            here.client.call("SET", here.evicted, here.now_evicted())
        args = [b"%d" % expected, book.dump().encode(), here.sink.encode(), self.prefix.encode()]
        args.append(b"keep" if positions is None else b"replace")
        for position in positions or ():
            args += (b"%d" % position.partition, _json(position))
        found = here.client.run(self._scripts.write_book, [here.book, here.position_key, here.prefixes], args)
        if isinstance(found, list):
            raise here.overlap(*[str(item, errors="replace") for item in found])
        if found != expected:
            raise book_conflict(here.sink, expected, found)

    def positions(self) -> dict[int, Position]:
        """What is stored, and nothing else: an empty answer after FLUSHALL means "unknown", not "start". # P1

        Raises ConfigError if a script died half-way, if keys were evicted, or if the content has another prefix.
        """
        return self._here.positions()

    # The content

    def check_writes(self, plan: Plan) -> None:
        """See ``logsync.core.store.ChecksWrites``: a value that is none, a time without a zone, a float to add."""
        for offset, writes in plan.by_event():
            try:
                compile_writes(writes, self.prefix)
            except RedisRefusal as error:
                raise WriteRejected(str(error), offset=offset) from None

    def apply(self, plan: Plan) -> None:
        """One script: compare the position, check that nothing can fail, write, move the position. # I1 I2 I4

        Raises what the contract says; ConfigError also when the sink is poisoned (R1) or Redis evicted (R2).
        """
        here = self._here
        if time.monotonic() - here.watched > _WATCH_EVERY:
            here.check_evictions()
        with suppress(RedisRefusal):
            program = compile_writes(plan.writes, self.prefix)
            if self._run(plan, program, b"apply", parking.changes(plan)) is None:
                return
        raise self._first_refused(plan)

    def _run(self, plan: Plan, program: Program, mode: bytes, parked: Sequence[bytes] = ()) -> str | None:
        """Run the script. Returns what a guard refused, in words, or None."""
        here, start = self._here, plan.start
        keys = [here.position_key, *program.keys, *(here.parked_keys if parked else ())]
        args = [b"%d" % number for number in (start.partition, *start.place)]
        args += (_json(plan.end), mode, b"%d" % len(parked))
        try:
            # Parked events take memory and a release gives it back: a server that they fill must be able to release.
            frees = not plan.parked and bool(plan.released or plan.still_parked)
            script = self._scripts.apply_when_full if frees else self._scripts.apply
            verdict, *rest = here.client.run(script, keys, [*args, *program.args, *parked])
        except ConfigError:
            # Refused before it ran, or died half-way?
            begun, ended = here.client.call("HMGET", here.position_key, "begun", "ended")
            if begun != ended:
                raise here.poisoned(begun, ended) from None
            raise
        found = [str(item, errors="replace") for item in rest]
        if verdict == b"ok":
            return None
        if verdict == b"conflict":
            # Also the fate of our own earlier attempt whose answer was lost, and which did arrive. # P4
            raise PositionConflict(f"{here.client.where}: sink {here.sink}: expected {start}, found {found[0]}")
        if verdict == b"poisoned":
            raise here.poisoned(*rest)
        if verdict == b"denied":
            raise ConfigError(
                f"{here.client.where}: the user may not run {found[0]} on {found[1]}; nothing was written",
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
        except RedisRefusal as error:
            return str(error)

    # What is parked

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        return self._here.sequences(partition)

    def parked(self, partition: int, *, sequence: str | None = None, after: int = -1, limit: int = 100) -> list[Parked]:
        return self._here.parked(partition, sequence, after, limit)

    # All of it

    def holds_data(self) -> bool:
        return self._here.holds_data()

    def wipe(self, book: Book) -> None:
        """Delete every key of the prefix, then what is parked, and forget evictions and a script that died.

        In this order: after a crash in between, the sink is still known to be broken. Each deletion looks at the book.
        """
        here = self._here
        for keys in here.own_keys():
            self._delete(book, keys)
        self._delete(book, here.parked_keys, here.now_evicted())

    def _delete(self, book: Book, keys: Sequence[bytes], *evicted: bytes) -> None:
        here = self._here
        found = here.client.ask(
            self._scripts.wipe, [here.book, here.position_key, here.evicted, *keys], [b"%d" % book.revision, *evicted]
        )
        if found != book.revision:
            raise book_conflict(here.sink, book.revision, found)

    def schema(self, sink: str = "", settings: StoreSettings | None = None) -> str:  # noqa: ARG002 - the contract's
        return ""

    def view(self, sink: str, settings: StoreSettings) -> View:
        from logsync.stores.redis.view import RedisView

        return RedisView(lambda: self._connect(sink, settings))

    def command_look(
        self, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES
    ) -> CommandLook:
        from logsync.stores.redis.view import command_look

        return command_look(Kept("Redis", sink, self.prefix, self._tag), asked, retried)

    def inspect(self, sink: str, settings: StoreSettings) -> Inspection:
        from logsync.stores.redis.inspect import inspect

        return inspect(lambda: self._connect(sink, settings))

    def __repr__(self) -> str:
        return f"Redis(prefix={self.prefix!r})"  # never the url: it may hold a password

    @property
    def _here(self) -> Connection:
        if self._connection is None:
            raise StoreUnavailable("the store is not open", fix="call open() first")
        return self._connection


def _json(position: Position) -> bytes:
    return json.dumps(position.to_dict()).encode()
