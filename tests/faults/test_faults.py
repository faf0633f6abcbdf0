"""The cells of the table that run at every change; `make faults` runs all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from devstack import Stack

from .cell import CELLS, CI, run_cell
from .fault import Fault
from .report import PATH, render, without_times
from .table import ROWS
from .world import World

STACK = os.environ.get("LOGSYNC_TEST_STACK", "tests") + "-faults"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(Stack(STACK), seed=1) as world:
        yield world


@pytest.mark.servers
@pytest.mark.parametrize(
    ("row", "kind"), [pytest.param(*cell, id=f"{cell[0].strike.__name__}-{cell[1]}") for cell in CI]
)
def test_a_fault_loses_nothing_and_doubles_nothing(world: World, row: Fault, kind: str) -> None:
    try:
        result = run_cell(row, world.lanes[kind], Random(f"{row.name} {kind}"))
    except BaseException:
        world.mend()  # the next one must not fail for this one's sake
        world.lanes[kind].mend()
        raise
    if result.heal is None:
        # In CI everything is installed, and what cannot be done fails; elsewhere it is said.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(result.not_here)


@pytest.mark.servers
def test_every_acknowledged_append_is_in_the_log_after_all_of_that(world: World) -> None:
    print(world.every_acknowledged_event_is_in_the_log())


def test_ci_touches_every_store_with_every_class_of_fault_that_it_has() -> None:
    assert {kind for _, kind in CI} == {"db", "cache", "search"}
    assert {row.of for row, _ in CI} == {row.of for row in ROWS}
    assert all(row.ci <= row.says.keys() for row in ROWS)


def test_the_published_page_names_every_cell_of_the_table() -> None:
    assert len(CELLS) + sum(len(row.cannot) + len(row.linked) for row in ROWS) == 3 * len(ROWS)
    assert without_times(PATH.read_text()) == without_times(render([])), "run `make faults`"


@pytest.mark.parametrize("link", sorted({test for row in ROWS for _, test in row.linked.values()}))
def test_every_test_that_the_page_names_is_there(link: str) -> None:
    path, _, name = link.partition("::")
    assert f"def {name}(" in (Path(__file__).parents[1] / path).read_text()
