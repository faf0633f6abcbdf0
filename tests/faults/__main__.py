"""Run the whole table, or random faults for some minutes.

python -m tests.faults [--seed N] [--minutes N] [--only TEXT]
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

from devstack import Stack

from .cell import CELLS, Result, run_cell
from .report import PATH, render
from .world import World


def table(world: World, only: str) -> list[Result]:
    results, failures = [], 0
    for row, kind in CELLS:
        if only in f"{row.of}: {row.name}; {kind}":
            try:
                results.append(run_cell(row, world.lanes[kind], Random(f"{world.seed} {row.name} {kind}")))
                print(results[-1], flush=True)
            except AssertionError as error:
                failures += 1
                print(f"FAILED: {row.of}: {row.name}; {kind}: {error}", flush=True)
                world.mend()
    if failures:
        raise SystemExit(f"{failures} cells failed; seed {world.seed}")
    return results


def soak(world: World, minutes: float) -> None:
    """Random faults, up to three at once in different stores; the same ones in the same order for the same seed."""
    chance, deadline = Random(world.seed), time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        first = chance.choice(CELLS)
        turn = {first[1]: first[0]}
        if first[0].of != "Kafka":  # which is everybody's: nothing else is claimed meanwhile
            for row, kind in chance.sample(CELLS, 2):
                if row.of != "Kafka":
                    turn.setdefault(kind, row)
        chances = {kind: Random(chance.random()) for kind in turn}
        with ThreadPoolExecutor(len(turn)) as pool:
            runs = [pool.submit(run_cell, row, world.lanes[kind], chances[kind]) for kind, row in turn.items()]
        for run in runs:
            try:
                print(run.result(), flush=True)
            except AssertionError as error:
                raise SystemExit(f"{[f'{kind}: {row.name}' for kind, row in turn.items()]} failed: {error}\n"
                                 f"again: make faults SEED={world.seed} MINUTES={minutes:g}") from None  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="random choices are those of this number (1)")
    parser.add_argument("--minutes", type=float, help="soak: random faults for so long, instead of the table")
    parser.add_argument("--only", default="", help="only cells whose line contains this text; writes no page")
    parser.add_argument("--stack", default="faults", help="which devstack; it is emptied first and last (faults)")
    given = parser.parse_args()
    began, results = time.monotonic(), list[Result]()
    with World(Stack(given.stack), given.seed) as world:
        if given.minutes:
            soak(world, given.minutes)
        else:
            results = table(world, given.only)
        acknowledged = world.every_acknowledged_event_is_in_the_log()
        samples = sum(lane.samples for lane in world.lanes.values())
        print(f"{acknowledged}; {samples:,} looks at bookmark and position; "
              f"seed {given.seed}, {time.monotonic() - began:.0f} s")  # fmt: skip
    if results and not given.only:
        PATH.write_text(render(results))
        print(f"written: {PATH}")


if __name__ == "__main__":
    sys.exit(main())
