"""A search sink whose indices have six shards each, with and without replicas, and are refreshed by nobody but readers.

``logsync consume tests.integration.reading.shards:sink`` finds its name where tests.integration.worker.sinks does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from logsync import Event, Sink
from logsync.stores.opensearch import IndexDoc, OpenSearch
from tests.integration.worker.sinks import NAME, ItemPut, declare

SHARDS = 6
REPLICAS = {"alone": 0, "copied": 1}


def make(name: str) -> Sink:
    indices = {}
    for index, replicas in REPLICAS.items():
        settings = {"number_of_shards": SHARDS, "number_of_replicas": replicas, "refresh_interval": "-1"}
        mappings = {"dynamic": False, "properties": {"k": {"type": "keyword"}, "n": {"type": "long"}}}
        indices[f"{name}-{index}"] = {"settings": settings, "mappings": mappings}
    sink = Sink(f"{name}-shards", declare(name), OpenSearch(indices=indices))

    @sink.on(ItemPut)
    def put(event: Event[ItemPut]) -> Iterator[IndexDoc]:
        for index in indices:
            yield IndexDoc(index, f"{event.data.k}-{event.data.n}", {"k": event.data.k, "n": event.data.n})

    return sink


sink = make(os.environ.get(NAME, "unnamed"))
