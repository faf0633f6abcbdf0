"""What commands print: facts on stdout (tables for people, JSON for machines), everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from logsync.core.secrets import hide
from logsync.core.text import escaped_json, plain

_EVERY = 5.0  # seconds between progress lines where no bar can be drawn
_SHORT = 100  # characters of free text in one line of a table
_PIPE_WIDTH = 200  # columns of a table that goes to a file or pipe: rich's 80 would cut ids in two


def say(text: str) -> None:
    """A sentence for the person at the terminal; never part of the facts on stdout, and without any known secret."""
    print(hide(text), file=sys.stderr, flush=True)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    print(as_json(value, indent=indent))


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON that prints on any terminal: what a stranger wrote is escaped where it would be obeyed, or cannot print."""
    return escaped_json(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """A table; columns whose name starts with ``#`` are numbers and stand to the right. A list is a cell of lines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def short(text: str) -> str:
    """The text as one line of a table."""
    line = " ".join(text[: 10 * _SHORT].split())
    return plain(line if len(line) <= _SHORT else line[: _SHORT - 1] + "…")


def cut(text: str, most: int) -> str:
    """At most ``most`` characters of a text; what is left out is counted."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]}\n... and {left:,} more characters; --json shows all"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return "\n".join(map(plain, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(str(value))


@contextmanager
def worker(what: str, log_format: Literal["human", "json"] = "human") -> Iterator[Callable[[int, int], None]]:
    """What a worker in the foreground shows on stderr: its log lines, and at a terminal the bar of ``progress``."""
    from logsync.observe.logs import log_to_stderr

    log_to_stderr(log_format)
    with progress(what, lines=False) as report:
        yield report


@contextmanager
def progress(what: str, *, lines: bool = True) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, or (``lines``) a line every few seconds where stderr is no terminal.

    Yields ``report(done, total)``. The bar appears with the first report.
    """
    if not sys.stderr.isatty():
        last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            if lines and time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                say(f"{what}: {done:,} of {total:,} offsets")

        yield report
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)
