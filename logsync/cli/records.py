"""``show`` and ``history``: looking into the log. Neither changes anything anywhere."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Annotated, Any

import typer

from logsync.cli import out
from logsync.cli.exits import NotFound
from logsync.cli.load import find_log
from logsync.cli.options import JsonOption
from logsync.core.event import Record
from logsync.core.sources import BARRIER
from logsync.core.text import indented, plain
from logsync.errors import ConfigError
from logsync.ops.records import describe, relate
from logsync.settings import load_settings

SinkOption = Annotated[str | None, typer.Option("--sink", help="Read the log of this sink.", show_default=False)]
LogOption = Annotated[str | None, typer.Option("--log", help="Read this log: pkg.mod:log.", show_default=False)]
_LINES, _LINE, _VALUE = 200, 2_000, 100_000  # how much of a record is shown to people: lines, and characters
_OFFSET = re.compile(r"^(?:(\d+):)?(\d+)$")


def show(
    where: Annotated[
        str, typer.Argument(metavar="OFFSET|PARTITION:OFFSET|EVENT_ID", help="Which record.", show_default=False)
    ],
    sink: SinkOption = None,
    log: LogOption = None,
    is_id: Annotated[bool, typer.Option("--id", help="It is an event id, also if it looks like an offset.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one record: headers, key, value, whether it can be decoded, and how far a sink is from it.

    With --sink its handler is called, as a worker would call it, and what keeps it from applying the record is shown.
    Without --sink or --log the log that all sinks under sinks/ share is read. An event id is searched near
    the time that it carries, if it does, and only then in the whole log. Two events may have one id.

    Example: logsync show 0:4711 --sink db
    """
    from logsync.ops.reading import reading

    settings = load_settings()
    the_log, the_sink = find_log(sink, log)
    with reading(the_log, settings) as lookup:
        partitions = len(lookup.spans())
        match = None if is_id else _OFFSET.match(where)
        if match is None:
            with out.progress(f"searching {the_log.topic}") as report:
                records = lookup.find(where, progress=report)
        else:
            partition = _partition(match[1], partitions, where)
            first = lookup.first_at(partition, int(match[2]))
            records = [first] if first is not None and first.offset == int(match[2]) else []
            if not records:
                span = lookup.spans()[partition]
                after = f"; the next record is at {first.offset}" if first else ""
                raise NotFound(
                    f"{the_log.topic}, partition {partition}: no record at offset {match[2]}; the log holds "
                    f"{span.low} to before {span.high}{after} (if {where} is the id of an event, say --id)"
                )
    if not records:
        raise NotFound(f"no event with the id {where!r} in {the_log.topic}")
    found = [describe(record, the_log) for record in records]
    if the_sink is not None:
        relate(the_sink, records, found, partitions, settings)
    if as_json:
        out.print_json(found)
        return
    for fact in found:
        _print(fact)


def history(
    key: Annotated[str, typer.Argument(help="The key of the events.", show_default=False)],
    sink: SinkOption = None,
    log: LogOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the last N events.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List all events of one key, in log order. Reads the whole log: Kafka has no index by key.

    Example: logsync history basket-4711 --sink db --limit 20
    """
    from logsync.ops.reading import reading

    the_log, _ = find_log(sink, log)
    wanted = key.encode()
    found: deque[Record] = deque(maxlen=limit)
    with (
        reading(the_log, load_settings()) as lookup,
        out.progress(f"reading {the_log.topic}") as report,
    ):
        found.extend(record for record in lookup.scan(progress=report) if record.key == wanted)
    if not found:
        raise NotFound(f"no event with the key {key!r} in {the_log.topic}")
    facts = [describe(record, the_log) for record in found]
    if as_json:
        for fact in facts:
            out.print_json(fact, indent=None)
        return
    out.print_table(
        ("record", "time", "type", "event id", "value"),
        [
            (f"{fact['partition']}:{fact['offset']}", fact["time"], fact["type"], fact["id"], _line(fact["value"]))
            for fact in facts
        ],
        title=f"{the_log.topic}: {len(facts)} events of key {plain(key)}",
    )


def _partition(given: str | None, partitions: int, where: str) -> int:
    number = int(given or 0)
    if given is None and partitions > 1:
        raise ConfigError(f"the log has {partitions} partitions; {where} alone does not say which", fix=f"0:{where}")
    if number >= partitions:
        raise NotFound(f"the log has partitions 0 to {partitions - 1}, there is no partition {number}")
    return number


def _print(fact: dict[str, Any]) -> None:
    sink = fact.pop("sink", None)
    undecodable, headers, value = (fact.pop(name) for name in ("undecodable", "headers", "value"))
    lines = [f"{name:<14}{'-' if text is None else text}" for name, text in fact.items()]
    lines += [
        f"header {name}: {text}"
        for name, found in headers.items()
        for text in (found if isinstance(found, list) else [found])
    ]
    if undecodable:
        lines += ["cannot be decoded", f"  expected {undecodable['expected']}", f"  found    {undecodable['found']}"]
    elif fact["type"] == BARRIER:
        lines += ["is no event: sinks pass over it"]
    else:
        lines += ["decodes as an event of this log"]
    if sink:
        handled = "handles this type" if sink["handled"] else "has no handler for this type"
        lines += [f"sink {sink['name']} {handled}; next offset {sink['position']}; this record is {sink['is']}"]
        if fails := sink.get("fails"):
            lines += [f"the sink as it is now cannot apply it: {fails['error']}: {fails['message']}"]
            lines += [f"  {line}" for line in fails["traceback"]]
    lines = [out.cut(plain(line), _LINE) for line in lines[:_LINES]] + [
        f"... and {len(lines) - _LINES:,} more lines; --json shows all" for _ in lines[_LINES : _LINES + 1]
    ]
    lines += [out.cut(indented(value), _VALUE) if isinstance(value, str) else out.cut(out.as_json(value), _VALUE)]
    print("\n".join(lines))


def _line(value: Any) -> str:
    return out.short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
