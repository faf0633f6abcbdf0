"""What `logsync doctor` asks about sources: does a relay run or could it, and what does the database keep for it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from logsync.core.inspection import Finding, Severity, noting
from logsync.errors import in_commands
from logsync.settings import Settings
from logsync.sources.managing import Look, manager_of
from logsync.sources.source import Source

_PATIENCE = 5.0  # seconds, as for sinks
_STALE = 60.0  # seconds that the oldest event may wait before somebody should look why


def diagnose_sources(sources: Sequence[Source], settings: Settings) -> list[Finding]:
    """All findings about these sources and their databases, the worst first. Raises nothing that a server can cause."""
    if not sources:
        return []
    with ThreadPoolExecutor(len(sources)) as pool:
        found = [
            replace(finding, about=source.name, fix=in_commands(finding.fix, source.address))
            for source, some in zip(sources, pool.map(lambda each: _source(each, settings), sources), strict=True)
            for finding in some
        ]
    return sorted(found, key=lambda finding: -finding.severity)


def _source(source: Source, settings: Settings) -> list[Finding]:
    findings: list[Finding] = []
    bounded = settings.model_copy(update={"store_timeout": _PATIENCE})
    with noting(findings, "source.database"):
        look = manager_of(source).look(source.name, bounded)
        findings += judge_look(source.name, look, datetime.now(UTC))
    return findings


def judge_look(source: str, look: Look, now: datetime) -> list[Finding]:
    """What keeps a relay from running, or what waits because none does."""
    findings = list(look.findings)
    if look.error is not None:
        with noting(findings, "source.relay"):
            raise look.error
    elif not look.held_by:
        what = f"no relay of source {source} runs"
        why = "what the database commits is not in the log, and the database keeps it until it is"
        findings.append(Finding(Severity.WARNING, "source.relay", what, why, "`logsync relay SOURCE`"))
    waits = (now - look.oldest).total_seconds() if look.oldest else 0.0
    if waits > _STALE:
        what = f"{look.waiting or 0:,} events wait in the outbox, the oldest for {waits:,.0f} s"
        why = "sinks do not know of them"
        fix = "`logsync relay SOURCE` if none runs; the log of one that does says what it waits for"
        findings.append(Finding(Severity.WARNING, "source.lag", what, why, fix))
    return findings
