"""One cell of the table: a fault for a lane, from a running worker to content that is compared completely."""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from .fault import Fault, NotHere
from .table import ROWS
from .world import Lane


@dataclass(frozen=True)
class Result:
    """``heal`` in seconds: from the end of the fault until the store holds all that the log held then."""

    fault: Fault
    kind: str
    heal: float | None = None
    took: float = 0.0
    """Seconds of the whole cell."""
    not_here: str = ""
    """Why this machine cannot do it."""
    failed: str = ""
    """What was not as the table says."""

    @property
    def cell(self) -> str:
        return f"{self.fault.of}: {self.fault.name}; {self.kind}"

    def __str__(self) -> str:
        if self.failed:
            return f"{self.failed}\nFAILED: {self.cell}"
        if self.heal is None:
            return f"{self.cell}: not run: {self.not_here}"
        return f"{self.cell}: healed in {self.heal:.1f} s; the cell took {self.took:.0f} s"


# Those that replay the log come first, while it is short.
_ORDER = sorted(ROWS, key=lambda row: row.of != "content")
CELLS = [(row, kind) for row in _ORDER for kind in ("db", "cache", "search") if kind in row.says]
CI = [(row, kind) for row, kind in CELLS if kind in row.ci]


def run_cell(row: Fault, lane: Lane, chance: Random) -> Result:
    """Raises AssertionError if anything is not as the table says, at any moment."""
    world, started = lane.world, time.monotonic()
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
            return Result(row, lane.kind, not_here=str(error))
        finally:
            steps.close()
    assert world.writer.running, world.writer.output[-2000:]
    lane.is_the_fold()
    return Result(row, lane.kind, heal, took=time.monotonic() - started)
