"""One cell of the table: a fault for a lane, from a running worker to content that is compared completely."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from .table import FAULTS, Fault, NotHere
from .world import Lane


@dataclass(frozen=True)
class Result:
    """``heal`` in seconds: from the end of the fault until the store holds all that the log held then."""

    fault: Fault
    kind: str
    heal: float | None
    not_here: str = ""

    def __str__(self) -> str:
        heal = f"not run: {self.not_here}" if self.heal is None else f"healed in {self.heal:.1f} s"
        return f"{self.fault.of}: {self.fault.name}; {self.kind}: {heal}"


# Those that replay the log come first, while it is short.
_ROWS = sorted(FAULTS, key=lambda row: row.of != "content")
CELLS = [(row, kind) for row in _ROWS for kind in ("db", "cache", "search") if kind in row.says]
CI = [(row, kind) for row, kind in CELLS if kind in row.ci]


def run_cell(row: Fault, lane: Lane, chance: Random) -> Result:
    """Raises AssertionError if anything is not as the table says, at any moment."""
    world = lane.world
    with lane.watched(may_go_back=lane.kind in row.goes_back):
        lane.start(proxied=row.proxied)
        lane.catches_up()
        lane.quiet()
        steps = row.strike(lane, chance)
        try:
            next(steps)
            if row.of != "Kafka":  # whose fault it is that the log does not grow
                world.grows(chance.randrange(20, 120))
            next(steps, None)
            began = time.monotonic()
            next(steps, None)
            lane.catches_up()
            heal = time.monotonic() - began
            next(steps, None)
        except NotHere as error:
            return Result(row, lane.kind, None, str(error))
        finally:
            steps.close()
    assert world.writer.running, world.writer.output[-2000:]
    lane.is_the_fold()
    return Result(row, lane.kind, heal)
