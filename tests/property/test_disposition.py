"""The policy is total: every error that logsync can raise gets exactly one of Retry, Park and Halt."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import logsync
from logsync.core.policy import CONFLICTS_BEFORE_HALT, Halt, Park, Retry, disposition
from logsync.errors import EventError, LogsyncError, LogUnavailable, ParkingFull, PositionConflict, StoreError

for module in pkgutil.walk_packages(logsync.__path__, "logsync."):  # an error may live in any of them
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def tree(kind: type[LogsyncError] = LogsyncError) -> Iterator[type[LogsyncError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


ERRORS = sorted({kind for kind in tree() if kind.__module__.startswith("logsync.")}, key=lambda kind: kind.__name__)
RETRIED = {"StoreError", "StoreUnavailable", "StoreOutcomeUnknown", "PositionConflict", "LogUnavailable"}
PARKED = {"EventError", "DecodeError", "UnknownEventType", "HandlerError", "WriteRejected"}

attempts = st.integers(1, 10**6)
chances = st.floats(0, 1, exclude_max=True)


def made(kind: type[LogsyncError]) -> LogsyncError:
    """Without its arguments: the policy may look at nothing but the class."""
    return kind.__new__(kind)


def test_what_becomes_of_each_class_is_decided_by_hand() -> None:
    """A class that is new, or that has moved in the tree, has to be looked at here first."""
    names = {kind.__name__ for kind in ERRORS}
    assert names > RETRIED | PARKED
    found = {kind.__name__: type(disposition(made(kind), parks=True)) for kind in ERRORS}
    assert found == {name: Retry if name in RETRIED else Park if name in PARKED else Halt for name in names}


@given(
    kind=st.sampled_from(ERRORS), attempt=attempts, conflicts=st.integers(0, 10**6), chance=chances, parks=st.booleans()
)
def test_every_error_gets_exactly_one_answer(
    kind: type[LogsyncError], attempt: int, conflicts: int, chance: float, parks: bool
) -> None:
    answer = disposition(made(kind), attempt=attempt, conflicts=conflicts, chance=chance, parks=parks)
    assert type(answer) in (Retry, Park, Halt)
    if isinstance(answer, Park):  # only an event can be set aside, and only if its author said so
        assert issubclass(kind, EventError)
        assert not issubclass(kind, ParkingFull)
        assert parks


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if issubclass(kind, StoreError | LogUnavailable)])
@given(
    attempt=attempts,
    conflicts=st.integers(0, CONFLICTS_BEFORE_HALT - 1) | attempts,
    chance=chances,
    parks=st.booleans(),
)
@example(attempt=10**6, conflicts=0, chance=0.999, parks=True)
def test_an_outage_is_retried_at_every_attempt_with_a_bounded_pause(
    kind: type[LogsyncError], attempt: int, conflicts: int, chance: float, parks: bool
) -> None:
    """The one exception is no outage: a position that somebody else keeps moving. # P3"""
    answer = disposition(made(kind), attempt=attempt, conflicts=conflicts, chance=chance, parks=parks)
    if issubclass(kind, PositionConflict) and conflicts >= CONFLICTS_BEFORE_HALT:
        assert answer == Halt()
    else:
        assert isinstance(answer, Retry)
        assert 0 <= answer.after < 1


@given(attempt=attempts, later=attempts, chance=chances)
def test_no_pause_is_shorter_after_more_attempts(attempt: int, later: int, chance: float) -> None:
    """The same luck given: else a long outage could be asked about ever more often."""
    first, second = sorted((attempt, later))
    pauses = [disposition(made(LogUnavailable), attempt=number, chance=chance) for number in (first, second)]
    assert isinstance(pauses[0], Retry)
    assert isinstance(pauses[1], Retry)
    assert pauses[0].after <= pauses[1].after
