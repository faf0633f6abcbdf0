"""``wait``: has this event arrived in these stores? For scripts, smoke tests and deployments."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from logsync.cli import out
from logsync.cli.exits import Exit
from logsync.cli.load import load_sink
from logsync.cli.options import JsonOption
from logsync.core.receipt import Receipt
from logsync.core.text import plain
from logsync.settings import load_settings

if TYPE_CHECKING:
    from logsync.reading import Seen

CODES = {
    "applied": Exit.OK,
    "searchable": Exit.OK,
    "passed over": Exit.PASSED_OVER,
    "parked": Exit.PARKED,
    "behind": Exit.BEHIND,
    "rebuilding": Exit.BEHIND,
    "not started": Exit.BEHIND,
    "unreachable": Exit.UNAVAILABLE,
}
"""By ``State``. Of several sinks the answer that is furthest from applied decides."""


def wait(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECEIPT... SINK...", show_default=False,
            help="What Receipt.dump() returned, once or several times, or - to read them from stdin, one a line; then "
            "the sinks: `db`, or `pkg.mod:sink`.",
        ),
    ],
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for all of it.")] = 30.0,
    searchable: Annotated[
        bool, typer.Option("--searchable", help="Wait until searches find it, too (OpenSearch refreshes for that).")
    ] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Wait until stores hold events that were appended, and say what became of them.

    Prints a line per sink, and ends as soon as every sink is through with every event. Needs the stores, and no Kafka.

    The exit code says what happened; of several answers the one that is furthest from applied decides. OK: it is
    there. PASSED_OVER: it never will be, because the sink does not handle its type or somebody skipped it. PARKED: set
    aside, somebody has to look. BEHIND: time ran out first. UNAVAILABLE: a store did not answer.

    Example: python place_order.py | logsync wait - db search --timeout 10
    """
    from logsync.ops.waiting import wait as waited
    from logsync.reading import worst

    receipts, names = _parted(words)
    settings, sinks = load_settings(), [load_sink(name) for name in dict.fromkeys(names)]
    answers = waited(receipts, sinks, settings, timeout=timeout, searchable=searchable)
    if as_json:
        out.print_json([_fields(seen) for seen in answers])
    else:
        for seen in answers:
            print(plain(str(seen)))
    raise typer.Exit(CODES[worst(answers).state])


def _fields(seen: Seen) -> dict[str, object]:
    return {
        "sink": seen.sink, "state": seen.state, "visible": seen.visible, "why": seen.why,
        "events": seen.events, "seconds": seen.seconds,
    }  # fmt: skip


def _parted(words: Iterable[str]) -> tuple[list[Receipt], list[str]]:
    """Receipts and names of sinks. No sink's name is ``-`` or begins with a brace."""
    receipts, names = list[Receipt](), list[str]()
    for word in words:
        if word == "-":
            receipts += [_receipt(line) for line in sys.stdin if line.strip()]
        elif word.lstrip().startswith("{"):
            receipts.append(_receipt(word))
        else:
            names.append(word)
    if not receipts:
        raise typer.BadParameter("no receipt: what Receipt.dump() returned, in quotes, or - to read it from stdin")
    if not names:
        raise typer.BadParameter("no sink: name one or several after the receipt")
    return receipts, names


def _receipt(text: str) -> Receipt:
    try:
        return Receipt.load(text)
    except ValueError as error:
        raise typer.BadParameter(f"no receipt: {error}") from None
