"""Applies plan after plan until it is killed. Arguments: address, number of events per plan."""

from __future__ import annotations

import sys

from logsync.settings import Settings
from logsync.stores.redis import Redis
from tests.integration.redis.conftest import SINK, plan
from tests.integration.redis.fold import events_of

if __name__ == "__main__":
    url, size = sys.argv[1], int(sys.argv[2])
    store = Redis(url, prefix="shop:")
    store.open(SINK, Settings(_env_file=None))
    position = store.positions()[0]
    while True:
        made = plan(position, *events_of(position.next_offset, size))
        store.apply(made)
        position = made.end
