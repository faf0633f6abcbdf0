"""``source``: what people do to a source in its database; the relay itself is `logsync relay`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.exits import Exit, Refused
from logsync.cli.load import load_source
from logsync.cli.options import JsonOption, SourceArgument, YesOption
from logsync.settings import load_settings

app = typer.Typer(help="Create, look at, skip, adopt or drop a source in its database.", no_args_is_help=True)
ReasonOption = Annotated[str, typer.Option(help="Why; it is kept on record in the source's database.")]


@app.command("create")
def create(
    source: SourceArgument,
    failover: Annotated[
        bool | None,
        typer.Option(help="Does the slot follow to standbys? Postgres 17. Default: as it is; at first, no."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Also if somebody changed the publication meanwhile.")] = False,
) -> None:
    """Make publication and replication slot. May be repeated: publishes what is declared now, and keeps the slot.

    From now on the database keeps what is committed until it is in the log: run `logsync relay` soon.

    Example: logsync source create shop --failover
    """
    from logsync.sources.managing import manager_of

    settings, loaded = load_settings(), load_source(source)
    with loaded.addressing():
        lines = manager_of(loaded).create(loaded.name, settings, failover=failover, anew=yes)
    for line in lines:
        out.say(line)


@app.command("drop")
def drop(source: SourceArgument, yes: YesOption = False) -> None:
    """Remove slot, publications and row: the database keeps nothing for this source any more. The outbox stays.

    What is committed from then on is not relayed, also not later: a source that is created again begins anew.

    Example: logsync source drop shop --yes
    """
    from logsync.sources.managing import manager_of

    settings, loaded = load_settings(), load_source(source)
    if not yes:
        raise Refused(
            f"dropping {loaded.name} forgets what is not in the log yet", fix=f"`logsync source drop {source} --yes`"
        )
    with loaded.addressing():
        manager_of(loaded).drop(loaded.name, settings)
    out.say(f"dropped {loaded.name}")


@app.command("skip")
def skip(
    source: SourceArgument,
    at: Annotated[str, typer.Argument(help="The fact's place, as the relay's error tells it.")],
    reason: ReasonOption,
    yes: YesOption = False,
) -> None:
    """Pass over one fact that cannot be an event, on record. It never enters the log.

    Example: logsync source skip shop 0000-00000000017b0d28.00000000017b0c10.00000000 --reason "test row" --yes
    """
    from logsync.sources.managing import manager_of

    settings, loaded = load_settings(), load_source(source)
    if not yes:
        raise Refused("the fact would never enter the log", fix=f"`logsync source skip {source} {at} ... --yes`")
    with loaded.addressing():
        manager_of(loaded).skip(loaded.name, settings, at, reason)
    out.say(f"the relay will pass over {at}")


@app.command("adopt")
def adopt(source: SourceArgument, reason: ReasonOption, yes: YesOption = False) -> None:
    """Go on with what comes from now on, after the database or the log was restored, replaced or recreated. On record.

    What was committed before, and is not in the log, is left out.

    Example: logsync source adopt shop --reason "restored from the backup of Monday" --yes
    """
    from logsync.sources.managing import adopt as carry_out

    settings, loaded = load_settings(), load_source(source)
    if not yes:
        raise Refused(
            f"what {loaded.name} has committed up to now, and the log does not have, would be left out",
            fix=f"`logsync source adopt {source} --reason ... --yes`",
        )
    with loaded.addressing():
        ledger = carry_out(loaded, settings, reason)
    out.say(f"{loaded.name} begins anew in {ledger.log.topic}, as incarnation {ledger.incarnation}")


@app.command("seed")
def seed(
    source: SourceArgument,
    tables: Annotated[
        list[str] | None, typer.Argument(help="Default: all whose changes are captured.", show_default=False)
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Rows of one transaction: so long may an UPDATE wait.")] = 1_000,
) -> None:
    """Bring the rows that stood in captured tables before the source was created, while the app goes on.

    Each comes to the mapping as an insert with `seeded` set, in order with what the app does to it. May be cut off and
    run again; a relay need not run meanwhile.

    Example: logsync source seed shop customers
    """
    from logsync.sources.managing import manager_of

    settings, loaded = load_settings(), load_source(source)
    rows: dict[str, int] = {}
    with loaded.addressing(), out.progress("seeding") as report:

        def told(table: str, count: int) -> None:
            rows[table] = count
            report(sum(rows.values()), sum(rows.values()))

        manager_of(loaded).seed(loaded.name, settings, tables or [], chunk=chunk, told=told)
    for table, count in rows.items():
        out.say(f"{table}: {count:,} rows told")


@app.command("status")
def status(source: SourceArgument, as_json: JsonOption = False) -> None:
    """Who relays the source, how far the log is, and what the database keeps for it. Ends with CONFIG if it cannot run.

    Example: logsync source status shop --json
    """
    from logsync.sources.managing import manager_of

    settings, loaded = load_settings(), load_source(source)
    with loaded.addressing():
        look = manager_of(loaded).look(loaded.name, settings)
    trouble = str(loaded.addressed(look.error)) if look.error else None
    ledger = look.ledger
    waits = (datetime.now(UTC) - look.oldest).total_seconds() if look.oldest else None
    facts = {
        "source": loaded.name,
        "state": "trouble" if trouble else "relaying" if look.held_by else "no relay runs",
        "held_by": look.held_by or None,
        "topic": ledger.log.topic if ledger else None,
        "term": ledger.term if ledger else None,
        "confirmed": look.confirmed or None,
        "failover": look.failover,
        "retained_bytes": look.retained,
        "outbox_rows": look.waiting,
        "oldest_waits_seconds": waits,
        "skipped": dict(look.skips),
        "trouble": trouble,
    }
    if as_json:
        out.print_json({**facts, "audit": look.audit})
    else:
        out.print_table(["", ""], [(name.replace("_", " "), value) for name, value in facts.items() if value])
    if trouble:
        raise typer.Exit(Exit.CONFIG)


@app.command("schema")
def schema(source: SourceArgument) -> None:
    """Print the SQL that `create` runs for logsync's own tables, for your migrations.

    Example: logsync source schema shop > migrations/0007_logsync.sql
    """
    from logsync.sources.managing import manager_of

    print(manager_of(load_source(source)).ddl())
