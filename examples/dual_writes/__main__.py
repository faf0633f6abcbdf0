"""`python -m examples.dual_writes`: two racing writers, one killed once, and what they left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from devstack import Stack
from examples.dual_writes.count import Disagreement, disagreements
from examples.dual_writes.shop import Shop

BASKETS = 1_500


def run(env: dict[str, str], *, baskets: int = BASKETS, say: Callable[[str], None] = print) -> list[Disagreement]:
    """Set up, race, kill, restart, count. ``env`` holds the stores' addresses, as `devstack env` prints them.

    Raises RuntimeError when a writer ends by itself with an error: then the stores would disagree for a
    reason that proves nothing.
    """
    shop = Shop(env["LOGSYNC_POSTGRES"], env["LOGSYNC_REDIS"], env["LOGSYNC_OPENSEARCH"])
    shop.set_up()
    first, second = (_start(number, baskets, env) for number in range(2))
    done = _read(first, lines=baskets // 5)
    os.kill(first.pid, signal.SIGKILL)
    done += len(first.communicate()[0].splitlines())
    say(f"writer 1 killed with -9 after {done} complete baskets, started again: it goes on where Postgres ends")
    third = _start(0, baskets, env)
    for name, process in (("writer 2", second), ("writer 1, second run", third)):
        process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{name} failed by itself, exit code {process.returncode}; its error is above")
    counted = disagreements(shop)
    shop.close()
    return counted


def table(counted: list[Disagreement]) -> Table:
    result = Table("what", "between", "compared", "disagree", "for example")
    result.columns[2].justify = result.columns[3].justify = "right"
    for row in counted:
        result.add_row(row.what, row.between, f"{row.compared:,}", f"{row.differ:,}", row.example)
    return result


def _start(number: int, baskets: int, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "examples.dual_writes.writer", str(number), str(baskets)]
    return subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True)


def _read(process: subprocess.Popen[str], *, lines: int) -> int:
    """Wait for so many lines of output. The pipe of a fast writer never fills: it holds 64 kB."""
    assert process.stdout is not None
    return sum(1 for _, _line in zip(range(lines), process.stdout, strict=False))


def main() -> None:
    name = "dual-writes"
    stack = Stack(name)
    stack.up(only=["postgres", "redis", "opensearch"], progress=lambda server, what: print(f"{server}: {what}"))
    try:
        counted = run(stack.env())
    finally:
        stack.down()
    Console().print(table(counted))
    raise SystemExit(0 if any(row.differ for row in counted) else "no disagreement this time: every race was won")


if __name__ == "__main__":
    main()
