"""What readers see, which event is named when OpenSearch refuses one, and how declarations change."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from logsync.errors import ConfigError, StoreUnavailable, WriteRejected
from logsync.stores.opensearch import DeleteDoc, OpenSearch, UpdateDoc
from logsync.stores.opensearch.client import OpenSearchClient
from tests.integration.opensearch.conftest import LONG, A, B, Event, Shop, add, plan, put


def test_readers_see_neither_tombstones_nor_the_position_and_cannot_write(shop: Shop) -> None:
    store = shop.claimed()
    store.apply(plan(0, [put("x", 1), put("y", 2)], [DeleteDoc(A, "x")]))
    assert shop.content(A) == {"y": {"n": 2}}
    count = shop.ask("GET", f"{shop.prefix}{A}/_count")["count"]
    assert count == 1
    answer = shop.http.put(f"/{shop.prefix}{A}/_doc/z", json={"n": 1})
    assert answer.status_code == 400
    assert "no write index" in answer.text


def test_a_store_with_nothing_but_tombstones_holds_no_data(shop: Shop) -> None:
    store = shop.claimed()
    store.apply(plan(0, [put("x", 1)]))
    assert store.holds_data()  # without waiting for a refresh
    store.apply(plan(1, [DeleteDoc(A, "x")]))
    assert not store.holds_data()


BAD = put("bad", "not a number")
CASES: list[tuple[int, list[Event]]] = [
    (1, [[put("a", 1)], [BAD], [put("b", 1)]]),
    (2, [[put("a", 1)], [put("x", 1)], [put("x", "text")], [add("a")]]),
    # Several events of one document: its last state is refused, the second event is at fault.
    (1, [[put("x", 1)], [UpdateDoc(A, "x", set={"n": "text"})], [UpdateDoc(A, "x", set={"t": "more"})]]),
    (2, [[put("x", 1)], [add("x")], [UpdateDoc(A, "x", set={"unknown": 1})], [add("x")]]),
    # Two documents are refused: the older event is named, also if its document began later.
    (1, [[put("x", 1)], [BAD], [UpdateDoc(A, "x", set={"n": "text"})]]),
    (1, [[put("a", 1)], [UpdateDoc(A, "a", set={"n": "text"})], [BAD]]),
    # One that Python sees and one that only OpenSearch sees, both orders.
    (1, [[put("a", 1)], [BAD], [add("b", "no integer")]]),  # type: ignore[arg-type]
    (1, [[put("a", 1)], [add("b", "no integer")], [BAD]]),  # type: ignore[arg-type]
    (1, [[UpdateDoc(A, "a", set={"t": "text"})], [UpdateDoc(A, "a", add={"t": 1})], [BAD]]),
    (1, [[put("a", 1)], [put("b", float("nan"))], [put("c", {1})]]),
    (1, [[put("a", 1)], [put("b", 2**63)], []]),
    (0, [[put("a", 1), BAD, put("b", 1)], [put("c", 1)]]),
]


@pytest.mark.parametrize(("offset", "events"), CASES, ids=range(len(CASES)))
def test_the_first_event_at_fault_is_named_and_everything_before_it_applies(
    shop: Shop, offset: int, events: list[Event]
) -> None:
    store = shop.claimed()
    with pytest.raises(WriteRejected) as caught:
        store.apply(plan(0, *events))
    assert caught.value.offset == offset
    assert store.positions()[0].next_offset == 0
    if offset:
        store.apply(plan(0, *events[:offset]))
    assert store.positions()[0].next_offset == offset
    with pytest.raises(WriteRejected) as caught:
        store.apply(plan(offset, *events[offset:]))
    assert caught.value.offset == offset


def test_a_mended_mapping_lets_the_refused_event_in_and_counts_nothing_twice(shop: Shop) -> None:
    events: list[Event] = [[add("c")], [add("c"), UpdateDoc(A, "x", set={"new": 1})], [add("c")]]
    store = shop.claimed()
    with pytest.raises(WriteRejected):
        store.apply(plan(0, *events))
    store.apply(plan(0, events[0]))
    fields = {**LONG["mappings"]["properties"], "new": {"type": "long"}}
    shop.indices = {A: {"mappings": {"dynamic": "strict", "properties": fields}}, B: LONG}
    store = shop.client()
    store.apply(plan(1, *events[1:]))
    assert shop.content(A) == {"c": {"n": 3}, "x": {"new": 1}}


def test_a_declaration_that_opensearch_refuses_is_a_set_up_error(shop: Shop) -> None:
    shop.indices = {A: {"mappings": {"properties": {"n": {"type": "no-such-type"}}}}}
    with pytest.raises(ConfigError, match="no-such-type"):
        shop.client()


def test_a_mapping_that_cannot_change_in_place_names_rebuild(shop: Shop) -> None:
    shop.claimed()
    shop.indices = {A: {"mappings": {"properties": {"n": {"type": "keyword"}}}}, B: LONG}
    with pytest.raises(ConfigError, match="logsync rebuild"):
        shop.client()


def test_a_new_name_in_a_running_sink_has_no_position_until_a_rebuild(shop: Shop) -> None:
    shop.claimed().apply(plan(0, [put("x", 1)]))
    shop.indices = {A: LONG, B: LONG, "later": LONG}
    assert shop.client().positions() == {}
    assert shop.rebuild().positions()[0].next_offset == 0


def test_an_index_that_does_not_sync_its_log_is_refused(shop: Shop) -> None:
    shop.claimed()
    shop.ask("PUT", f"{shop.prefix}{A}--e1/_settings", {"index.translog.durability": "async"})
    with pytest.raises(ConfigError, match="durability"):
        shop.client()


def test_an_alias_that_somebody_removed_is_restored(shop: Shop) -> None:
    shop.claimed().apply(plan(0, [put("x", 1)], [DeleteDoc(A, "x")]))
    shop.ask("DELETE", f"{shop.prefix}{A}--e1/_alias/{shop.prefix}{A}")
    shop.client()
    assert shop.content(A) == {}  # with its filter


def test_the_printed_schema_is_what_open_creates(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = shop.client()
    text = made.schema()
    before = shop.ask("GET", f"{shop.prefix}*")
    for name in shop.names():
        shop.ask("DELETE", name)
    for method, path, body in re.findall(r"curl -X (\w+) \"\$OPENSEARCH/(\S+)\".*?<<'JSON'\n(.*?)\nJSON", text, re.S):
        answer = httpx.request(
            method, f"{shop.plain}/{path}", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
    after = shop.ask("GET", f"{shop.prefix}*")

    def plain(found: dict[str, Any]) -> dict[str, Any]:
        return {name: (what["aliases"], what["mappings"]) for name, what in found.items()}

    assert plain(after) == plain(before)
    sent = set()
    original = OpenSearchClient.request

    def record(self: OpenSearchClient, method: str, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        sent.add(path if method != "GET" else "GET")
        return original(self, method, path, *args, **options)

    monkeypatch.setattr(OpenSearchClient, "request", record)
    store = shop.claimed()  # a role that may not create or change indices gets along with what is there
    store.apply(plan(0, [put("x", 1)]))
    assert sent == {"GET", "/_mget", "/_bulk", f"/{shop.prefix}logsync/_create/{shop.sink}"}
    assert shop.content(A) == {"x": {"n": 1}}


def test_a_server_that_is_not_there_is_an_outage_and_shows_no_password(shop: Shop) -> None:
    store = OpenSearch("http://user:secret@127.0.0.1:9?prefix=x-", indices={A: LONG})
    with pytest.raises(StoreUnavailable) as caught:
        store.open("s", shop.settings)
    assert "secret" not in f"{caught.value} {store!r}"
    store.close()


def test_many_documents_of_900_kilobytes_are_written_in_bounded_requests(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.indices = {A: {"mappings": {"properties": {"n": {"type": "text", "index": False}}}}}
    store = shop.claimed()
    sizes: list[int] = []
    original = OpenSearchClient.request

    def record(self: OpenSearchClient, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        sizes.append(len(body))
        return original(self, method, path, body, **options)

    monkeypatch.setattr(OpenSearchClient, "request", record)
    store.apply(plan(0, *[[put(f"k{n}", "x" * 900_000)] for n in range(12)]))
    assert max(sizes) <= 10_000_000  # what small hosted clusters take
    assert len(shop.content(A)) == 12
