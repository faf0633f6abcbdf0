"""Commands that change one sink by hand: rebuild, schema, skip. All of them say first what they will do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.exits import NotFound, Refused
from logsync.cli.load import load_sink
from logsync.cli.options import SinkArgument, YesOption
from logsync.core.sink import Sink
from logsync.core.store import Store
from logsync.core.text import plain
from logsync.errors import ConfigError, EventError
from logsync.ops import access
from logsync.ops import rebuild as rebuilding
from logsync.ops import records as ops_records
from logsync.ops.records import describe
from logsync.settings import Settings, load_settings

schema_app = typer.Typer(help="What a sink's store needs before the first event.", no_args_is_help=True)


def rebuild(
    sink: SinkArgument,
    yes: YesOption = False,
    from_log_start: Annotated[
        bool, typer.Option("--from-log-start", help="Accept a log whose first events are gone.")
    ] = False,
    lose_parked: Annotated[
        bool, typer.Option("--lose-parked", help="Lose parked events that the log holds no more.")
    ] = False,
    trial: Annotated[
        bool,
        typer.Option("--trial/--no-trial", help="First try the log's first events, and wipe nothing if they fail."),
    ] = True,
    replay: Annotated[
        bool, typer.Option("--replay/--no-replay", help="Replay here, or leave it to the running workers.")
    ] = True,
) -> None:
    """Wipe what a sink owns and replay the log from its start. May be run again when it was interrupted.

    Readers of the store see it empty and then filling. Workers of this sink need not be stopped: what they
    had planned is refused. Before anything is wiped, the log's first events are tried: in Postgres in a transaction
    that is rolled back, elsewhere as far as it can be told without the server.

    Example: logsync rebuild search --yes
    """
    from logsync.ops.reading import identify, reading

    settings, loaded = load_settings(), load_sink(sink)
    with reading(loaded.log, settings) as lookup:
        identity, spans = identify(loaded.log, settings), lookup.spans()
    with access.opened(loaded, settings) as store:
        plan = rebuilding.plan_rebuild(store, identity, spans)
        _announce(loaded.name, store.kind, plan)
        if not yes:
            raise Refused("nothing was changed", fix=f"`logsync rebuild {sink} --yes` does it")
        if trial:
            _try_first(loaded, store, plan, settings)
        book = rebuilding.rebuild(
            loaded, store, plan, environment=settings.environment, from_log_start=from_log_start,
            lose_parked=lose_parked, now=datetime.now(UTC),
        )  # fmt: skip
    out.say(f"wiped; epoch {book.epoch} begins at the log's start")
    if replay:
        from logsync.run import run_worker

        with out.worker(f"applying to {loaded.name}") as report:
            run_worker(loaded, settings, until_end=True, on_progress=report)
        out.say(f"rebuilt {loaded.name} up to the end that the log had when the replay began")


def _try_first(sink: Sink, store: Store, plan: rebuilding.RebuildPlan, settings: Settings) -> None:
    """Raises what keeps the sink from applying the log's first events; nothing was wiped then."""
    from logsync.ops import trial as trials

    records = trials.first_records(sink.log, settings, plan.spans)
    try:
        applied = trials.rehearse(sink, store, plan, records, now=datetime.now(UTC))
    except (ConfigError, EventError) as error:
        error.fix = f"{error.fix}; `logsync rebuild {sink.address} --no-trial --yes` rebuilds all the same"
        out.say("the log's first events cannot be applied; nothing was wiped")
        raise
    out.say(f"tried the log's first events: {applied:,} can be applied")


def _announce(name: str, kind: str, plan: rebuilding.RebuildPlan) -> None:
    held = "some content" if plan.holds_data else "no content"
    positions = ", ".join(f"{p}:{at.next_offset:,}" for p, at in sorted(plan.positions.items())) or "none"
    starts = ", ".join(f"{p}:{low:,} to {high:,}" for p, (low, high) in sorted(plan.spans.items()))
    before = f"epoch {plan.book.epoch}, {plan.book.state}" if plan.book else "no book"
    out.say(f"sink {name} in {kind}: {held}, {before}, position {positions}")
    if plan.book is not None:
        for difference in plan.book.log.differences(plan.log):
            out.say(f"  its position belongs to another log: {difference}")
    out.say(f"topic {plan.log.topic}: {starts}")
    if plan.only_copies:
        out.say(f"  {plan.only_copies:,} PARKED events stand in it no more: rebuild deletes the only copy that is left")
    offsets = sum(high - low for low, high in plan.spans.values())
    out.say(f"rebuild deletes ALL content of {name}, then replays {offsets:,} offsets as epoch {plan.epoch}")


@schema_app.command("print")
def schema_print(sink: SinkArgument) -> None:
    """Print what `consume` would create, for people who run their own migrations. Opens no connection.

    Example: logsync schema print db | psql
    """
    loaded = load_sink(sink)
    print(loaded.store.schema(loaded.name, load_settings()))


@schema_app.command("apply")
def schema_apply(sink: SinkArgument) -> None:
    """Create what the sink needs in its store, with the rights of the address in the settings.

    Example: LOGSYNC_POSTGRES=postgresql://admin@db/shop logsync schema apply db
    """
    settings, loaded = load_settings(), load_sink(sink)
    with access.opened(loaded, settings) as store:
        out.say(f"the {store.kind} store of sink {loaded.name} has what it needs")


def skip(
    sink: SinkArgument,
    partition: Annotated[int, typer.Argument(min=0, show_default=False)],
    offset: Annotated[int, typer.Argument(min=0, show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the skip.", show_default=False)],
    yes: YesOption = False,
) -> None:
    """Pass over ONE record on record, for one sink: the way on after a halt when the record is at fault.

    Where the log cannot be read, all that is lost in one damaged batch is passed over at once. The record stays in the
    log, and a rebuild skips it again. Start the worker again afterwards: it reads the list when it resumes.

    Example: logsync skip db 0 4711 --reason "sent by a test" --yes
    """
    from logsync.ops.reading import identify, reading

    settings, loaded = load_settings(), load_sink(sink)
    with reading(loaded.log, settings) as lookup:
        record = lookup.at(partition, offset) if partition in lookup.spans() else None
        identity = identify(loaded.log, settings)  # after it: what was shown is of this log, or of none
    if record is None:
        raise NotFound(f"{loaded.log.topic} has no record at partition {partition}, offset {offset}: nothing to skip")
    fact = describe(record, loaded.log)
    if record.fault is not None and record.fault.last is not None:
        out.say(f"{partition}:{offset} to {partition}:{record.fault.last} of {loaded.log.topic}: {record.fault.why}")
    else:
        out.say(plain(f"{partition}:{offset} of {loaded.log.topic}: {fact['type']} {fact['id']}, key {fact['key']}"))
    if not fact["undecodable"] and fact["type"] in loaded.handled:
        out.say(f"this is a good event of a type that {loaded.name} handles; its effect will be missing")
    if not yes:
        raise Refused("nothing was changed", fix="add --yes to skip this record")
    with access.opened(loaded, settings) as store:
        ops_records.skip(store, record, sink=loaded.name, reason=reason, now=datetime.now(UTC), log=identity)
        after = store.positions().get(partition)
    if after is not None and after.next_offset > offset:
        out.say("a worker passed the record at the same moment: it may have been applied, `logsync status` cannot tell")
    out.say(f"sink {loaded.name} will pass over it; start its worker again")
