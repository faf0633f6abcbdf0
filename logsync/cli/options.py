"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

SinkArgument = Annotated[str, typer.Argument(metavar="SINK", help="`db`, or `pkg.mod:sink`.", show_default=False)]
SinksArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[SINK]...", help="Default: all under sinks/.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]
