"""One look at a sink in Redis: a script that only reads, so it is of one moment, and a replica runs it, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from logsync.core.book import Book
from logsync.core.parked import Parked, bears
from logsync.core.view import NO_RETRIES, Place, Retried, Sight
from logsync.stores.redis.parking import field

if TYPE_CHECKING:
    from logsync.stores.redis.client import Script
    from logsync.stores.redis.connection import Connection


class RedisView:
    """See ``logsync.core.view.View``. What was evicted it does not see: workers halt at that. # R2"""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._here: Connection | None = None
        self._script: Script | None = None

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        here = self._here = self._here or self._connect()
        if self._script is None:
            from logsync.stores.redis.client import Script

            self._script = Script("look.lua")
        places = list(asked)
        keys = [here.book, here.position_key, here.parked_keys[0], here.prefixes, here.parked_keys[2]]
        args = [here.sink.encode()]
        for place in places:
            first = retried.get(place)
            since, wanted = (first.since, bears(first.event_id)) if first is not None else (place[1], "")
            args += (field(*place), field(place[0], since), wanted.encode())
        prefix, body, flat, entries = here.client.ask(self._script, keys, args)
        here.check_prefix(prefix)
        book = None if body is None else Book.read(body, f"{here.client.where}: {here.book.decode()}")
        with here.legible(here.parked_keys[0]):
            parked = {place: Parked.from_json(text).reason for place, text in zip(places, entries, strict=True) if text}
        return Sight(book, here.read_positions(flat), parked)

    def close(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            here.close()
