"""Two workers at once, workers from before a rebuild, and things that somebody else deleted or made."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from logsync.core.book import Book
from logsync.core.position import Position
from logsync.errors import ConfigError, LogsyncError, PositionConflict
from logsync.stores.opensearch import DeleteDoc, OpenSearch
from tests.integration.opensearch.conftest import LOG, LONG, A, B, Died, Event, Shop, add, die, interpose, plan, put


@pytest.fixture
def any_index_may_appear(shop: Shop) -> Iterator[None]:
    """OpenSearch's own default, which the devstack turns off: a write to a missing index creates it."""
    setting = "action.auto_create_index"
    shop.ask("PUT", "_cluster/settings", {"persistent": {setting: "true"}})
    yield
    shop.ask("PUT", "_cluster/settings", {"persistent": {setting: None}})


def test_a_zombie_between_its_check_and_its_writes_cannot_undo_a_delete_that_opensearch_forgot(
    shop: Shop,
) -> None:
    """# O1: real deletes are forgotten after gc_deletes and when the shard is opened anew; tombstones are not."""
    shop.indices = {A: {**LONG, "settings": {"index.gc_deletes": "1ms"}}}
    owner = shop.claimed()
    zombie = shop.client()

    def meanwhile() -> None:
        owner.apply(plan(0, [put("x", 1), add("c")], [DeleteDoc(A, "x")], [add("c")]))
        shop.ask("POST", f"{shop.prefix}{A}--e1/_close")
        shop.ask("POST", f"{shop.prefix}{A}--e1/_open")
        shop.ask("GET", f"_cluster/health/{shop.prefix}{A}--e1?wait_for_status=yellow")

    interpose(zombie, "/_bulk", before=meanwhile)
    with pytest.raises(PositionConflict):
        zombie.apply(plan(0, [put("x", 1), add("c")]))
    assert shop.content(A) == {"c": {"n": 2}}
    assert owner.positions()[0].next_offset == 3


def test_a_zombie_from_before_a_rebuild_writes_nothing_and_creates_nothing(
    shop: Shop, any_index_may_appear: None
) -> None:
    zombie = shop.claimed()
    zombie.apply(plan(0, [add("c")]))
    rebuilt: list[OpenSearch] = []
    interpose(zombie, "/_bulk", before=lambda: rebuilt.append(shop.rebuild()))
    with pytest.raises(PositionConflict):
        zombie.apply(plan(1, [put("ghost", 1), add("c")]))
    assert shop.names() == {f"{shop.prefix}{A}--e2", f"{shop.prefix}{B}--e2", f"{shop.prefix}logsync-books"}
    assert shop.content(A) == {}
    rebuilt[0].apply(plan(0, [add("c")], epoch=2))
    assert shop.content(A) == {"c": {"n": 1}}


def test_two_workers_that_race_over_the_same_log_leave_the_fold_of_it(shop: Shop) -> None:
    rng = random.Random(5)
    events: list[Event] = []
    counts: dict[str, int] = {}
    for n in range(400):
        key = rng.choice("abcdefgh")
        counts[key] = counts.get(key, 0) + n
        events.append([add(key, n), put(f"last-{key}", n, B)])
    shop.claimed()
    conflicts: list[PositionConflict] = []
    failures: list[LogsyncError] = []

    def work(seed: int) -> None:
        store, cut = shop.client(), random.Random(seed)
        while True:
            try:
                at = store.positions()[0].next_offset
                if at == len(events):
                    return
                store.apply(plan(at, *events[at : at + cut.randint(1, 30)]))
            except PositionConflict as error:
                conflicts.append(error)
            except LogsyncError as error:
                failures.append(error)
                return

    workers = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert conflicts  # else nothing raced
    assert {key: doc["n"] for key, doc in shop.content(A).items()} == counts


@pytest.mark.parametrize("during", ["/_mget", "/_bulk"])
def test_an_index_deleted_under_a_worker_stops_it_and_is_not_made_anew(
    shop: Shop, any_index_may_appear: None, during: str
) -> None:
    store = shop.claimed()
    store.apply(plan(0, [add("c"), add("c", 1, B)]))
    interpose(store, during, before=lambda: shop.ask("DELETE", f"{shop.prefix}{A}--e1"))
    with pytest.raises(PositionConflict):
        store.apply(plan(1, [add("c"), add("c", 1, B)]))
    for again in (store, shop.client()):
        assert again.positions() == {}  # the worker refuses a book without a position, and names rebuild
        assert again.holds_data()
    assert f"{shop.prefix}{A}--e1" not in shop.names()
    shop.rebuild().apply(plan(0, [add("c"), add("c", 1, B)], epoch=2))
    assert shop.content(A) == shop.content(B) == {"c": {"n": 1}}


def test_a_position_document_that_is_gone_stops_the_worker(shop: Shop) -> None:
    store = shop.claimed()
    store.apply(plan(0, [add("c")]))
    shop.ask("DELETE", f"{shop.prefix}{B}--e1/_doc/logsync-position")
    with pytest.raises(PositionConflict):
        store.apply(plan(1, [add("c")]))
    assert store.positions() == {}
    assert shop.content(A) == {"c": {"n": 1}}


def test_a_position_deleted_between_check_and_move_is_not_made_anew(shop: Shop) -> None:
    store = shop.claimed()
    gone = f"{shop.prefix}{B}--e1/_doc/logsync-position"
    interpose(store, "/_bulk", nth=2, before=lambda: shop.ask("DELETE", gone))
    with pytest.raises(PositionConflict):
        store.apply(plan(0, [add("c")]))
    assert store.positions() == {}


def test_a_second_claim_does_not_move_back_what_the_first_has_moved(shop: Shop) -> None:
    """Both saw no book. The slower one is stopped before it puts the position back to the start."""
    slow = shop.client()
    fast = shop.client()
    book = None

    def overtake() -> None:
        nonlocal book
        claimed = shop.claimed()
        claimed.apply(plan(0, [add("c")]))
        book = fast.read_book()

    for path in ("/_mget", "/_bulk"):
        interpose(slow, path, before=overtake if book is None else None)
        with pytest.raises(PositionConflict):
            slow.write_book(Book(sink=shop.sink, environment="test", log=LOG), positions=[Position(0, 0)])
        assert fast.positions()[0].next_offset == 1
    assert fast.read_book() == book


def test_a_claim_that_died_before_its_book_leaves_an_empty_sink(shop: Shop) -> None:
    book = Book(sink=shop.sink, environment="test", log=LOG)
    store = shop.client()
    interpose(store, "/_bulk", after=die)
    with pytest.raises(Died):
        store.write_book(book, positions=[Position(0, 0)])
    again = shop.client()
    assert (again.read_book(), again.positions(), again.holds_data()) == (None, {}, False)
    again.write_book(book, positions=[Position(0, 0)])
    assert again.positions() == {0: Position(0, 0)}


@pytest.mark.parametrize("kind", ["index", "alias", "own name", "another sink"])
def test_what_somebody_else_made_is_neither_used_nor_wiped(shop: Shop, kind: str) -> None:
    foreign = {
        "index": f"{shop.prefix}{A}",
        "alias": f"{shop.prefix}foreign",
        "own name": f"{shop.prefix}{A}--e1",
        "another sink": f"{shop.prefix}{A}--e1",
    }[kind]
    meta = {"_meta": {"logsync": {"sink": "another", "prefix": shop.prefix}}} if kind == "another sink" else {}
    aliases = {f"{shop.prefix}{A}": {}} if kind == "alias" else {}
    shop.ask("PUT", foreign, {"mappings": meta, "aliases": aliases})
    with pytest.raises(ConfigError, match="did not make"):
        shop.client()
    assert foreign in shop.names()


def test_rebuild_deletes_every_index_of_the_sink_and_none_of_its_neighbours(shop: Shop) -> None:
    shop.indices = {A: LONG, B: LONG, "dropped": LONG}
    shop.claimed()
    shop.indices = {A: LONG, B: LONG}
    shop.ask(
        "PUT", f"{shop.prefix}neighbour--e1", {"mappings": {"_meta": {"logsync": {"sink": "x", "prefix": shop.prefix}}}}
    )
    other_prefix = {"sink": shop.sink, "prefix": f"{shop.prefix}more-"}
    shop.ask("PUT", f"{shop.prefix}more-{A}--e1", {"mappings": {"_meta": {"logsync": other_prefix}}})
    shop.rebuild()
    names = ["logsync-books", f"{A}--e2", f"{B}--e2", "neighbour--e1", f"more-{A}--e1"]
    assert shop.names() == {shop.prefix + name for name in names}


def test_readers_find_an_index_at_every_moment_of_a_rebuild(shop: Shop) -> None:
    shop.claimed().apply(plan(0, [put("x", 1)]))
    stop, failures = threading.Event(), []
    looks = 0

    def read() -> None:
        nonlocal looks
        while not stop.is_set():
            answer = shop.http.get(f"/{shop.prefix}{A}/_search")
            # A search that began on the old index may find its shards gone; the NAME has to lead somewhere.
            if answer.status_code == 404 and f"no such index [{shop.prefix}{A}]" in answer.text:
                failures.append(answer.text)
            looks += 1

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        shop.rebuild()
    stop.set()
    reader.join()
    assert failures == []
    assert looks > 3
