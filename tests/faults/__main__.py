"""Run the whole table, or random faults for some minutes.

python -m tests.faults [--seed N] [--minutes N] [--jobs N] [--only TEXT]
"""

from __future__ import annotations

import argparse
import logging
import re
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

from devstack import Stack

from .cell import CELLS, Result, run_cell
from .fault import Fault
from .report import PATH, render
from .world import World


def table(world: World, only: str, jobs: int) -> list[Result]:
    """All cells, up to ``jobs`` at once in different stores; faults of Kafka, which are everybody's, one by one."""
    waiting = [(row, kind) for row, kind in CELLS if re.search(only, f"{row.of}: {row.name}; {kind}")]
    busy, results, lock = set[str](), list[Result](), threading.Lock()

    def take(shared: bool) -> tuple[Fault, str] | None:
        """A cell of the idle store that has most of them left."""
        with lock:
            free = [cell for cell in waiting if (cell[0].of == "Kafka") is shared and cell[1] not in busy]
            left = Counter(kind for _, kind in free)
            chosen = max(free, key=lambda cell: left[cell[1]], default=None)
            if chosen is not None:
                waiting.remove(chosen)
                busy.add(chosen[1])
            return chosen

    def work(shared: bool) -> None:
        while (cell := take(shared)) is not None:
            result = _judged(world, *cell)
            with lock:
                results.append(result)
                busy.discard(cell[1])
                print(result, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work, False) for _ in range(jobs)]:
            done.result()
    work(True)
    return results


def _judged(world: World, row: Fault, kind: str) -> Result:
    try:
        return run_cell(row, world.lanes[kind], Random(f"{world.seed} {row.name} {kind}"))
    except Exception as error:  # noqa: BLE001 - whatever it is, the cell has failed, and the others go on
        with suppress(Exception):  # then the cells that follow show it
            if row.of == "Kafka":
                world.mend()
            world.lanes[kind].mend()
        return Result(row, kind, failed="".join(traceback.format_exception(error)))


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
    parser.add_argument("--jobs", type=int, default=2, help="how many stores are struck at once (2)")
    parser.add_argument("--only", default="", help="only cells whose line has this pattern; writes no page")
    parser.add_argument("--stack", default="faults", help="which devstack; it is emptied first and last (faults)")
    given = parser.parse_args()
    logging.getLogger("logsync").addHandler(logging.NullHandler())  # this process appends, too, and Kafka goes away
    began, results, failed = time.monotonic(), list[Result](), list[str]()
    with World(Stack(given.stack), given.seed) as world:
        if given.minutes:
            soak(world, given.minutes)
        else:
            results = table(world, given.only, given.jobs)
            failed = [f"FAILED: {result.cell}" for result in results if result.failed]
        try:
            print(world.every_acknowledged_event_is_in_the_log())
        except AssertionError as error:
            failed.append(f"FAILED: {error}")
        samples = sum(lane.samples for lane in world.lanes.values())
    print(f"{samples:,} looks at bookmark and position; seed {given.seed}, {time.monotonic() - began:.0f} s")
    if results and not given.only:
        PATH.write_text(render(results))
        print(f"written: {PATH}")
    if failed:
        raise SystemExit("\n".join([*failed, f"{len(failed)} failed; again: make faults SEED={given.seed}"]))


if __name__ == "__main__":
    main()
