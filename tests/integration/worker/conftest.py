from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Case


@pytest.fixture
def make_case(env: dict[str, str], unique: str, tmp_path: Path) -> Iterator[Callable[..., Case]]:
    """``make_case(partitions=4)``: several topics in one test, their processes ended with it."""
    made: list[Case] = []

    def make(**options: int) -> Case:
        made.append(Case(env, f"{unique}{len(made)}", tmp_path, **options))
        return made[-1]

    yield make
    for case in made:
        case.close()


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Case:
    return make_case()
