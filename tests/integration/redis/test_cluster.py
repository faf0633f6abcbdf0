"""A Redis in cluster mode: one script reaches one slot, so the sink lives in one, or is refused."""

from __future__ import annotations

import pytest
import redis

from logsync.core.position import Position
from logsync.errors import ConfigError, StoreUnavailable
from logsync.settings import Settings
from logsync.stores.redis import HSet, Incr, Redis, Set
from tests.integration.redis.conftest import BOOK, SINK, plan


def test_a_prefix_without_hash_tag_is_refused(node: int) -> None:
    with pytest.raises(ConfigError, match=r"hash tag(.|\n)*Redis\(prefix='\{shop\}:'\)"):
        Redis(f"redis://127.0.0.1:{node}", prefix="shop:").open(SINK, Settings(_env_file=None))


def test_with_a_hash_tag_keys_and_bookkeeping_share_one_slot(node: int) -> None:
    store = Redis(f"redis://127.0.0.1:{node}", prefix="{shop}:")
    store.open(SINK, Settings(_env_file=None))
    store.write_book(BOOK, positions=[Position(0, 0)])
    store.apply(plan(Position(0, 0), [Set(f"k{n}", n) for n in range(100)], [HSet("h", {"a": 1}), Incr("n")]))
    plain = redis.Redis(port=node)
    assert len({plain.execute_command("CLUSTER KEYSLOT", key) for key in plain.keys("*")}) == 1
    assert store.positions()[0].next_offset == 2
    store.wipe(BOOK)
    assert not store.holds_data()


def test_a_slot_that_nobody_serves_is_waited_for(node: int) -> None:
    store = Redis(f"redis://127.0.0.1:{node}", prefix="{shop}:")
    store.open(SINK, Settings(_env_file=None))
    plain = redis.Redis(port=node)
    plain.execute_command("CLUSTER DELSLOTS", plain.execute_command("CLUSTER KEYSLOT", "{shop}:"))
    with pytest.raises(StoreUnavailable, match="CLUSTERDOWN"):
        store.positions()
