"""Prefixes, the book, and the wipe of a rebuild."""

from __future__ import annotations

import threading

import pytest

from logsync.core.position import Position
from logsync.errors import ConfigError, PositionConflict, StoreUnavailable
from logsync.stores.redis import Set
from tests.integration.redis.conftest import BOOK, ONE, START, Server, plan


@pytest.mark.parametrize(("first", "second"), [("shop:", "shop:eu:"), ("shop:eu:", "shop:"), ("shop:", "shop:"),
                                               ("{a}:", "{a}:b:")])  # fmt: skip
def test_a_prefix_that_overlaps_with_that_of_another_sink_is_refused(server: Server, first: str, second: str) -> None:
    """A rebuild of the one would delete keys of the other; also when the other is empty yet, or comes by a rebuild."""
    store = server.begun(prefix=first)
    rival = server.store(prefix=second, sink="other")
    book = BOOK.model_copy(update={"sink": "other"})
    for claim in (book, book.model_copy(update={"state": "wiping"})):
        with pytest.raises(ConfigError) as caught:
            rival.write_book(claim, positions=[])
        assert all(repr(name)[1:-1] in str(caught.value) for name in (first, second, "sink other", "sink cache"))
        assert rival.read_book() is None
    server.begun(prefix="ship:", sink="beside")
    # The sink itself goes on, is rebuilt, and its name can be given up by hand.
    store.apply(ONE)
    store.write_book(BOOK.next(), positions=[Position(0, 0)])
    server.plain.hdel("logsync:{a}:prefixes" if "{a}" in first else "logsync:prefixes", "cache")
    rival.write_book(book, positions=[])


def test_a_sink_whose_prefix_was_changed_is_refused_until_it_is_rebuilt(server: Server) -> None:
    server.begun().apply(ONE)
    moved = server.store(prefix="store:")
    with pytest.raises(ConfigError, match=r"'shop:', and now it is 'store:'(.|\n)*rebuild SINK"):
        moved.positions()
    moved.write_book(BOOK.next(epoch=2), positions=[Position(0, 0, 2)])
    assert moved.positions() == {0: Position(0, 0, 2)}


def test_a_book_that_cannot_be_read_is_an_error_of_logsync_s_own(server: Server) -> None:
    store = server.begun()
    server.plain.set("logsync:cache:book", '{"revision": "of another version"}')
    with pytest.raises(ConfigError, match=r"logsync:cache:book holds no book .* can read"):
        store.read_book()


def test_of_two_books_made_from_one_revision_only_one_is_kept(server: Server) -> None:
    first, second = server.begun(), server.store()
    results: list[object] = []

    def claim(store: object, state: str) -> None:
        try:
            store.write_book(BOOK.next(state=state), positions=[Position(0, 9)])  # type: ignore[attr-defined]
            results.append(state)
        except PositionConflict as error:
            results.append(error)

    threads = [threading.Thread(target=claim, args=pair) for pair in ((first, "ready"), (second, "wiping"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, str)]
    assert len(won) == 1
    book = first.read_book()
    assert book is not None
    assert (book.revision, book.state) == (2, won[0])
    assert second.positions() == {0: Position(0, 9)}


def test_a_wipe_that_was_cut_short_is_finished_by_the_next_one(server: Server) -> None:
    store = server.begun()
    store.apply(plan(START, *[[Set(f"k{n}", n)] for n in range(5000)]))
    real, steps = store._here.client.ask, []

    def cut(script: object, keys: object, args: object) -> object:
        steps.append(script)
        if len(steps) == 3:
            raise StoreUnavailable("cut")
        return real(script, keys, args)  # type: ignore[arg-type]

    store._here.client.ask = cut  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        store.wipe(BOOK)
    assert 0 < len(server.content()) < 5000
    store._here.client.ask = real  # type: ignore[method-assign]
    assert store.holds_data()
    store.wipe(BOOK)
    assert server.content() == {}
