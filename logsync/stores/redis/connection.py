"""One server and one sink: its keys, what is read of it, and what the server must be. Runs no script that writes."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator

from logsync.core.book import Book
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.position import Position
from logsync.errors import ConfigError
from logsync.stores.redis.client import RedisClient
from logsync.stores.redis.kept import Kept
from logsync.stores.redis.parking import ParkedReader

log = logging.getLogger("logsync.stores.redis.store")

_SCAN = 1000
"""Keys looked at per SCAN, and deleted in one step."""


class Connection(Kept):
    """What the store and ``inspect`` share. Opens nothing before it is asked."""

    def __init__(self, client: RedisClient, sink: str, prefix: str, tag: str) -> None:
        super().__init__(client.where, sink, prefix, tag)
        self.client = client
        self._parked = ParkedReader(self.parked_keys)
        self.parked_scripts = self._parked.scripts
        self.watched = -math.inf
        """When evictions were looked at last."""

    def close(self) -> None:
        self.client.close()

    def read_book(self) -> Book | None:
        return self.as_book(self.client.call("GET", self.book))

    def sequences(self, partition: int) -> dict[str, SequenceSummary]:
        with self.legible(self.parked_keys[1]):
            return self._parked.sequences(self.client, partition)

    def parked(self, partition: int, sequence: str | None, after: int, limit: int) -> list[Parked]:
        with self.legible(self.parked_keys[0]):
            return list(self._parked.parked(self.client, partition, sequence, after, limit))

    def holds_data(self) -> bool:
        return next(self.own_keys(), None) is not None or self.client.call("EXISTS", self.parked_keys[0]) == 1

    def positions(self) -> dict[int, Position]:
        """What is stored, and nothing else: an empty answer after FLUSHALL means "unknown", not "start". # P1

        Raises ConfigError if a script died half-way, if keys were evicted, or if the content has another prefix.
        """
        self.check_prefix(self.client.call("HGET", self.prefixes, self.sink))
        self.check_evictions()
        return self.read_positions(self.client.call("HGETALL", self.position_key))

    def own_keys(self) -> Iterator[list[bytes]]:
        """The sink's keys in batches that are not empty. SCAN returns every key that is there all the time."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self.prefix) + "*"
        cursor = b"0"
        while True:
            cursor, keys = self.client.call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN)
            if keys:
                yield keys
            if cursor == b"0":
                return

    def info(self, section: str) -> dict[str, str]:
        text = str(self.client.call("INFO", section), errors="replace")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def check_server(self) -> None:
        where = self.where
        version = self.info("server").get("redis_version", "0")
        if int(version.split(".")[0]) < 7:
            raise ConfigError(f"{where}: expected Redis 7.0 or later, found {version}", fix="upgrade the server")
        if self.info("cluster").get("cluster_enabled") == "1" and not self.tag:
            raise ConfigError(
                f"{where} is a cluster, and one script can only reach one slot: prefix {self.prefix!r} has no hash tag",
                fix="give it one, which the whole sink then shares, as in Redis(prefix='{shop}:')",
            )

    def warn_without_file(self) -> None:
        if self.info("persistence").get("aof_enabled") == "0":
            # The content stays correct, because a restart takes values and position back together. But it takes them
            # back far.
            log.warning(
                "Redis has no append-only file: a restart takes the sink back to its last snapshot, or to nothing",
                extra={"sink": self.sink},
            )

    def check_policy(self) -> None:
        policy = self.info("memory").get("maxmemory_policy", "unknown")
        if policy != "noeviction":  # R2
            raise ConfigError(
                f"{self.where}: expected maxmemory-policy noeviction, found {policy}: an evicted key would "
                "silently differ from the log",
                fix="`CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf",
            )

    def check_evictions(self) -> None:
        """An evicted key leaves the position valid and the content wrong. # R2

        The policy proves nothing about the time before, so the server's counter is compared with what it was
        when the content began. A restart sets the counter to 0, and gives the server a new run id.
        """
        self.check_policy()
        evicted, run_id = self._evictions()
        known = self.client.call("GET", self.evicted)
        if known is None and not self.client.call("EXISTS", self.book):
            return  # nothing began yet
        # Our own mark may be among the evicted: then every eviction since the server started counts.
        with self.legible(self.evicted):
            begun_under, _, text = str(known or b"", "ascii").partition(" ")
            before = int(text) if begun_under == run_id else 0
        if evicted > before:
            raise ConfigError(
                f"{self.where}: Redis evicted {evicted} keys since it started: some may have been of sink "
                f"{self.sink}, and its content then differs from the log",
                fix="`logsync rebuild SINK --yes`",
            )
        self.watched = time.monotonic()

    def now_evicted(self) -> bytes:
        evicted, run_id = self._evictions()
        return f"{run_id} {evicted}".encode()

    def _evictions(self) -> tuple[int, str]:
        return int(self.info("stats")["evicted_keys"]), self.info("server")["run_id"]

    def overlap(self, other: str, prefix: str) -> ConfigError:
        return ConfigError(
            f"{self.where}: sink {self.sink} has the prefix {self.prefix!r}, sink {other} has {prefix!r}: one "
            "begins with the other, so a rebuild of one would delete keys of the other",
            fix=f"choose another prefix; if sink {other} and its keys are no more: "
            f"`HDEL {self.prefixes.decode()} {other}` in redis-cli",
        )
