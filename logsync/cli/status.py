"""``status``: where every sink is, measured against the log and not against the worker's own opinion."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from logsync.cli import out
from logsync.cli.exits import Exit
from logsync.cli.load import load_sink, named_or_all
from logsync.cli.options import JsonOption, SinksArgument
from logsync.errors import ConfigError
from logsync.settings import Settings, load_settings

if TYPE_CHECKING:
    from logsync.ops.status import Row

_COLUMNS = (
    "sink", "#partition", "state", "#position", "#committed", "#log end", "#lag", "#lag seconds", "#parked", "detail",
)  # fmt: skip

CODES = {
    "misconfigured": Exit.CONFIG,
    "position lost": Exit.CONFIG,
    "other environment": Exit.CONFIG,
    "other log": Exit.LOG,
    "gap": Exit.LOG,
    "store unreachable": Exit.UNAVAILABLE,
    "log unreachable": Exit.UNAVAILABLE,
}
"""What a worker in this state would end with, or wait for; by ``SinkState``."""


def status(
    sinks: SinksArgument = None,
    as_json: JsonOption = False,
    fail_behind: Annotated[
        int | None,
        typer.Option(
            min=0, show_default=False,
            help="Exit with BEHIND if more than N events of a sink are behind or parked, or if it does not run.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Show per sink and partition: the store's position, the committed offset, the log's end, and the lag.

    A store or log that does not answer is a row that says so, and the others are shown all the same. The exit code is
    that of the worst row: CONFIG, LOG, UNAVAILABLE, or OK, which a sink that is behind or has parked events is, too.

    Example: logsync status db search --fail-behind 1000
    """
    from logsync.ops.status import too_far  # it loads the Kafka client, which `logsync --help` does without

    settings = load_settings()
    names = named_or_all(sinks)
    with ThreadPoolExecutor(len(names)) as pool:  # one store that is down must not delay the others
        rows = [row for found in pool.map(lambda name: _look(name, settings), names) for row in found]
    if as_json:
        out.print_json([{**row._asdict(), "environment": settings.environment} for row in rows])
    else:
        out.print_table(_COLUMNS, rows)
    if fail_behind is not None and any(too_far(row, fail_behind) for row in rows):
        raise typer.Exit(Exit.BEHIND)
    raise typer.Exit(worst(row.state for row in rows))


def worst(states: Iterable[str]) -> Exit:
    """The exit code for sinks in these states. Those that are not in the table pass by themselves, or are parked."""
    found = {CODES.get(state, Exit.OK) for state in states}
    return next((code for code in (Exit.CONFIG, Exit.LOG, Exit.UNAVAILABLE) if code in found), Exit.OK)


def _look(name: str, settings: Settings) -> list[Row]:
    from logsync.ops.status import Row, SinkState, survey

    try:
        return survey(load_sink(name), settings)
    except ConfigError as error:
        return [Row(name, None, SinkState.MISCONFIGURED, detail=error.message)]
