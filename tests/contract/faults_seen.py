"""Memory stores whose views see something wrong, and the claim of the kit that must fail for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from logsync.core.view import NO_RETRIES, Place, Retried, Sight, View
from logsync.testing.store_contract import first_book
from tests.contract.faults import Fault


class Seeing(Fault):
    """subclasses change what a look has seen, or what it is asked"""

    def view(self, sink: str, settings: Any = None) -> View:
        return _View(self, sink, super().view(sink, settings))

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        """A look; ``view`` is one without a fault."""
        return view.look(asked, retried)


class _View:
    def __init__(self, store: Seeing, sink: str, view: View) -> None:
        self._store, self._sink, self._view = store, sink, view

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        return self._store.sees(self._view, self._sink, asked, retried)

    def close(self) -> None:
        self._view.close()


class SeesOnce(Seeing):
    """what the first look has seen is told again"""

    noticed_by = "test_a_look_sees_what_the_store_holds_each_time_anew"
    first: Sight | None = None

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        self.first = self.first or view.look(asked, retried)
        return self.first


class SeesEverythingParked(Seeing):
    """parked events are told that nobody asked about"""

    noticed_by = "test_a_look_sees_what_the_store_holds_each_time_anew"

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        return view.look(self.server.parked.get(sink, {}).keys(), retried)


class SeesParkedEventsOfOthers(Seeing):
    """an event counts as parked when another sink has parked one at its place"""

    noticed_by = "test_a_look_tells_parked_events_of_its_own_sink_and_partition_only"

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        found = {place: entry.reason for kept in self.server.parked.values() for place, entry in kept.items()}
        return view.look(asked, retried)._replace(parked={place: found[place] for place in asked if place in found})


class SeesReleasedEvents(Seeing):
    """an event that was parked once is parked for ever"""

    noticed_by = "test_a_parked_event_that_is_released_is_parked_no_longer"

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.parked_once: dict[Place, str] = {}

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        sight = view.look(asked, retried)
        self.parked_once.update(sight.parked)
        return sight._replace(parked={place: why for place, why in self.parked_once.items() if place in asked})


class SeesNoFirstAttempts(Seeing):
    """of a retried append only the place in its receipt is looked at"""

    noticed_by = "test_a_retried_append_is_parked_while_another_attempt_of_it_is"

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        return view.look(asked)


class SeesTheEpochOfItsFirstLook(Seeing):
    """a rebuild is not seen by a view from before it"""

    noticed_by = "test_a_rebuild_is_seen_by_a_view_from_before_it"
    first: Sight | None = None

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        sight = view.look(asked, retried)
        self.first = self.first or sight
        return sight._replace(book=self.first.book)


class LooksByOpening(Seeing):
    """a look leaves a book behind where there was none"""

    noticed_by = "test_a_look_at_a_store_that_never_saw_the_sink_sees_nothing_and_leaves_nothing"

    def sees(self, view: View, sink: str, asked: Collection[Place], retried: Mapping[Place, Retried]) -> Sight:
        sight = view.look(asked, retried)
        if sight.book is None:
            self.server.books[sink] = first_book(sink)
        return sight
