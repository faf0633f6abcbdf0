"""A store that dies between any two of its requests, and a server that dies under it: the content stays exact."""

from __future__ import annotations

from typing import Any

import pytest

from devstack import Stack
from logsync.errors import PositionConflict, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc
from logsync.stores.opensearch.client import OpenSearchClient
from tests.integration.opensearch.conftest import A, B, Died, Event, Shop, add, connected, die, interpose, plan, put

# Counters double when an event is applied twice, deletes and overwrites show a wrong order.
EVENTS: list[Event] = [
    [add("c"), put("x", 1)],
    [add("c", 10), add("d", 1, B)],
    [DeleteDoc(A, "x"), add("d", 5, B)],
    [add("c", 100), UpdateDoc(A, "x", set={"t": "again"}, add={"n": 7})],
    [IndexDoc(B, "y", {"n": 1}), add("c", 1000)],
    [add("y", 1, B)],
]
CONTENT: dict[str, Any] = {
    A: {"c": {"n": 1111}, "x": {"t": "again", "n": 7}},
    B: {"d": {"n": 6}, "y": {"n": 2}},
}


def finish(store: OpenSearch, *, step: int) -> None:
    """What a worker does after any trouble: ask the store where it is, and go on from there."""
    while (at := store.positions()[0].next_offset) < len(EVENTS):
        store.apply(plan(at, *EVENTS[at : at + step]))


@pytest.mark.parametrize("step", [1, 6])
@pytest.mark.parametrize(
    "crash",
    [
        {"path": "/_mget", "after": die},
        {"path": "/_bulk", "before": die},
        {"path": "/_bulk", "after": die},
        {"path": "/_bulk", "nth": 2, "before": die},
        {"path": "/_bulk", "nth": 2, "after": die},
    ],
    ids=lambda crash: " ".join(str(getattr(part, "__name__", part)) for part in crash.values()),
)
def test_a_worker_that_dies_between_any_two_requests_leaves_nothing_doubled(
    shop: Shop, crash: dict[str, Any], step: int
) -> None:
    store = shop.claimed()
    store.apply(plan(0, EVENTS[0]))
    interpose(store, **crash)
    with pytest.raises(Died):
        store.apply(plan(1, *EVENTS[1:5]))
    finish(shop.client(), step=step)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


@pytest.mark.parametrize("first", [0, 1])
def test_a_crash_between_two_position_documents_resumes_at_the_lower_one(shop: Shop, first: int) -> None:
    store = shop.claimed()
    send = connected(store).documents.send

    def only_one(lines: Any, *params: Any) -> Any:
        lines = list(lines)
        if b"logsync-position" in lines[0]:
            send([lines[first]])
            raise Died
        return send(lines, *params)

    connected(store).documents.send = only_one  # type: ignore[method-assign]
    with pytest.raises(Died):
        store.apply(plan(0, *EVENTS[:4]))
    restarted = shop.client()
    assert restarted.positions()[0].next_offset == 0
    restarted.apply(plan(0, *EVENTS[:2]))  # a shorter batch: one index stays ahead of it
    assert restarted.positions()[0].next_offset == 2
    ahead = shop.ask("GET", f"{shop.prefix}{(B, A)[first]}--e1/_doc/logsync-position")["_source"]
    assert ahead["logsync_position"]["0"]["next_offset"] == 4  # I2: it does not go back with the others
    finish(restarted, step=1)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


def test_a_plan_of_which_only_some_documents_arrived_is_completed_exactly(shop: Shop) -> None:
    store = shop.claimed()
    client = connected(store).client

    def half(method: str, path: str, body: Any = None, **options: Any) -> Any:
        if path == "/_bulk":
            lines = body.splitlines(keepends=True)
            OpenSearchClient.request(client, method, path, b"".join(lines[:2] + lines[-2:]), **options)
            raise Died
        return OpenSearchClient.request(client, method, path, body, **options)

    client.request = half  # type: ignore[method-assign]
    with pytest.raises(Died):
        store.apply(plan(0, *EVENTS))
    finish(shop.client(), step=2)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


@pytest.mark.parametrize("nth", [1, 2], ids=["after the documents", "after the position"])
def test_a_server_killed_in_the_middle_of_a_plan_loses_and_doubles_nothing(shop: Shop, stack: Stack, nth: int) -> None:
    store = shop.claimed()
    store.apply(plan(0, EVENTS[0]))
    interpose(store, "/_bulk", nth=nth, after=lambda: stack.kill("opensearch"))
    try:
        if nth == 1:
            with pytest.raises(StoreUnavailable):
                store.apply(plan(1, *EVENTS[1:5]))
        else:
            store.apply(plan(1, *EVENTS[1:5]))
        with pytest.raises(StoreUnavailable):
            store.positions()
    finally:
        stack.start("opensearch")
    assert store.positions()[0].next_offset == (1 if nth == 1 else 5)  # I4: what was acknowledged outlives the kill
    finish(store, step=2)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


@pytest.mark.parametrize("nth", [1, 2])
def test_a_server_that_hangs_ends_the_call_in_time_and_the_late_original_changes_nothing(
    shop: Shop, stack: Stack, nth: int
) -> None:
    shop.claimed().apply(plan(0, EVENTS[0]))
    store = shop.client(store_timeout=1.0)
    interpose(store, "/_bulk", nth=nth, before=lambda: stack.pause("opensearch"))
    try:
        with pytest.raises(StoreOutcomeUnknown):
            store.apply(plan(1, *EVENTS[1:5]))
        with pytest.raises(StoreUnavailable):
            store.positions()
    finally:
        stack.resume("opensearch")
    finish(shop.client(), step=3)  # the request that was given up may take effect at any moment meanwhile
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


def test_an_index_that_is_blocked_or_closed_makes_the_worker_wait(shop: Shop) -> None:
    store = shop.claimed()
    index = f"{shop.prefix}{A}--e1"
    settings = f"{index}/_settings"
    for block, lift in (
        (("PUT", settings, {"index.blocks.write": True}), ("PUT", settings, {"index.blocks.write": False})),
        (("POST", f"{index}/_close", None), ("POST", f"{index}/_open", None)),
    ):
        at = store.positions()[0].next_offset
        shop.ask(*block)
        with pytest.raises(StoreUnavailable):
            store.apply(plan(at, *EVENTS[at : at + 2]))
        shop.ask(*lift)
        store.apply(plan(at, *EVENTS[at : at + 2]))
    finish(store, step=6)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


def test_one_item_turned_away_fails_the_plan_and_nothing_is_resent_out_of_order(shop: Shop) -> None:
    store = shop.claimed()
    client = connected(store).client
    sent: list[str] = []

    def busy(method: str, path: str, body: Any = None, **options: Any) -> Any:
        sent.append(path)
        answer = OpenSearchClient.request(client, method, path, body, **options)
        if path == "/_bulk":
            error = {"type": "rejected_execution_exception", "reason": "queue is full"}
            answer["errors"] = True
            if "items" in answer:  # asked for, once it is known that there are errors
                answer["items"][0] = {"index": {"status": 429, "error": error}}
        return answer

    client.request = busy  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="queue is full"):
        store.apply(plan(0, *EVENTS))
    assert sent == ["/_mget", "/_bulk", "/_bulk"]
    del client.request  # type: ignore[attr-defined]
    assert store.positions()[0].next_offset == 0
    finish(store, step=6)
    assert {name: shop.content(name) for name in (A, B)} == CONTENT


def test_a_plan_costs_three_requests_and_one_without_writes_two(shop: Shop) -> None:
    store = shop.claimed()
    client = connected(store).client
    sent: list[tuple[str, int]] = []

    def count(method: str, path: str, body: Any = None, **options: Any) -> Any:
        sent.append((path, len(body or b"")))
        return OpenSearchClient.request(client, method, path, body, **options)

    client.request = count  # type: ignore[method-assign]
    store.apply(plan(0, *[[put(f"k{n}", n), add(f"c{n % 9}", 1, B)] for n in range(2000)]))
    assert [path for path, _ in sent] == ["/_mget", "/_bulk", "/_bulk"]
    sent.clear()
    store.apply(plan(2000, [], []))
    assert [path for path, _ in sent] == ["/_mget", "/_bulk"]


def test_a_restored_index_is_noticed_before_anything_is_written_to_it(shop: Shop) -> None:
    """The worker runs on while the index goes back in time: a remembered position would corrupt it for good."""
    store = shop.claimed()
    store.apply(plan(0, *EVENTS[:2]))
    repo, indices = f"_snapshot/{shop.sink}", f"{shop.prefix}{A}--e1"
    shop.ask("PUT", repo, {"type": "fs", "settings": {"location": shop.sink}})
    try:
        shop.ask("PUT", f"{repo}/one?wait_for_completion=true", {"indices": indices, "include_global_state": False})
        store.apply(plan(2, *EVENTS[2:4]))
        shop.ask("POST", f"{indices}/_close")
        shop.ask("POST", f"{repo}/one/_restore?wait_for_completion=true", {"indices": indices})
        before = shop.content(A)
        with pytest.raises(PositionConflict):
            store.apply(plan(4, *EVENTS[4:6]))
        assert shop.content(A) == before
        assert store.positions()[0].next_offset == 2
        finish(store, step=2)
        assert {name: shop.content(name) for name in (A, B)} == CONTENT
    finally:
        shop.ask("DELETE", f"{repo}/one")
        shop.ask("DELETE", repo)
