"""Parking where a plan is no transaction: crashes between any two requests of a retry, late workers, a restored index.

What may come between requests is simulated far more thoroughly in tests/property/test_opensearch_parking.py; here the
real server answers.
"""

from __future__ import annotations

from typing import Any

import pytest

from logsync.core.parked import Parked
from logsync.core.plan import Plan
from logsync.core.position import Position
from logsync.errors import PositionConflict, WriteRejected
from logsync.stores.opensearch import IndexDoc, OpenSearch
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.testing.store_contract.making import retries
from logsync.testing.store_contract.making import waiting as entry
from tests.integration.opensearch.conftest import A, B, Died, Event, Shop, add, connected, die, interpose, plan, put

LATE: Event = [add("c", 10), put("own", 1), add("c", 10, B)]  # what the parked event writes, once it can be applied


def parked(shop: Shop, *entries: Parked, to: int = 3) -> OpenSearch:
    """Events 0 to 2 of which 1 is parked; 0 and 2 add to the documents that 1 adds to."""
    store = shop.claimed()
    made = plan(0, [add("c", 100), add("c", 100, B)], [], [add("c", 1), add("c", 1, B)])
    store.apply(Plan(made.start, made.end, made.writes, made.offsets, parked=list(entries) or [entry(1)]))
    return store


def released(shop: Shop, total: int) -> None:
    assert shop.content(A) == {"c": {"n": total}, "own": {"n": 1}}
    assert shop.content(B) == {"c": {"n": total}}


def finish(store: OpenSearch) -> None:
    """What a worker does after any trouble: ask the store, and retry what waits."""
    for waiting in store.parked(0):
        store.apply(retries(store.positions()[0], waiting.offset, writes=LATE))  # type: ignore[arg-type]
    assert store.sequences(0) == {}
    at = store.positions()[0]
    store.apply(Plan(at, Position(0, at.next_offset + 1), [add("c", 1000), add("c", 1000, B)], [at.next_offset] * 2))


STEPS = ["claim", "documents", "tombstone", "mark"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_release_that_dies_anywhere_is_finished_and_counts_once(shop: Shop, step: str, when: str) -> None:
    store = parked(shop)
    interpose(store, "/_bulk", nth=STEPS.index(step) + 1, **{when: die})
    with pytest.raises(Died):
        store.apply(retries(store.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    restarted = shop.client()
    begun = (step, when) != ("claim", "before")
    gone = (step, when) in [("tombstone", "after"), ("mark", "before"), ("mark", "after")]
    waiting = restarted.sequences(0)
    assert waiting == {} if gone else waiting["k"].unfinished == begun
    finish(restarted)
    released(shop, 1111)


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_release_of_which_one_document_arrived_is_completed(shop: Shop, keep: int) -> None:
    store = parked(shop)
    client = connected(store).client
    seen = 0

    def some(method: str, path: str, body: Any = None, **options: Any) -> Any:
        nonlocal seen
        seen += path == "/_bulk"
        if path == "/_bulk" and seen == 2:
            lines = body.splitlines(keepends=True)
            OpenSearchClient.request(client, method, path, b"".join(lines[2 * keep : 2 * keep + 2]), **options)
            raise Died
        return OpenSearchClient.request(client, method, path, body, **options)

    client.request = some  # type: ignore[method-assign]
    with pytest.raises(Died):
        store.apply(retries(store.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    finish(shop.client())
    released(shop, 1111)


def test_documents_that_hold_an_event_which_is_given_up_are_named(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    store = parked(shop, entry(1), entry(2, "other"))
    store.apply(retries(store.positions()[0], still_parked=[entry(2, "other")._replace(discarded="not wanted")]))
    assert "given up" not in caplog.text
    interpose(store, "/_bulk", nth=STEPS.index("documents") + 1, after=die)
    with pytest.raises(Died):
        store.apply(retries(store.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    restarted = shop.client()
    restarted.apply(retries(restarted.positions()[0], still_parked=[entry(1)._replace(discarded="not wanted")]))
    (said,) = [record for record in caplog.records if "given up" in record.message]
    assert (said.offset, said.documents) == (1, [f"{B}/c", f"{A}/c", f"{A}/own"])  # type: ignore[attr-defined]
    assert shop.content(A)["own"] == {"n": 1}


def test_a_plan_over_an_unfinished_release_does_not_hide_how_far_it_came(shop: Shop) -> None:
    """The release is finished first; a plan that comes in between must not hide which documents hold the event."""
    store = parked(shop)
    interpose(store, "/_bulk", nth=2, before=die)
    with pytest.raises(Died):
        store.apply(retries(store.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    other = shop.client()
    other.apply(plan(3, [add("c", 1000), add("c", 1000, B)]))
    assert other.sequences(0)["k"] == (1, 1, entry(1).first_at, "HandlerError", False)
    other.apply(retries(other.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    released(shop, 1111)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_late_release_of_a_zombie_changes_nothing(shop: Shop, nth: int) -> None:
    owner = parked(shop)
    zombie = shop.client()
    interpose(zombie, "/_bulk", nth=nth, before=lambda: finish(owner))
    with pytest.raises(PositionConflict):
        zombie.apply(retries(zombie.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
    released(shop, 1111)
    assert owner.sequences(0) == {}


def test_a_plan_that_is_late_by_a_release_cannot_take_its_effect_away(shop: Shop) -> None:
    """It read the documents before, and brings them at a later offset: only the generation is in its way. # O4"""
    owner = parked(shop)
    zombie = shop.client()
    interpose(zombie, "/_bulk", before=lambda: owner.apply(retries(owner.positions()[0], 1, writes=LATE)))  # type: ignore[arg-type]
    with pytest.raises(PositionConflict):
        zombie.apply(plan(3, [add("c", 1000), add("c", 1000, B)]))
    released(shop, 111)
    finish(owner)
    released(shop, 1111)


def test_what_an_event_and_those_behind_it_wrote_before_it_was_refused_is_not_written_again(shop: Shop) -> None:
    """All three stood in one batch: the server took what it could of each."""
    store = shop.claimed()
    bad: Event = [add("c", 10), put("own", "no number")]
    behind: Event = [add("c", 1000), add("c", 5, B)]
    with pytest.raises(WriteRejected) as caught:
        store.apply(plan(0, bad, [add("other", 1)], behind))
    assert caught.value.offset == 0
    assert shop.content(A)["c"] == {"n": 1010}
    first, second = entry(0, error="WriteRejected"), entry(2, error="")
    made = plan(0, [], [add("other", 1)], [])
    store.apply(
        Plan(made.start, made.end, made.writes, made.offsets, parked=[first, second], refused={0: bad, 2: behind})  # type: ignore[dict-item]
    )
    now = store.positions()[0]
    with pytest.raises(WriteRejected):  # not mended yet
        store.apply(retries(now, 0, writes=bad))  # type: ignore[arg-type]
    store.apply(retries(now, still_parked=[first._replace(attempts=2)]))
    store.apply(retries(store.positions()[0], 0, writes=[add("c", 10), put("own", 7), add("d", 3, B)]))
    store.apply(retries(store.positions()[0], 2, writes=behind))  # type: ignore[arg-type]
    assert shop.content(A) == {"c": {"n": 1010}, "own": {"n": 7}, "other": {"n": 1}}
    assert shop.content(B) == {"c": {"n": 5}, "d": {"n": 3}}


def test_a_batch_that_is_late_by_a_refusal_cannot_apply_what_waits_by_then(shop: Shop) -> None:
    """It was planned when nobody knew that its first event would be refused, so the one behind it is in it too. # O4"""
    owner = shop.claimed()
    zombie = shop.client()
    bad: Event = [add("c", 10), put("own", "no number")]
    behind: Event = [add("c", 1000), add("c", 5, B)]

    def meanwhile() -> None:
        with pytest.raises(WriteRejected):
            owner.apply(plan(0, bad))
        first = plan(0, [])
        owner.apply(Plan(first.start, first.end, parked=[entry(0)], refused={0: bad}))  # type: ignore[dict-item]
        then = plan(1, [], [])
        owner.apply(Plan(then.start, then.end, parked=[entry(2, error="")], refused={2: behind}))  # type: ignore[dict-item]

    interpose(zombie, "/_bulk", before=meanwhile)
    with pytest.raises((WriteRejected, PositionConflict)):
        zombie.apply(plan(0, bad, [], behind))
    assert shop.content(A) == {"c": {"n": 10}}
    owner.apply(retries(owner.positions()[0], 0, writes=[add("c", 10), put("own", 7)]))
    owner.apply(retries(owner.positions()[0], 2, writes=behind))  # type: ignore[arg-type]
    assert shop.content(A) == {"c": {"n": 1010}, "own": {"n": 7}}
    assert shop.content(B) == {"c": {"n": 5}}


def test_a_restored_index_brings_back_its_own_parked_events(shop: Shop) -> None:
    store = parked(shop)
    repo, index = f"_snapshot/{shop.sink}", f"{shop.prefix}{A}--e1"
    shop.ask("PUT", repo, {"type": "fs", "settings": {"location": shop.sink}})
    try:
        shop.ask("PUT", f"{repo}/one?wait_for_completion=true", {"indices": index, "include_global_state": False})
        finish(store)
        released(shop, 1111)
        shop.ask("POST", f"{index}/_close")
        shop.ask("POST", f"{repo}/one/_restore?wait_for_completion=true", {"indices": index})
        assert shop.content(A) == {"c": {"n": 101}}
        assert store.sequences(0)["k"].first == 1
        assert store.positions()[0].next_offset == 3
        store.apply(retries(store.positions()[0], 1, writes=LATE))  # type: ignore[arg-type]
        at = store.positions()[0]
        assert at.next_offset == 3
        store.apply(Plan(at, Position(0, 4), [add("c", 1000), add("c", 1000, B)], [3, 3]))
        released(shop, 1111)
        assert store.sequences(0) == {}
    finally:
        shop.ask("DELETE", f"{repo}/one")
        shop.ask("DELETE", repo)


def test_an_index_that_is_ahead_is_given_nothing_from_before_its_own_position(shop: Shop) -> None:  # O2
    """Neither writes nor parked events: it was there already, and what it did with them is part of it."""
    store = shop.claimed()
    send = connected(store).documents.send

    def only_b(lines: Any, *params: Any) -> Any:
        lines = list(lines)
        if b"logsync-position" not in lines[0]:
            return send(lines, *params)
        send(lines[:1])  # sorted by name: that of B
        raise Died

    connected(store).documents.send = only_b  # type: ignore[method-assign]
    with pytest.raises(Died):
        store.apply(plan(0, [add("c", 1, A)], [add("c", 1, B)], [add("c", 10), add("c", 10, B)]))
    store = shop.client()
    assert store.positions()[0].next_offset == 0
    made = plan(0, [add("c", 1), add("new", 1, B)], [])
    store.apply(Plan(made.start, made.end, made.writes, made.offsets, parked=[entry(1)]))
    store.apply(retries(store.positions()[0], 1, writes=[add("c", 100), add("c", 100, B)]))
    assert shop.content(B) == {"c": {"n": 11}}
    assert shop.content(A) == {"c": {"n": 111}}


def test_readers_see_nothing_of_what_waits_and_names_may_be_anything(shop: Shop) -> None:
    names = ["x" * 40_000, "\ud800 lone", 'quote " and \x00', "ünïcode", "a b", "sequence=x"]
    store = parked(shop, *(entry(number + 3, name) for number, name in enumerate(names)))
    assert shop.content(A) == {"c": {"n": 101}}
    assert shop.ask("GET", f"{shop.prefix}{A}/_count")["count"] == 1
    assert list(store.sequences(0)) == names
    for number, name in enumerate(names):
        assert [found.offset for found in store.parked(0, sequence=name)] == [number + 3]


def test_an_event_that_was_released_cannot_be_parked_again_by_a_late_request(shop: Shop) -> None:
    owner = shop.claimed()
    zombie = shop.client()
    made = plan(0, [add("c", 100), add("c", 100, B)], [], [add("c", 1), add("c", 1, B)])
    parking = Plan(made.start, made.end, made.writes, made.offsets, parked=[entry(1)])

    def meanwhile() -> None:
        owner.apply(parking)
        finish(owner)

    interpose(zombie, "/_bulk", before=meanwhile)
    with pytest.raises(PositionConflict):
        zombie.apply(parking)
    assert owner.sequences(0) == {}
    released(shop, 1111)


def test_a_rebuild_that_another_one_overtook_midway_deletes_none_of_its_content(shop: Shop) -> None:
    store = shop.claimed()
    store.apply(plan(0, [put("x", 1)]))
    slow = shop.client()
    first = slow.read_book()
    assert first
    wiping = first.next(state="wiping", epoch=2)
    slow.write_book(wiping, positions=[])
    overtook: list[OpenSearch] = []

    def overtake() -> None:
        overtook.append(shop.rebuild())
        overtook[0].apply(plan(0, [put("x", 2)], epoch=3))

    interpose(slow, "/_aliases", after=overtake)  # between the first index and the second
    slow.wipe(wiping)
    assert overtook
    with pytest.raises(PositionConflict):
        slow.write_book(wiping.next(state="ready"), positions=[Position(0, 0, 2)])
    assert shop.content(A) == {"x": {"n": 2}}


def test_a_plan_over_a_long_hole_in_the_log_is_applied_whole(shop: Shop) -> None:
    far = 3_000_000
    store = shop.claimed()
    offsets = [0, 1, 200_000, far]
    store.apply(
        Plan(Position(0, 0), Position(0, far + 1), [add("c"), add("c", 10), add("c", 100), add("c", 1000)], offsets)
    )
    assert shop.content(A) == {"c": {"n": 1111}}
    assert store.positions()[0] == Position(0, far + 1)


def test_a_document_of_a_handler_cannot_take_the_place_of_a_parked_event(shop: Shop) -> None:
    with pytest.raises(WriteRejected, match="belongs to logsync"):
        shop.claimed().apply(plan(0, [IndexDoc(A, "logsync-parked-0-1", {})]))
