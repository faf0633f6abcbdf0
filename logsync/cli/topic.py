"""``topic create`` and ``topic describe``: the log itself."""

from __future__ import annotations

from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.load import load_log
from logsync.errors import ConfigError
from logsync.settings import load_settings

app = typer.Typer(help="Create a log's topic, or check that one is fit to be a log.", no_args_is_help=True)

NameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="The topic, unless --log names it.", show_default=False)
]
LogOption = Annotated[str | None, typer.Option("--log", help="The topic of this log: pkg.mod:log.", show_default=False)]


@app.command("create")
def create(
    name: NameArgument = None,
    log: LogOption = None,
    partitions: Annotated[int, typer.Option(min=1, help="1: one total order. More: order per key only.")] = 1,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies. Default: 3, or as many as there are brokers.", show_default=False)
    ] = None,
) -> None:
    """Create a topic with the settings that a log needs: nothing expires, nothing is compacted.

    Example: logsync topic create shop.events --replication 3
    """
    from logsync.log.topic import create_topic

    topic = _topic(name, log)
    create_topic(load_settings(), topic, partitions=partitions, replication=replication)
    out.say(f"created {topic}")


@app.command("describe")
def describe(
    name: NameArgument = None,
    log: LogOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show a topic's identity and settings, and what about them keeps it from being a log.

    Example: logsync topic describe --log sinks.events:log
    """
    raise NotImplementedError


def _topic(name: str | None, log: str | None) -> str:
    if (name is None) == (log is None):
        raise ConfigError("expected a topic's NAME or --log pkg.mod:log, one of them")
    return name if name is not None else load_log(log or "").topic
