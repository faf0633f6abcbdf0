"""``topic create`` and ``topic describe``: the log itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from logsync.cli import out
from logsync.cli.load import load_log
from logsync.cli.options import JsonOption
from logsync.core.inspection import Finding, Severity
from logsync.errors import ConfigError
from logsync.settings import load_settings

app = typer.Typer(help="Create a log's topic, or check that one is fit to be a log.", no_args_is_help=True)

NameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="The topic, unless --log names it.", show_default=False)
]
LogOption = Annotated[str | None, typer.Option("--log", help="The topic of this log: pkg.mod:log.", show_default=False)]


@app.command("create")
def create(
    name: NameArgument = None,
    log: LogOption = None,
    partitions: Annotated[int, typer.Option(min=1, help="1: one total order. More: order per key only.")] = 1,
    replication: Annotated[
        int | None, typer.Option(min=1, help="Copies. Default: 3, or as many as there are brokers.", show_default=False)
    ] = None,
) -> None:
    """Create a topic with the settings that a log needs: nothing expires, nothing is compacted.

    Example: logsync topic create shop.events --replication 3
    """
    from logsync.ops.topics import check_topic, create_topic

    topic = _topic(name, log)
    settings = load_settings()
    made = create_topic(settings, topic, partitions=partitions, replication=replication)
    out.say(f"{'created' if made.created else 'left as it is, it exists already:'} {topic}")
    for difference in made.differences:
        out.say(f"warning: {difference}")
    for line in _said(check_topic(made.facts, settings.accept_finite_retention)):
        out.say(line)


@app.command("describe")
def describe(
    name: NameArgument = None,
    log: LogOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a topic's identity and settings, and what about them keeps it from being a log.

    Example: logsync topic describe --log sinks.events:log
    """
    from logsync.ops.topics import check_topic
    from logsync.ops.topics import describe as look

    settings = load_settings()
    facts = look(settings, _topic(name, log))
    try:
        verdict, findings = "fit to be a log", check_topic(facts, settings.accept_finite_retention)
    except ConfigError as error:
        verdict, findings = str(error), []
    if as_json:
        identity = facts.identity._asdict()
        warnings = [f"{each.found}: {each.why}" for each in findings if each.severity is Severity.WARNING]
        out.print_json({**asdict(facts), "identity": identity, "verdict": verdict, "warnings": warnings})
        return
    for label, value in (*facts.identity._asdict().items(), *asdict(facts).items()):
        if label not in ("identity", "offsets"):
            print(f"{label:<22}{value}")
    for partition, (low, high) in facts.offsets.items():
        print(f"{f'partition {partition}':<22}{low:,} to before {high:,}")
    for line in (verdict, *_said(findings)):
        print(line)


def _said(findings: list[Finding]) -> list[str]:
    return [f"{each.severity.name.lower()}: {each.found}: {each.why}" for each in findings]


def _topic(name: str | None, log: str | None) -> str:
    if (name is None) == (log is None):
        raise ConfigError("expected a topic's NAME or --log pkg.mod:log, one of them")
    return name if name is not None else load_log(log or "").topic
