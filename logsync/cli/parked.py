"""``parked``: look at events that were set aside, try them again, or give up on them on record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from logsync.cli import out
from logsync.cli.exits import NotFound, Refused, StillParked
from logsync.cli.load import load_sink
from logsync.cli.options import JsonOption, SinkArgument, YesOption
from logsync.core.book import Book
from logsync.core.parked import Parked
from logsync.core.sink import Sink
from logsync.core.store import Store
from logsync.errors import ConfigError
from logsync.ops import access, parked
from logsync.ops.parked import ParkedSequence, Selection
from logsync.ops.records import describe
from logsync.settings import Settings, load_settings

parked_app = typer.Typer(
    help='Events that could not be applied and were set aside (`on_error="park"`), with all that wait behind them.',
    no_args_is_help=True,
)
KeyOption = Annotated[
    str | None, typer.Option("--key", help="One sequence: the events of this key.", show_default=False)
]
ErrorOption = Annotated[
    str | None,
    typer.Option("--error", help="Sequences whose first event failed so: HandlerError, ...", show_default=False),
]
EventOption = Annotated[
    str | None, typer.Option("--event", help="One event: its id, or PARTITION:OFFSET.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything that is parked.")]


@parked_app.command("list")
def list_(
    sink: SinkArgument,
    limit: Annotated[int, typer.Option(min=1, help="The most rows; the sums below count everything.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what waits: a row per sequence, oldest first, with the event that holds it up.

    Example: logsync parked list db --limit 10
    """
    settings, loaded = load_settings(), load_sink(sink)
    with _opened(loaded, settings) as store:
        found = parked.find(store, Selection())
        shown = [  # without those that were released since
            (each, head)
            for each in found[:limit]
            for head in store.parked(each.partition, sequence=each.sequence, limit=1)
        ]
    total = sum(each.waiting.events for each in found)
    if as_json:
        rows = [{**_fact(entry), "waiting": each.waiting.events} for each, entry in shown]
        out.print_json({"sink": loaded.name, "sequences": len(found), "events": total, "rows": rows})
        return
    if shown:
        out.print_table(
            ("record", "key", "type", "error", "#tries", "parked (UTC)", "message"),
            [
                (f"{entry.partition}:{entry.offset}", entry.sequence, entry.type, _why(entry),
                 entry.attempts, f"{entry.first_at:%Y-%m-%d %H:%M}", out.short(entry.message.partition("\n")[0]))
                for _, entry in shown
            ],
        )  # fmt: skip
    out.say(f"sink {loaded.name}: {_count(found)} parked")


@parked_app.command("show")
def show(sink: SinkArgument, event: Annotated[str, typer.Argument(metavar="EVENT_ID|PARTITION:OFFSET")]) -> None:
    """Show one parked event whole, as JSON: why, since when, how often tried, and the record as it stood in the log.

    Example: logsync parked show db 0:4711
    """
    settings, loaded = load_settings(), load_sink(sink)
    with _opened(loaded, settings) as store:
        entry = _found(store, loaded, Selection(event=event))[0].event
    assert entry is not None
    out.print_json({**_fact(entry), "record": describe(entry.record, loaded.log)})


@parked_app.command("retry")
def retry(
    sink: SinkArgument,
    event: EventOption = None,
    key: KeyOption = None,
    error: ErrorOption = None,
    all_: AllOption = False,
    yes: YesOption = False,
) -> None:
    """Try parked events again, each sequence in order, up to the first event that still fails.

    With --event the whole sequence of that event is tried from its start: order comes first. A running worker
    does it, or else this command becomes the worker for as long as it takes; it applies nothing new.

    Example: logsync parked retry db --error HandlerError --yes
    """
    selection = _selection(event, key, error, all_)
    settings, loaded = load_settings(), load_sink(sink)
    with _opened(loaded, settings) as store:
        found = _confirmed(store, loaded, selection, yes, "add --yes to try them again")
        request = parked.retry(store, found, selection, sink=loaded.name, now=datetime.now(UTC))
    _finish(loaded, settings, request, found)


@parked_app.command("discard")
def discard(
    sink: SinkArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the skip.", show_default=False)],
    event: EventOption = None,
    key: KeyOption = None,
    error: ErrorOption = None,
    all_: AllOption = False,
    most: Annotated[
        int | None,
        typer.Option(
            "--at-most", min=1, metavar="N", show_default=False,
            help="How many events you were shown: if more are meant by now, nothing is changed.",
        ),
    ] = None,
    yes: YesOption = False,
) -> None:  # fmt: skip
    """Give up on parked events: they become skips on record, also for every rebuild. What waits behind them is tried.

    --event gives up on that event, --error on those that failed with this error, --key and --all on everything
    that waits there. The records stay in the log.

    Example: logsync parked discard db --event 0:4711 --reason "sent by a test" --yes
    """
    selection = _selection(event, key, error, all_)
    settings, loaded = load_settings(), load_sink(sink)
    with _opened(loaded, settings) as store:
        found = _confirmed(store, loaded, selection, yes, "add --at-most {} --yes to give up on them, and on no others")
        now = datetime.now(UTC)
        request, meant = parked.discard(store, found, selection, sink=loaded.name, reason=reason, now=now, most=most)
    _finish(loaded, settings, request, found, lambda book: _given_up(book, request, reason, now, meant))


@contextmanager
def _opened(sink: Sink, settings: Settings) -> Iterator[Store]:
    """The sink's store, if it knows the sink: opening another one would create things there."""
    if access.look(sink, settings).book is None:
        raise access.not_begun(sink.name, sink.address)
    with access.opened(sink, settings) as store:
        yield store


def _selection(event: str | None, key: str | None, error: str | None, everything: bool) -> Selection:
    if sum((event is not None, key is not None, error is not None, everything)) != 1:
        raise ConfigError("expected exactly one of --event, --key, --error and --all")
    return Selection(key, error, event)


def _found(store: Store, sink: Sink, selection: Selection) -> list[ParkedSequence]:
    found = parked.find(store, selection)
    if not found:
        raise NotFound(
            f"nothing that is meant is parked in sink {sink.name}", fix=f"`logsync parked list {sink.address}`"
        )
    return found


def _confirmed(store: Store, sink: Sink, selection: Selection, yes: bool, fix: str) -> list[ParkedSequence]:
    """Print what is meant. Raises Refused unless ``yes``; {} in ``fix`` stands for the number of events."""
    found = _found(store, sink, selection)
    out.say(f"{_count(found)} meant" + (f", of which the event {selection.event}" if selection.event else ""))
    if not yes:
        raise Refused("nothing was changed", fix=fix.format(sum(each.waiting.events for each in found)))
    return found


def _given_up(book: Book, request: str, reason: str, at: datetime, meant: int) -> str:
    done = parked.discarded(book, reason=reason, at=at)
    said = f"{done:,} of {meant:,} events are skipped from now on, on record"
    if any(asked.id == request for asked in book.requests):
        return f"{said}; the next worker goes on with the others"
    return said if done == meant else f"{said}; the others were not parked any more when a worker came to them"


def _finish(
    sink: Sink, settings: Settings, request: str, found: list[ParkedSequence], say: Callable[[Book], str] | None = None
) -> None:
    """Wait for the request to be carried out, and say what came of it and what is left."""
    from logsync.run import run_retry

    with out.worker(f"retrying {sink.name}") as report:
        run_retry(sink, settings, request, on_progress=report)
    with access.opened(sink, settings) as store:
        waiting = {number: store.sequences(number) for number in sorted({each.partition for each in found})}
        book = store.read_book()
    if say is not None and book is not None:
        out.say(say(book))
    left = [each for each in found if each.sequence in waiting[each.partition]]
    out.say(f"{len(found) - len(left):,} of {len(found):,} sequences are through")
    if left:
        raise StillParked(
            f"{_count([each._replace(waiting=waiting[each.partition][each.sequence]) for each in left])} still parked",
            fix=f"`logsync parked list {sink.address}` shows what holds them up",
        )


def _fact(entry: Parked) -> dict[str, Any]:
    fields = json.loads(entry.to_json())
    del fields["record"]
    fields["message"], *trace = entry.message.splitlines() or [""]
    return {**fields, **({"traceback": trace} if trace else {})}


def _count(found: list[ParkedSequence]) -> str:
    return f"{len(found):,} sequences with {sum(each.waiting.events for each in found):,} events"


def _why(entry: Parked) -> str:
    return "given up" if entry.discarded is not None else entry.error or "waits behind another"
