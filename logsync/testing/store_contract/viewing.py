"""Claims on looking at a sink while it is written to: for stores that web apps and other sinks may ask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from logsync.core.book import Skip
from logsync.core.offsets import Offsets
from logsync.core.position import Position
from logsync.core.store import StoreSettings
from logsync.core.view import Retried, Searches, Sight, View, Viewed
from logsync.errors import ConfigError, StoreError
from logsync.testing.store_contract.given import Given
from logsync.testing.store_contract.making import NOON, ODD, first_book, moved, newer_version, parks, retries, waiting

BOUND = 2.0
"""``store_timeout`` in these claims, in seconds."""


class Viewing(Given):
    """``logsync.core.view``. A store without ``view`` is shown as not proven."""

    def view(self, sink: str = "", settings: StoreSettings | None = None) -> View:
        """A view, not connected yet. It is closed after the claim."""
        store = self.make_store(sink or self.sink)
        if not isinstance(store, Viewed):
            self._not_proven("the store has no view(sink, settings): nobody can wait for what it applies")
        view = store.view(sink or self.sink, settings or self.settings())
        self._views.append(view)
        return view

    def setup_method(self) -> None:
        super().setup_method()
        self._views: list[View] = []

    def teardown_method(self) -> None:
        for view in self._views:
            view.close()
        super().teardown_method()

    def test_a_look_at_a_store_that_never_saw_the_sink_sees_nothing_and_leaves_nothing(self) -> None:
        assert self.view().look([(0, 1)]) == Sight(None, {}, {})
        seen = self.make_store(self.sink).inspect(self.sink, self.settings())
        assert (seen.book, seen.holds_data) == (None, False)

    def test_a_look_sees_what_the_store_holds_each_time_anew(self) -> None:
        store, view = self.begun(partitions=self.partitions), self.view()
        last = self.partitions - 1
        start = {number: Position(number, 0) for number in range(self.partitions)}
        assert view.look([]) == Sight(first_book(self.sink, partitions=self.partitions), start, {})
        store.apply(parks(Position(last, 0), waiting(1, partition=last), to=7, events=[[self.add("a", 1)]]))
        book = first_book(self.sink, partitions=self.partitions).next(
            skips=(Skip(partition=last, offsets=Offsets([3]), reason=ODD, at=NOON),)
        )
        store.write_book(book)
        expected = Sight(book, {**start, last: moved(Position(last, 0), 7)}, {(last, 1): waiting(1).reason})
        assert view.look([(last, 0), (last, 1), (last, 9)]) == expected
        assert self.view().look([(last, 1)]) == expected
        assert view.look([(last, 2)]).parked == {}

    def test_a_look_tells_parked_events_of_its_own_sink_and_partition_only(self) -> None:
        store, other = self.begun(partitions=self.partitions), self.begun(self.other, partitions=self.partitions)
        other.apply(parks(Position(0, 0), waiting(1), to=2))
        store.apply(parks(Position(0, 0), waiting(4, error=""), to=5))
        view = self.view()
        assert view.look([(0, 1), (0, 4), (1, 4)]).parked == {(0, 4): waiting(4, error="").reason}
        assert self.view(self.other).look([(0, 1), (0, 4)]).parked == {(0, 1): waiting(1).reason}

    def test_a_retried_append_is_parked_while_another_attempt_of_it_is(self) -> None:
        store, view = self.begun(partitions=self.partitions), self.view()
        last = self.partitions - 1
        one, odd, late = (waiting(n, name, partition=last) for n, name in ((1, "x"), (3, "x"), (4, "y")))
        odd = odd._replace(event_id=ODD, error="")
        store.apply(parks(Position(last, 0), one, odd, late, to=9))

        def parked(offset: int, event_id: str, since: int) -> str | None:
            place = (last, offset)
            return view.look([place, (last, 5)], {place: Retried(event_id, since)}).parked.get(place)

        assert parked(7, ODD, 3) == parked(8, ODD, 0) == parked(4 + 1, ODD, 3) == odd.reason
        assert parked(8, "id-4", 0) == parked(4, "id-4", 2) == late.reason
        assert parked(7, ODD, 4) is parked(8, "id-", 0) is parked(8, "id", 0) is None
        both = {(last, 7): Retried(ODD, 2), (last, 8): Retried("id-1", 1)}
        assert view.look([*both, (last, 4)], both).parked == {
            (last, 7): odd.reason, (last, 8): one.reason, (last, 4): late.reason
        }  # fmt: skip
        for offset in (1, 3):
            store.apply(retries(store.positions()[last], offset, writes=[self.add("a", 5)]))
        assert parked(7, ODD, 0) is None

    def test_a_parked_event_that_is_released_is_parked_no_longer(self) -> None:
        store, view = self.begun(), self.view()
        store.apply(parks(Position(0, 0), waiting(0), waiting(1, "x", error=""), to=2))
        assert view.look([(0, 0), (0, 1)]).parked.keys() == {(0, 0), (0, 1)}
        store.apply(retries(store.positions()[0], 0, writes=[self.add("a", 5)]))
        assert view.look([(0, 0), (0, 1)]).parked.keys() == {(0, 1)}

    def test_a_rebuild_is_seen_by_a_view_from_before_it(self) -> None:
        store, view = self.begun(), self.view()
        store.apply(parks(Position(0, 0), waiting(1), to=7))
        view.look([(0, 1)])
        wiping = first_book(self.sink).next(state="wiping", epoch=2)
        store.write_book(wiping, positions=[])
        assert view.look([(0, 1)]).book == wiping
        store.wipe(wiping)
        ready = wiping.next(state="ready", rebuilt_to={0: 7})
        store.write_book(ready, positions=[Position(0, 0, 2)])
        assert view.look([(0, 1)]) == Sight(ready, {0: Position(0, 0, 2)}, {})

    def test_a_look_refuses_what_a_newer_version_wrote(self) -> None:
        if not self.outlives_the_process:
            return
        view = self.view()
        with newer_version():
            self.begun().apply(parks(Position(0, 0), waiting(1), to=2))
        with pytest.raises(ConfigError):
            view.look([(0, 1)])

    def test_a_refresh_is_there_whatever_the_store_has_seen(self) -> None:
        view = self.view()
        if isinstance(view, Searches):
            view.refresh()
            self.begun()
            view.refresh()

    def test_a_view_of_a_server_that_is_gone_goes_on_when_it_is_back(self) -> None:
        self.needs("kill", "restart")
        self._weathers(self.kill)

    def test_a_look_at_a_server_that_hangs_ends_within_its_bound(self) -> None:
        self.needs("pause", "restart")
        self._weathers(self.pause)

    def _weathers(self, strike: Callable[[], None]) -> None:
        """A view from before, and one that has to connect, say that there is an outage; or they tell the truth, where
        others may read what the server has left. The same view goes on afterwards."""
        self.begun()
        view = self.view(settings=self.brief(BOUND))
        before = view.look([])
        strike()
        try:
            for each in (view, self.view(settings=self.brief(BOUND))):
                with suppress(StoreError):
                    assert each.look([]) == before
        finally:
            self.restart()
        assert view.look([]) == before
