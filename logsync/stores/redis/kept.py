"""What lies in a Redis for one sink: under which names, and how it reads. Asks no server, and needs no client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from logsync.core.book import Book
from logsync.core.parked import Parked, bears
from logsync.core.position import Position
from logsync.core.view import Place, Retried, Sight
from logsync.errors import ConfigError
from logsync.stores.redis.parking import field, parked_keys


class Kept:
    """The names of one sink's bookkeeping, and what is read of it."""

    def __init__(self, where: str, sink: str, prefix: str, tag: str) -> None:
        """``where``: the server, in messages. ``tag``: what of the prefix decides the slot in a cluster, and stands in
        the names of the bookkeeping too.
        """
        self.where, self.sink, self.prefix, self.tag = where, sink, prefix, tag
        names = f"logsync:{sink}:{tag}"
        self.book, self.position_key, self.evicted = (
            (names + name).encode() for name in ("book", "positions", "evicted")
        )
        self.prefixes = f"logsync:{tag}prefixes".encode()
        self.parked_keys = parked_keys(names)

    def as_book(self, text: bytes | None) -> Book | None:
        return None if text is None else Book.read(text, f"{self.where}: {self.book.decode()}")

    def look(self, places: Sequence[Place], retried: Mapping[Place, Retried]) -> tuple[list[bytes], list[bytes]]:
        """The keys and the arguments of look.lua."""
        args = [self.sink.encode()]
        for place in places:
            first = retried.get(place)
            since, wanted = (first.since, bears(first.event_id)) if first is not None else (place[1], "")
            args += (field(*place), field(place[0], since), wanted.encode())
        return [self.book, self.position_key, self.parked_keys[0], self.prefixes, self.parked_keys[2]], args

    def sight(self, places: Sequence[Place], answer: Sequence[Any]) -> Sight:
        """What look.lua returned. Raises ConfigError for what cannot be read, or is not this sink's any more."""
        prefix, body, flat, entries = answer
        self.check_prefix(prefix)
        book = self.as_book(body)
        with self.legible(self.parked_keys[0]):
            parked = {place: Parked.from_json(text).reason for place, text in zip(places, entries, strict=True) if text}
        return Sight(book, self.read_positions(flat), parked)

    def check_prefix(self, stored: bytes | None) -> None:
        """Raise ConfigError if the content lies under another prefix than this one."""
        if stored not in (None, self.prefix.encode()):
            raise self._moved(str(stored, errors="replace"))

    def read_positions(self, flat: Sequence[bytes]) -> dict[int, Position]:
        """What HGETALL gives. Raises ConfigError if a script died half-way."""
        kept = dict(zip(flat[::2], flat[1::2], strict=True))
        begun, ended = kept.pop(b"begun", b"0"), kept.pop(b"ended", b"0")
        if begun != ended:
            raise self.poisoned(begun, ended)
        with self.legible(self.position_key):
            return {int(partition): Position.from_dict(json.loads(text)) for partition, text in kept.items()}

    @contextmanager
    def legible(self, key: bytes) -> Iterator[None]:
        """What is read inside is what logsync wrote there. Raises ConfigError if something else has written it."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"{self.where}: {key.decode()} of logsync's own bookkeeping was overwritten by something else",
                fix="`logsync rebuild SINK --yes`, once it is known what writes there",
            ) from error

    def _moved(self, prefix: str) -> ConfigError:
        return ConfigError(
            f"{self.where}: the content of sink {self.sink} has the prefix {prefix!r}, and now it is {self.prefix!r}",
            fix=f"set it back, or `logsync rebuild SINK --yes`; the keys under {prefix!r} stay until you delete them",
        )

    def poisoned(self, begun: bytes | None, ended: bytes | None) -> ConfigError:
        return ConfigError(
            f"{self.where}: sink {self.sink}: a script died half-way (begun {_count(begun)}, ended "
            f"{_count(ended)}): its keys are neither the old nor the new",
            fix="see Redis' log for the cause, then `logsync rebuild SINK --yes`",
        )


def _count(stored: bytes | None) -> str:
    return str(stored or b"0", errors="replace")[:20]
