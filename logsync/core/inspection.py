"""What `logsync doctor` says: a Finding is one thing that is not as it should be, or a fact worth knowing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from logsync.core.book import Book
from logsync.core.parked import SequenceSummary
from logsync.core.position import Position
from logsync.errors import ConfigError, LogsyncError, LogUnavailable, StoreError


class Severity(IntEnum):
    """NOTE: a fact. WARNING: right today, but a fault would do more harm than it has to. ERROR: the sink does not run,
    will halt, or could lose what it claims to hold."""

    NOTE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One finding. ``check`` is its name for machines and does not change; the other texts are for people."""

    severity: Severity
    check: str
    found: str
    why: str = ""
    fix: str = ""
    """The command or setting that mends it; empty for a note that wants nothing."""
    about: str = ""
    """The sink, or the topic."""
    outage: bool = False
    """True: a server does not answer, and this passes with it; workers wait."""


@dataclass
class Inspection:
    """What ``Store.inspect`` saw. ``positions`` None: they could not be read, and a finding says why."""

    findings: list[Finding] = field(default_factory=list)
    book: Book | None = None
    positions: Mapping[int, Position] | None = None
    holds_data: bool = False
    """Asked only if there is no book."""
    waiting: Mapping[int, Mapping[str, SequenceSummary]] = field(default_factory=dict)
    """What is parked, by partition."""


@contextmanager
def noting(findings: list[Finding], check: str) -> Iterator[None]:
    """Run the block; an error that logsync raises on purpose becomes a finding, and what follows goes on."""
    try:
        yield
    except LogsyncError as error:
        # One cause may stop several questions; it is reported once.
        if all(finding.found != error.message for finding in findings):
            start = f"start the server, or correct LOGSYNC_{check.partition('.')[0].upper()}"
            fix = error.fix or (start if isinstance(error, StoreError) else "")
            outage = isinstance(error, StoreError | LogUnavailable)
            findings.append(Finding(Severity.ERROR, check, error.message, _why(error), fix, outage=outage))


def _why(error: LogsyncError) -> str:
    if isinstance(error, StoreError | LogUnavailable):
        return "workers wait until this passes and lose nothing, but they apply nothing either"
    if isinstance(error, ConfigError):
        return "a worker refuses to run like this, rather than to go on with content that may differ from the log"
    return "a worker halts here: going on would silently skip events or apply them twice"
