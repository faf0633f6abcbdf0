"""SEARCHABLE is true: with six shards and replicas, under load, in a thousand tries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import monotonic

import httpx
import pytest

from logsync import Producer
from logsync.reading import State, Views
from logsync.reading.poller import REFRESH_EVERY
from logsync.stores.opensearch.view import OpenSearchView
from tests.integration.worker.harness import Case
from tests.integration.worker.sinks import ItemPut
from tests.waiting import PATIENCE

from . import shards

TRIES = 1_000


@pytest.mark.servers("kafka", "opensearch")
def test_in_a_thousand_tries_a_search_finds_what_is_called_searchable(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshes: list[float] = []
    refresh = OpenSearchView.refresh

    def counted(view: OpenSearchView) -> None:
        refreshes.append(monotonic())
        refresh(view)

    monkeypatch.setattr(OpenSearchView, "refresh", counted)
    indices = {f"{case.name}-{index}" for index in shards.REPLICAS}
    sink, url = shards.make(case.name), case.env["LOGSYNC_OPENSEARCH"]
    case.start_writer("w")
    case._spawn(["logsync.cli", "consume", f"{shards.__name__}:sink"], {"LOGSYNC_BATCH_RECORDS": "500"})
    with (
        Producer(case.log, settings=case.settings) as producer,
        Views(sink, settings=case.settings) as views,
        httpx.Client(base_url=url, timeout=60) as search,
        ThreadPoolExecutor(80) as pool,
    ):

        def finds(n: int) -> bool:
            receipt = producer.append(ItemPut(k="try", n=n), timeout=60)
            seen = views.wait(receipt, sink.name, timeout=PATIENCE, searchable=True)
            assert seen.state is State.SEARCHABLE, seen
            query = {"query": {"bool": {"filter": [{"term": {"k": "try"}}, {"term": {"n": n}}]}}}
            while (answer := search.post(f"/{case.name}-*/_search", json=query)).status_code == 429:
                pass  # its queue of searches is full
            hits = answer.json()["hits"]["hits"]
            return {hit["_index"].partition("--")[0] for hit in hits} == indices

        found = list(pool.map(finds, range(TRIES)))
    assert found.count(False) == 0
    assert 0 < len(refreshes) < TRIES / 2, "those who wait share one"
    assert min(later - earlier for earlier, later in pairwise(refreshes)) >= REFRESH_EVERY
