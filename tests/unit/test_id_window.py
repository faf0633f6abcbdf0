"""The ids of a range of the log, remembered: always what the log itself says, and each record read once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logsync.log.ids import IdWindow


class Read:
    """A log whose ids these are; some offsets hold no record, some records no id."""

    def __init__(self, ids: list[str | None]) -> None:
        self.ids, self.read = ids, 0

    def __call__(self, start: int, stop: int) -> Iterator[tuple[int, str | None]]:
        for offset in range(start, min(stop, len(self.ids))):
            self.read += 1
            if self.ids[offset] != "hole":
                yield offset, self.ids[offset]

    def first(self, event_id: str, start: int, stop: int) -> int | None:
        return next((at for at in range(start, min(stop, len(self.ids))) if self.ids[at] == event_id), None)


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "hole", None]), max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12),
    st.integers(1, 20),
)
def test_it_finds_what_the_log_holds_whatever_was_asked_before(
    ids: list[str | None], ranges: list[tuple[int, int]], most: int
) -> None:
    read, window = Read(ids), IdWindow(most)
    for one, other in ranges:
        start, stop = min(one, other), max(one, other)
        expected = {each: at for each in "abcd" if (at := read.first(each, start, stop)) is not None}
        assert window.find(set("abcd"), start, stop, read) == expected


def test_many_marks_cost_one_pass_over_the_log() -> None:
    read, window = Read([f"id-{n}" for n in range(3_000)]), IdWindow(1_000)
    for stop in range(1_000, 3_000, 10):
        assert window.find({f"id-{stop - 700}", "forged"}, stop - 1_000, stop, read) == {f"id-{stop - 700}": stop - 700}
    assert read.read == 3_000 - 10
    assert len(window._offsets) <= 2_000


def test_a_reading_that_is_broken_off_goes_on_where_it_was() -> None:
    read, window = Read([f"id-{n}" for n in range(100)]), IdWindow(1_000)

    def broken(start: int, stop: int) -> Iterator[tuple[int, str | None]]:
        for offset, event_id in read(start, stop):
            if offset == 50:
                raise ConnectionError
            yield offset, event_id

    with pytest.raises(ConnectionError):
        window.find({"id-7", "id-70"}, 0, 100, broken)
    assert window.find({"id-7", "id-70"}, 0, 100, read) == {"id-7": 7, "id-70": 70}
