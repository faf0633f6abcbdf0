"""What a relay shows of itself; read by health, metrics and tests on other threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from logsync.observe.metrics import Family


class RelayState(Enum):
    """What a relay does now."""

    WAITING = "waiting"
    TAKING_OVER = "taking over"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass
class RelayStatus:
    """Counts since the relay began."""

    state: RelayState = RelayState.WAITING
    reason: str = ""
    """Why it waits, in words."""
    term: int = 0
    relayed: int = 0
    """Facts that were read back from the log."""
    passed_over: int = 0
    """Facts of which the mapping made no event."""
    skipped: int = 0
    """Facts that a person had skipped."""
    under_way: int = 0
    retries: int = 0
    confirmed: str = ""
    """The origin's place up to which it may forget."""
    turned_at: float = 0.0
    """When the loop last turned, by the relay's clock."""
    moved_at: float = 0.0
    """When it last read something of its own back, or had nothing under way."""


@dataclass(frozen=True)
class ObservedRelay:
    """A relay as health and metrics see it."""

    STALE = 30.0
    """Seconds with facts under way and none read back, after which a relay is not ready."""

    source: str
    report: RelayStatus

    @property
    def label(self) -> tuple[str, str]:
        return "source", self.source

    def alive(self, now: float, bound: float) -> tuple[bool, str]:
        """Liveness: the loop turns. A relay that waits is alive; restarting it mends nothing."""
        still = now - self.report.turned_at
        return still <= bound, f"the loop turned {still:.1f} s ago"

    def ready(self, now: float) -> tuple[bool, str]:
        """Readiness: it holds its source, and what it sends is read back."""
        report = self.report
        if report.state is not RelayState.RUNNING:
            return False, f"{report.state.value}: the relay's log says why"
        if report.under_way and now - report.moved_at > self.STALE:
            return False, f"{report.under_way} facts under way, none read back for {now - report.moved_at:.0f} s"
        return True, f"{report.under_way} facts under way"

    def families(self, now: float) -> Iterator[Family]:
        report = self.report
        yield Family("relayed_facts", "counter", "Facts that were read back from the log.", [({}, report.relayed)])
        text = "Facts of which the mapping made no event."
        yield Family("facts_without_event", "counter", text, [({}, report.passed_over)])
        yield Family("skipped_facts", "counter", "Facts that a person had skipped.", [({}, report.skipped)])
        yield Family("relay_retries", "counter", "Times the relay began again.", [({}, report.retries)])
        yield Family("relay_term", "gauge", "The term under which it writes.", [({}, report.term)])
        yield Family("facts_under_way", "gauge", "Facts sent and not read back.", [({}, report.under_way)])
        yield Family("relay_ready", "gauge", "1 if the relay is ready.", [({}, int(self.ready(now)[0]))])
