"""``doctor``: what is set up wrongly, what it costs, and the command that mends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import typer

from logsync.cli import out
from logsync.cli.exits import Exit
from logsync.cli.load import load_sink, load_source, named_or_all, sink_names, source_names
from logsync.cli.options import JsonOption, SinksArgument, SourcesOption
from logsync.core.inspection import Finding, Severity, noting
from logsync.settings import load_settings
from logsync.sources.source import Source

_CODES = {Severity.NOTE: Exit.OK, Severity.WARNING: Exit.FOUND_WARNING, Severity.ERROR: Exit.FOUND_ERROR}


def doctor(sinks: SinksArgument = None, source: SourcesOption = None, as_json: JsonOption = False) -> None:
    """Look for what endangers the promise: topics, stores, positions, sources, versions. Changes nothing.

    Each finding says what was found, why it matters, and the command that mends it.

    error: a sink or relay does not run, will halt, or could lose what it claims to hold. warning: right today, but a
    fault would cost more than it must. note: a fact, such as a version.

    The exit code is that of the worst finding: 0 OK, 10 FOUND_WARNING, 11 FOUND_ERROR. A server that does not answer
    is an error, and everything else is looked at all the same.

    Example: logsync doctor db --source shop --json
    """
    from logsync.ops.doctor import diagnose
    from logsync.ops.sources import diagnose_sources

    settings = load_settings()
    every = not sinks and not source
    origins = source_names() if every else source or []
    names = (sink_names() if origins else named_or_all(None)) if every else sinks or []
    loaded, findings = [], list[Finding]()
    for name in names:
        with noting(findings, "sink.load"):
            loaded.append(load_sink(name))
    relayed = list[Source]()
    for name in origins:
        with noting(findings, "source.load"):
            relayed.append(load_source(name))
    findings += diagnose(loaded, settings)
    findings += diagnose_sources(relayed, settings)
    if as_json:
        out.print_json([{**asdict(found), "severity": found.severity.name.lower()} for found in findings])
    else:
        out.print_table(("severity", "about", "finding"), [_row(found) for found in findings])
    counts = Counter(found.severity for found in findings)
    looked_at = [*(sink.name for sink in loaded), *(source.name for source in relayed)]
    said = ", ".join(f"{severity.name.lower()}s: {counts[severity]}" for severity in reversed(Severity))
    out.say(f"{said}; looked at {', '.join(looked_at) or 'no sink'}")
    raise typer.Exit(_CODES[max(counts)])


def _row(found: Finding) -> tuple[str, str, list[str]]:
    what = "next" if found.severity is Severity.NOTE else "to mend it"
    lines = [found.found, found.why and f"  why: {found.why}", found.fix and f"  {what}: {found.fix}"]
    return found.severity.name.lower(), found.about, [line for line in lines if line]
