"""``relay``: carries a source into its log, as a process."""

from __future__ import annotations

from typing import Annotated

import typer

from logsync.cli.load import load_source
from logsync.cli.options import HealthOption, LogFormat, LogFormatOption, SourceArgument
from logsync.observe.logs import log_to_stderr
from logsync.settings import load_settings


def relay(
    source: SourceArgument,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop when all that the origin has now is in the log.")
    ] = False,
    log_format: LogFormatOption = LogFormat.human,
    health: HealthOption = None,
) -> None:  # fmt: skip
    """Carry the facts of a source into its log, each once and in order, until a signal says stop.

    `shop` is `source` in the module `sources.shop` of the working directory; `logsync source create shop` comes first.
    A database or broker that is down is waited for. One relay carries a source; a second one waits for the first.
    SIGTERM and Ctrl-C confirm what is in the log already and end with OK. After a crash nothing is lost and nothing
    counts twice.

    Example: logsync relay shop --health 8081
    """
    from logsync.sources.run import run_relay

    log_to_stderr(log_format.value)
    settings, loaded = load_settings(), load_source(source)
    run_relay(loaded, settings, until_end=until_end, health=health)
