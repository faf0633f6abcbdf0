"""Arguments and options that several commands take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from logsync.observe.listening import Listening

SinkArgument = Annotated[str, typer.Argument(metavar="SINK", help="`db`, or `pkg.mod:sink`.", show_default=False)]
SinksArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SINK]...", help="Default: all under sinks/.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]
SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A module in sources/ (shop), or any other: pkg.mod:source.")
]

SourcesOption = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE", help="May be given again. Default, if no sink is named: all under sources/."),
]


class LogFormat(StrEnum):
    """How a worker writes its log lines, on stderr."""

    human = "human"
    json = "json"


def _listening(text: str) -> Listening:
    try:
        return Listening.at(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


LogFormatOption = Annotated[LogFormat, typer.Option(help="Log lines for people or for machines.")]
HealthOption = Annotated[
    Listening | None,
    typer.Option(
        parser=_listening, metavar="[HOST:]PORT", show_default=False,
        help="Serve /live, /ready and /metrics: PORT for this machine alone, 0.0.0.0:PORT or :PORT for others, too."
    ),
]  # fmt: skip
