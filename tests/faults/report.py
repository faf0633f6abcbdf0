"""docs/faults.md from the table and the results of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .cell import Result
from .fault import Fault
from .table import ROWS
from .world import SESSION, STORE_TIMEOUT

PATH = Path(__file__).parents[2] / "docs" / "faults.md"
_BOUNDS = f"{STORE_TIMEOUT:g} and {SESSION:g} s"
_HEAD = f"""# Faults

<!-- Made by `make faults` from tests/faults; change that instead. -->

Every fault against every store, on real servers and worker processes, with events of the shop's real data. A writer
appends about sixty events per second all the time. Two invariants are watched at every moment: Kafka's bookmark is
never ahead of the store's position, and no position moves back (unless the store itself does). After each fault the
store's content is compared, value by value, with a fold of the log that uses no logsync code.

The number is the time to heal in seconds: from the end of the fault (the server answers, the network passes, somebody
starts the worker or the command that the error named) until the store holds everything that the log held at that
moment. How late a worker notices is bound by `LOGSYNC_STORE_TIMEOUT` and `session.timeout.ms`, here {_BOUNDS}.
A log that is replayed has a few thousand events here.

**CI** marks the cells that `make test` runs at every change; `make faults` runs all of them, those of two stores at a
time, and `make faults MINUTES=5 SEED=3` draws random ones. Cells with a link are tests of their own: they need servers
that nothing else here can share; they run at every change, too.

| what | fault | Postgres | Redis | OpenSearch |
|---|---|---|---|---|
"""
_TIME = re.compile(r"\*\*(\d+\.\d s|not run[^*]*)\*\*")


def render(results: Iterable[Result]) -> str:
    """The page. Cells that were not run show so."""
    found = {(result.fault.name, result.fault.of, result.kind): result for result in results}
    lines = []
    for row in ROWS:
        cells = [_cell(row, kind, found.get((row.name, row.of, kind))) for kind in ("db", "cache", "search")]
        lines.append(f"| {row.of} | {row.name} | {' | '.join(cells)} |\n")
    return _HEAD + "".join(lines)


def _cell(row: Fault, kind: str, result: Result | None) -> str:
    if kind in row.cannot:
        return f"does not apply: {row.cannot[kind]}"
    if kind in row.linked:
        words, test = row.linked[kind]
        path = Path(test.partition("::")[0])
        return f"{words}. [{path.name}](../tests/{path}) CI"
    if result is not None and result.failed:
        return f"{row.says[kind]}: **FAILED**"
    return f"{row.says[kind]}. **{_time(result)}**{' CI' if kind in row.ci else ''}"


def _time(result: Result | None) -> str:
    if result is None:
        return "not run"
    return f"not run: {result.not_here}" if result.heal is None else f"{result.heal:.1f} s"


def without_times(page: str) -> str:
    return _TIME.sub("", page)
