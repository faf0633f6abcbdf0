"""``consume``: the worker, as a process."""

from __future__ import annotations

from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.load import load_sink
from logsync.cli.options import HealthOption, LogFormat, LogFormatOption, SinkArgument
from logsync.observe.logs import log_to_stderr
from logsync.settings import load_settings


def consume(
    sink: SinkArgument,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when caught up with the end that the log has now.")
    ] = False,
    log_format: LogFormatOption = LogFormat.human,
    health: HealthOption = None,
    from_log_start: Annotated[
        bool,
        typer.Option(
            "--from-log-start", help="First start only: begin at the log's first event though the store holds data, or "
            "the log lost its head. On record."
        ),
    ] = False,
    accept_from_now: Annotated[
        bool,
        typer.Option("--accept-from-now", help="Take a new handler's events from here on only. On record."),
    ] = False,
) -> None:  # fmt: skip
    """Apply the log to a sink's store, event by event in order, until a signal says stop.

    `db` is `sink` in the module `sinks.db` of the working directory. A store or broker that is down is waited for.
    SIGTERM and Ctrl-C finish the plan in flight and end with OK; a second one ends at once. Several workers of one
    sink share the topic's partitions.

    Example: logsync consume db --health 8080 --log-format json
    """
    from logsync.run import run_worker

    log_to_stderr(log_format.value)  # what settings and sinks say when they are loaded has its form, too
    settings, loaded = load_settings(), load_sink(sink)
    with out.worker(f"applying to {loaded.name}", log_format.value) as report:
        run_worker(
            loaded,
            settings,
            until_end=until_end,
            from_log_start=from_log_start,
            accept_from_now=accept_from_now,
            health=health,
            on_progress=report,
        )
