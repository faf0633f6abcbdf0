"""The list behind `make mutants`, which nobody runs on every change."""

from __future__ import annotations

from tests.mutants import GUARDS, ROOT


def test_every_guard_stands_exactly_once_in_its_file() -> None:
    found = {guard.name: (ROOT / guard.file).read_text().count(guard.old) for guard in GUARDS}
    assert {name: times for name, times in found.items() if times != 1} == {}
