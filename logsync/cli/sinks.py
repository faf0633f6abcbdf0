"""Commands that change one sink by hand: rebuild, position, schema, skip. All of them say first what they will do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from logsync import admin
from logsync.cli import out
from logsync.cli.exits import NotFound, Refused
from logsync.cli.load import load_sink
from logsync.cli.records import describe
from logsync.core.book import Book
from logsync.core.position import Position
from logsync.settings import load_settings

SinkArgument = Annotated[str, typer.Argument(metavar="SINK", help="`db`, or `pkg.mod:sink`.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]

position_app = typer.Typer(help="Look at a sink's position in its store, or remove it.", no_args_is_help=True)
schema_app = typer.Typer(help="What a sink's store needs before the first event.", no_args_is_help=True)


def rebuild(
    sink: SinkArgument,
    yes: YesOption = False,
    from_log_start: Annotated[
        bool, typer.Option("--from-log-start", help="Accept a log whose first events are gone.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Replay here, or leave it to the running workers.")
    ] = True,
) -> None:
    """Wipe what a sink owns and replay the log from its start. May be run again when it was interrupted.

    Readers of the store see it empty and then filling. Workers of this sink need not be stopped: what they
    had planned is refused.

    Example: logsync rebuild search --yes
    """
    from logsync.log.lookup import Lookup
    from logsync.log.topic import identify

    settings, loaded = load_settings(), load_sink(sink)
    with Lookup(settings, loaded.log.topic) as lookup:
        identity, spans = identify(settings, loaded.log.topic), lookup.spans()
    with admin.opened(loaded, settings) as store:
        plan = admin.plan_rebuild(
            store, identity, {p: span.low for p, span in spans.items()}, {p: span.high for p, span in spans.items()}
        )
        _announce(loaded.name, store.kind, plan)
        if not yes:
            raise Refused("nothing was changed", fix=f"`logsync rebuild {sink} --yes` does it")
        book = admin.rebuild(
            loaded, store, plan, environment=settings.environment, from_log_start=from_log_start, now=datetime.now(UTC)
        )
    out.say(f"wiped; epoch {book.epoch} begins at the log's start")
    if replay:
        from logsync.cli.consume import run

        run(loaded, settings, until_end=True)
        out.say(f"rebuilt {loaded.name} up to the end that the log had when the replay began")


def _announce(name: str, kind: str, plan: admin.RebuildPlan) -> None:
    held = "some content" if plan.holds_data else "no content"
    positions = ", ".join(f"{p}:{at.next_offset:,}" for p, at in sorted(plan.positions.items())) or "none"
    starts = ", ".join(f"{p}:{low:,} to {plan.log_ends[p]:,}" for p, low in sorted(plan.log_starts.items()))
    before = f"epoch {plan.book.epoch}, {plan.book.state}" if plan.book else "no book"
    out.say(f"sink {name} in {kind}: {held}, {before}, position {positions}")
    if plan.book is not None:
        for difference in plan.book.log.differences(plan.log):
            out.say(f"  its position belongs to another log: {difference}")
    out.say(f"topic {plan.log.topic}: {starts}")
    out.say(f"rebuild deletes ALL content of {name}, then replays {plan.offsets:,} offsets as epoch {plan.epoch}")


@position_app.command("show")
def position_show(
    sink: SinkArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False
) -> None:
    """Show what the store remembers of a sink: positions, epoch, log, handled types, skips, and what was done by hand.

    Example: logsync position show db --json
    """
    settings, loaded = load_settings(), load_sink(sink)
    with admin.opened(loaded, settings) as store:
        book, positions = store.read_book(), store.positions()
    if as_json:
        book_fields = book.model_dump(mode="json") if book else None
        out.print_json({"book": book_fields, "positions": [at.to_dict() for _, at in sorted(positions.items())]})
    else:
        _print_book(loaded.name, book, positions)


def _print_book(name: str, book: Book | None, positions: dict[int, Position]) -> None:
    if book is None:
        print(f"sink {name} has no book in this store: no worker ever resumed from it")
        return
    facts = [
        ("sink", f"{book.sink}, environment {book.environment}"),
        ("state", f"{book.state}, epoch {book.epoch}, revision {book.revision}"),
        ("log", f"{book.log.topic}, topic id {book.log.topic_id}, cluster {book.log.cluster_id}"),
        ("handled", ", ".join(sorted(book.handled)) or "-"),
        ("passed over, unhandled", ", ".join(sorted(book.skipped)) or "-"),
        *(("skip", f"{s.partition}:{s.offset} at {s.at:%Y-%m-%d %H:%M} UTC: {s.reason}") for s in book.skips),
        *(("by hand", f"{entry.at:%Y-%m-%d %H:%M} UTC: {entry.action} {entry.detail}") for entry in book.audit),
    ]
    for label, text in facts:
        print(out.plain(f"{label:<24}{text}"))
    columns = ("#partition", "#next offset", "#epoch", "#last offset", "last event", "#leader epoch")
    out.print_table(columns, [tuple(at) for _, at in sorted(positions.items())])


@position_app.command("forget")
def position_forget(sink: SinkArgument, yes: YesOption = False) -> None:
    """Remove a sink's positions and leave its content. Its workers then refuse to start until `rebuild`.

    Example: logsync position forget db --yes
    """
    settings, loaded = load_settings(), load_sink(sink)
    with admin.opened(loaded, settings) as store:
        _print_book(loaded.name, store.read_book(), store.positions())
        if not yes:
            raise Refused("nothing was changed", fix=f"`logsync position forget {sink} --yes` removes the positions")
        admin.forget(store, sink=loaded.name, now=datetime.now(UTC))
    out.say(f"forgotten; the content is untouched. `logsync rebuild {sink} --yes` makes it whole again")


@schema_app.command("print")
def schema_print(sink: SinkArgument) -> None:
    """Print what `consume` would create, for people who run their own migrations. Opens no connection.

    Example: logsync schema print db | psql
    """
    print(load_sink(sink).store.schema())


@schema_app.command("apply")
def schema_apply(sink: SinkArgument) -> None:
    """Create what the sink needs in its store, with the rights of the address in the settings.

    Example: LOGSYNC_POSTGRES=postgresql://admin@db/shop logsync schema apply db
    """
    settings, loaded = load_settings(), load_sink(sink)
    with admin.opened(loaded, settings) as store:
        out.say(f"the {store.kind} store of sink {loaded.name} has what it needs")


def skip(
    sink: SinkArgument,
    partition: Annotated[int, typer.Argument(min=0, show_default=False)],
    offset: Annotated[int, typer.Argument(min=0, show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the skip.", show_default=False)],
    yes: YesOption = False,
) -> None:
    """Pass over ONE record on record, for one sink: the way on after a halt when the record is at fault.

    The record stays in the log, and a rebuild skips it again. Start the worker again afterwards: it reads the
    list when it resumes.

    Example: logsync skip db 0 4711 --reason "sent by a test" --yes
    """
    from logsync.log.lookup import Lookup

    settings, loaded = load_settings(), load_sink(sink)
    with Lookup(settings, loaded.log.topic) as lookup:
        record = lookup.first_at(partition, offset) if partition in lookup.spans() else None
    if record is None or record.offset != offset:
        raise NotFound(f"{loaded.log.topic} has no record at partition {partition}, offset {offset}: nothing to skip")
    fact = describe(record, loaded.log)
    out.say(f"{partition}:{offset} of {loaded.log.topic}: {fact['type']} {fact['id']}, key {fact['key']}")
    if not fact["undecodable"] and fact["type"] in loaded.handled:
        out.say(f"this is a good event of a type that {loaded.name} handles; its effect will be missing")
    if not yes:
        raise Refused("nothing was changed", fix="add --yes to skip this record")
    with admin.opened(loaded, settings) as store:
        admin.skip(store, record, sink=loaded.name, reason=reason, now=datetime.now(UTC))
        after = store.positions().get(partition)
    if after is not None and after.next_offset > offset:
        out.say("a worker passed the record at this very moment; whether it was applied, `logsync status` cannot tell")
    out.say(f"sink {loaded.name} will pass over it; start its worker again")
