"""The list behind `make mutants`, which nobody runs on every change."""

from __future__ import annotations

from tests.mutants import GUARDS, ROOT


def test_every_guard_stands_exactly_once_in_its_file() -> None:
    found = {guard.name: (ROOT / guard.file).read_text().count(guard.old) for guard in GUARDS}
    assert {name: times for name, times in found.items() if times != 1} == {}


def test_every_test_that_a_guard_names_is_there() -> None:
    named = {test for guard in GUARDS for test in guard.tests}
    assert sorted(test for test in named if not (ROOT / test).exists()) == []
