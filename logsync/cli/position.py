"""``position``: look at what a store remembers, and move it by hand. Without ``--yes`` all of them only look."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.exits import Refused
from logsync.cli.load import load_sink
from logsync.cli.options import JsonOption, SinkArgument, YesOption
from logsync.core.codec import Decoder
from logsync.core.event import Record
from logsync.core.inspection import Inspection
from logsync.core.text import plain
from logsync.errors import ConfigError
from logsync.ops import access, positions
from logsync.settings import Settings, load_settings

app = typer.Typer(help="Look at a sink's position in its store, move it, or remove it.", no_args_is_help=True)


@app.command("show")
def show(sink: SinkArgument, as_json: JsonOption = False) -> None:
    """Show what the store remembers of a sink: positions, epoch, log, handled types, skips, and what was done by hand.

    Example: logsync position show db --json
    """
    settings, loaded = load_settings(), load_sink(sink)
    seen = access.look(loaded, settings)
    if as_json:
        book_fields = seen.book.model_dump(mode="json") if seen.book else None
        positions = [at.to_dict() for _, at in sorted((seen.positions or {}).items())]
        out.print_json({"book": book_fields, "positions": positions})
    else:
        _print(loaded.name, seen)


def _print(name: str, seen: Inspection) -> None:
    book = seen.book
    if book is None:
        print(f"sink {name} has no book in this store: no worker ever resumed from it")
        return
    facts = [
        ("sink", f"{book.sink}, environment {book.environment}"),
        ("state", f"{book.state}, epoch {book.epoch}, revision {book.revision}"),
        ("log", f"{book.log.topic}, topic id {book.log.topic_id}, cluster {book.log.cluster_id}"),
        ("handled", ", ".join(sorted(book.handled)) or "-"),
        ("passed over, unhandled", ", ".join([*sorted(book.skipped), *["and more"] * book.more_skipped]) or "-"),
        *(("skip", f"{s.partition}:{s.offsets} at {s.at:%Y-%m-%d %H:%M} UTC: {s.reason}") for s in book.skips),
        *(("by hand", f"{entry.at:%Y-%m-%d %H:%M} UTC: {entry.action} {entry.detail}") for entry in book.audit),
    ]
    for label, text in facts:
        print(plain(f"{label:<24}{text}"))
    columns = ("#partition", "#next offset", "#epoch", "#last offset", "last event", "#leader epoch")
    out.print_table(columns, [tuple(at)[:6] for _, at in sorted((seen.positions or {}).items())])


@app.command("forget")
def forget(sink: SinkArgument, yes: YesOption = False) -> None:
    """Remove a sink's positions and leave its content. Its workers then refuse to start until `rebuild`.

    Example: logsync position forget db --yes
    """
    settings, loaded = load_settings(), load_sink(sink)
    _print(loaded.name, access.look(loaded, settings))
    if not yes:
        raise Refused("nothing was changed", fix=f"`logsync position forget {sink} --yes` removes the positions")
    with access.opened(loaded, settings) as store:
        positions.forget(store, sink=loaded.name, now=datetime.now(UTC))
    out.say(f"forgotten; the content is untouched. `logsync rebuild {sink} --yes` makes it whole again")


def _offset(text: str | None) -> str | None:
    """What ``--from`` takes: an offset as it was printed, or ``none``."""
    plain_text = None if text is None else text.replace(",", "").strip().lower()
    if plain_text is not None and plain_text != "none" and not (plain_text.isascii() and plain_text.isdigit()):
        raise typer.BadParameter("expected the next offset that was shown, or none")
    return plain_text


@app.command("set")
def set_(
    sink: SinkArgument,
    partition: Annotated[int, typer.Argument(min=0, show_default=False)],
    offset: Annotated[int, typer.Argument(min=0, help="The NEXT offset to apply.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept on record.", show_default=False)],
    shown: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="OFFSET|none", callback=_offset, show_default=False,
            help="The next offset that you were shown: if a worker has moved on since, nothing is changed.",
        ),
    ] = None,
    yes: YesOption = False,
) -> None:  # fmt: skip
    """Move a position inside its log, on record. Forward skips events, back applies them again: content then differs.

    For OpenSearch, moving back is harmless. Without --from and --yes this only says what it would do.

    Example: logsync position set db 0 4711 --from 4690 --reason "lost to retention, accepted" --yes
    """
    from logsync.ops.reading import identify, last_before, reading

    settings, loaded = load_settings(), load_sink(sink)
    topic = loaded.log.topic
    seen = access.look(loaded, settings)
    with reading(loaded.log, settings) as lookup:
        identity, spans = identify(loaded.log, settings), lookup.spans()
        if partition not in spans:
            raise ConfigError(f"{topic} has no partition {partition}; it has {', '.join(map(str, spans))}")
        at, span = (seen.positions or {}).get(partition), spans[partition]
        if shown is not None:
            positions.check_shown(loaded, partition, at, None if shown == "none" else int(shown))
        last_found = None if at is None or at.last_offset is None else lookup.id_at(partition, at.last_offset)
        before = last_before(lookup, partition, offset, span)
    move = positions.plan_set(
        loaded,
        seen,
        log=identity,
        environment=settings.environment,
        partition=partition,
        offset=offset,
        span=span,
        before=None if before is None else Decoder(loaded.log, loaded.handled)(before),
        last_found=last_found,
        reason=reason,
        now=datetime.now(UTC),
    )
    stands = positions.named(None if at is None else at.next_offset)
    command = f"logsync position set {sink} {partition} {offset} --from {stands} --reason {shlex.quote(reason)} --yes"
    _carry_out(move, settings, yes=yes and shown is not None, fix=f"`{command}` does this")


@app.command("adopt")
def adopt(sink: SinkArgument, yes: YesOption = False) -> None:
    """Continue in a copy of the log (mirrored, migrated, restored) after the last applied event.

    Finds that event by its id, so offsets may differ. Reads the whole log, also without --yes. Stop the writers of the
    old log and let the copy finish first. Refused for OpenSearch: rebuild.

    Example: LOGSYNC_KAFKA=new-cluster:9092 logsync position adopt db --yes
    """
    from logsync.ops.reading import identify, reading

    settings, loaded = load_settings(), load_sink(sink)
    topic = loaded.log.topic
    seen = access.look(loaded, settings)
    identity = identify(loaded.log, settings)
    positions.check_adoptable(loaded, seen, identity, settings.environment)
    with reading(loaded.log, settings) as lookup, out.progress(f"reading {topic}") as report:
        spans = lookup.spans()

        def scan() -> Iterator[Record]:
            return lookup.scan(progress=report, spans=spans)

        copy = positions.read_copy(loaded, seen.positions or {}, scan)
    move = positions.plan_adopt(
        loaded,
        seen,
        copy,
        log=identity,
        environment=settings.environment,
        log_starts={number: span.low for number, span in spans.items()},
        now=datetime.now(UTC),
    )
    for difference in move.book.log.differences(identity):
        out.say(f"another log: {difference}")
    _carry_out(move, settings, yes=yes, fix=f"`logsync position adopt {sink} --yes` does this")


def _carry_out(move: positions.Move, settings: Settings, *, yes: bool, fix: str) -> None:
    for number, target in sorted(move.targets.items()):
        at = move.stored.get(number)
        before = "no position" if at is None else f"next offset {at.next_offset:,}"
        after = f"after event {target.last_id}" if target.last_id else "after no event that has an id"
        out.say(plain(f"{move.sink.name}, partition {number}: {before} -> {target.next_offset:,}, {after}"))
    for sentence in move.says:
        out.say(sentence)
    if not yes:
        raise Refused("nothing was changed", fix=fix)
    with access.opened(move.sink, settings) as store:
        book = positions.carry_out(move, store)
    out.say(f"done, and on record as revision {book.revision} of the book; workers follow within seconds")
