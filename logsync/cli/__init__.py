"""The command line: ``logsync --help``. Commands import clients when they run, so that help stays quick."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from logsync.cli import consume, doctor, out, parked, position, records, relay, sinks, source, status, topic, wait
from logsync.cli.exits import Exit, epilog, exit_for
from logsync.cli.imports import put_last
from logsync.core.text import indented
from logsync.errors import LogsyncError
from logsync.ops.access import held_up

app = typer.Typer(
    name="logsync",
    help="Write once, to the log; every store follows.\n\n"
    "A sink (sinks/db.py, or pkg.mod:sink) applies one Kafka topic to one store and keeps its position there. "
    "Begin with `logsync topic create`, `logsync consume SINK` and `logsync status`. Settings are environment "
    "variables LOGSYNC_..., or lines in .env.",
    epilog=epilog(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    consume.consume,
    relay.relay,
    status.status,
    wait.wait,
    doctor.doctor,
    records.show,
    records.history,
    sinks.rebuild,
    sinks.skip,
):
    app.command()(_command)
app.add_typer(position.app, name="position")
app.add_typer(parked.parked_app, name="parked")
app.add_typer(sinks.schema_app, name="schema")
app.add_typer(topic.app, name="topic")
app.add_typer(source.app, name="source")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"logsync {version('logsync')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, too.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script. Always leaves by SystemExit, with a code of ``Exit``; by os._exit if Kafka holds it up."""
    try:
        _run(argv)
    except SystemExit as ended:
        if held_up():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(ended.code or 0))
        raise


def _run(argv: Sequence[str] | None) -> NoReturn:
    """Run one command and leave by SystemExit.

    The one place where an error becomes a message: what logsync raises on purpose is one paragraph on stderr,
    everything else is a bug and shows its traceback. ``--debug`` may stand anywhere.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot write it shows as an escape, and goes on
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    put_last()
    try:
        app([argument for argument in arguments if argument != "--debug"], prog_name="logsync")
    except LogsyncError as error:
        if debug:
            out.say(traceback.format_exc())
        out.say(indented(f"error: {error}"))
        sys.exit(exit_for(error))
    except Exception:  # noqa: BLE001 - the last line of defence says what it is and where
        out.say(traceback.format_exc())
        out.say("this is a bug in logsync: please report the traceback above")
        sys.exit(Exit.BUG)
    raise AssertionError("typer exits by itself")
