"""Redis as a sink's store, and the writes that it carries out."""

from logsync.stores.redis.store import Redis
from logsync.writes.keys import Del, ExpireAt, HDel, HIncr, HSet, Incr, SAdd, Set, SRem, ZAdd, ZIncr, ZRem

__all__ = ["Del", "ExpireAt", "HDel", "HIncr", "HSet", "Incr", "Redis", "SAdd", "SRem", "Set", "ZAdd", "ZIncr", "ZRem"]
