"""A file enters the log once, however often it is appended: ``append_many(source=..., places=...)``. # U1"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace

import pytest

from logsync import Producer
from logsync.errors import AppendRejected, AppendReport, ConfigError, LogUnavailable
from logsync.settings import Settings
from logsync.sources import files
from logsync.sources.channel import Stretch
from logsync.sources.files import append_file
from tests.property.relays import Hostile, ThingChanged, World, log


class Prompt(Hostile):
    """Delivers what was sent whenever it is asked for what has come."""

    def read_back(self, timeout: float) -> list[Stretch]:
        while self.world.in_transit:
            self.world.deliver()
        return super().read_back(timeout)


def world(partitions: int = 1) -> World:
    made = World(1, partitions)
    made.calm = True
    return made


def things(count: int, *, first: int = 0) -> Iterator[ThingChanged]:
    return (ThingChanged(key=f"k{number % 3}", number=number) for number in range(first, count))


def append(made: World, events: object, places: object = None) -> AppendReport:
    return append_file(
        log, Settings.model_construct(), events, source="import", places=places, channel=Prompt(made)  # type: ignore[arg-type]
    )  # fmt: skip


def test_each_event_counts_once_however_often_the_file_is_appended() -> None:
    made = world(3)
    assert append(made, things(50)).appended == 50
    report = append(made, things(50))
    assert (report.appended, report.taken) == (0, 50)
    assert append(made, things(70)).appended == 20
    counted = made.counted()
    assert sorted(number for numbers in counted for number in numbers) == list(range(70))
    assert all(numbers == sorted(numbers) for numbers in counted)


def test_a_run_that_was_killed_anywhere_is_simply_run_again() -> None:
    for seed in range(30):
        made, chance = world(1 + seed % 3), Random(seed)
        for _ in range(3):
            dies = chance.randrange(40)

            def some(until: int = dies) -> Iterator[ThingChanged]:
                yield from things(until)
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                append(made, some())
            made.in_transit[:] = [each for each in made.in_transit if chance.random() < 0.5]
        append(made, things(40))
        assert sorted(number for numbers in made.counted() for number in numbers) == list(range(40))


def test_a_file_that_changed_is_refused() -> None:
    made = world()
    append(made, things(5))
    with pytest.raises(ConfigError, match="the file changed"):
        append(made, things(6, first=1))
    with pytest.raises(ConfigError, match="the file changed: it ends at place"):
        append(made, things(3))


def test_an_outage_is_waited_for() -> None:
    made = world()
    channel = Prompt(made)
    outages = iter([True, False, True])
    real = channel.bounds

    def sometimes() -> dict[int, tuple[int, int]]:
        if next(outages, False):
            raise LogUnavailable("down")
        return real()

    channel.bounds = sometimes  # type: ignore[method-assign]
    append_file(log, Settings.model_construct(), things(5), source="import", channel=channel)
    assert made.counted() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("places", [[2, 1], [1, 1], ["a", "A"], [0], [-1, 0], ["a b", "c"], ["", "a"], [1.5, 2], ["é"]])
def test_places_that_do_not_ascend_or_are_none_are_refused(places: list[object]) -> None:
    with pytest.raises(AppendRejected):
        append(world(), things(2), iter(places))


def test_texts_are_places_too() -> None:
    made = world()
    append(made, things(3), iter(["2024-01-01", "2024-01-02", "2024-02-01"]))
    assert append(made, things(3), iter(["2024-01-01", "2024-01-02", "2024-02-01"])).appended == 0


def test_places_without_a_source_are_refused() -> None:
    with Producer(log, settings=Settings.model_construct()) as producer, pytest.raises(AppendRejected, match="source"):
        producer.append_many([], places=[1])


def test_events_that_come_slowly_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seconds = world(), iter(range(10**6))
    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=lambda _: None))
    there = list[int]()

    def slow() -> Iterator[ThingChanged]:
        for event in things(60):
            there.append(len(made.counted()[0]))
            yield event

    append(made, slow())
    assert there[-1] > 50
    assert made.counted() == [list(range(60))]


def test_a_rival_run_is_refused() -> None:
    made = world()

    def slow() -> Iterator[ThingChanged]:
        yield from things(600)
        append(made, things(700))
        yield from things(1_300, first=600)

    with pytest.raises(AppendRejected, match="another run"):
        append(made, slow())
    assert made.counted() == [list(range(700))]
