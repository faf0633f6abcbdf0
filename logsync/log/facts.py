"""What a topic is, and what keeps it from being a log or makes it a frail one. admin.py asks the cluster. # L5"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from logsync.core.inspection import Finding, Severity
from logsync.core.position import LogIdentity
from logsync.errors import ConfigError

FOREVER = -1
COPIES = 3
"""Replicas of a log that is to survive the loss of a broker, and go on."""


@dataclass(frozen=True)
class TopicFacts:
    """What a topic is. ``retention_ms`` and ``retention_bytes`` of -1 mean without limit."""

    identity: LogIdentity
    replication: int
    """The fewest replicas that any of its partitions has."""
    in_sync: int
    """The fewest replicas in sync of any of its partitions, now."""
    min_insync_replicas: int
    cleanup_policy: str
    retention_ms: int
    retention_bytes: int
    timestamp_type: str
    offsets: dict[int, tuple[int, int]]
    """First offset and end (the next offset to be written) per partition."""
    unclean_election: bool = False
    """True if a broker that is not in sync may become the leader."""
    brokers: int = COPIES
    """How many brokers the cluster has."""


def judge_topic(facts: TopicFacts, accept_finite_retention: frozenset[str] = frozenset()) -> list[Finding]:
    """Findings about the settings and replicas of a topic; none for a topic as it should be."""
    topic = facts.identity.topic

    def alter(settings: str) -> str:
        return f"`kafka-configs --bootstrap-server $LOGSYNC_KAFKA --alter --topic {topic} --add-config {settings}`"

    limits = {"retention.ms": facts.retention_ms, "retention.bytes": facts.retention_bytes}
    finite = ", ".join(f"{name}={value}" for name, value in limits.items() if value != FOREVER)
    accepted = topic in accept_finite_retention
    keep = alter("retention.ms=-1,retention.bytes=-1")
    refused = facts.in_sync < facts.min_insync_replicas
    few = facts.brokers < COPIES and facts.replication < COPIES  # no setting of the topic mends that
    rules = (  # if this is so: how bad it is, its name, what the topic has, why that matters, what mends it
        ("compact" in facts.cleanup_policy, Severity.ERROR, "cleanup_policy",
         f"cleanup.policy={facts.cleanup_policy}, expected delete",
         "compaction removes events, and a store that is rebuilt from what is left differs from this one",
         f"{alter('cleanup.policy=delete')}, or use another topic"),
        (finite and accepted, Severity.WARNING, "retention", f"{finite} (accepted by name)",
         "a rebuild can only begin where the log begins", keep),
        (finite and not accepted, Severity.ERROR, "retention", f"{finite}, expected -1",
         "old events vanish, and a store cannot be rebuilt without them",
         f"{keep}, or accept it by name: LOGSYNC_ACCEPT_FINITE_RETENTION='[\"{topic}\"]'"),
        (few, Severity.NOTE, "brokers", f"its copies on {facts.brokers} broker{'s' * (facts.brokers > 1)}",
         "fit for development; a log that must last wants three brokers and replication 3", ""),
        (facts.replication < COPIES and not few, Severity.WARNING, "replication",
         f"replication {facts.replication}, expected 3",
         "losing brokers loses events", "`kafka-reassign-partitions` adds replicas, on a cluster of three brokers"),
        (facts.min_insync_replicas < 2 and not few, Severity.WARNING, "min_insync_replicas",
         f"min.insync.replicas={facts.min_insync_replicas}, expected 2",
         "an acknowledged event may stand on one broker only",
         f"{alter('min.insync.replicas=2')}, with three replicas"),
        (facts.unclean_election, Severity.WARNING, "unclean_election", "unclean.leader.election.enable=true",
         "a broker that missed events may become the leader: acknowledged events vanish",
         alter("unclean.leader.election.enable=false")),
        (refused, Severity.ERROR, "in_sync",
         f"min.insync.replicas={facts.min_insync_replicas}, and {facts.in_sync} of its replicas in sync",
         "every append is refused", "bring the brokers back, or lower min.insync.replicas to what there is"),
        (facts.in_sync < facts.replication and not refused, Severity.WARNING, "in_sync",
         f"{facts.in_sync} of {facts.replication} replicas in sync", "fewer brokers may be lost than it seems",
         "bring the brokers back, and look at their logs"),
    )  # fmt: skip
    return [
        Finding(severity, f"topic.{check}", f"{topic} has {what}", why, fix, topic)
        for broken, severity, check, what, why, fix in rules
        if broken
    ]


def check_topic(facts: TopicFacts, accept_finite_retention: frozenset[str] = frozenset()) -> list[Finding]:
    """Notes and warnings about a topic that is a log. Raises ConfigError for one that cannot be. # L5

    Compaction deletes events that stores have yet to see; so does retention, unless the topic was named in
    ``accept_finite_retention``.
    """
    findings = judge_topic(facts, accept_finite_retention)
    for finding in findings:  # the others are no reason to stop reading what is there
        if finding.severity is Severity.ERROR and finding.check in ("topic.cleanup_policy", "topic.retention"):
            raise ConfigError(f"{finding.found}: {finding.why}", fix=finding.fix)
    return findings


def tell(findings: Iterable[Finding], log: logging.Logger) -> None:
    """A line for each: notes as information, everything else as a warning."""
    for finding in findings:
        level = logging.INFO if finding.severity is Severity.NOTE else logging.WARNING
        log.log(level, "%s: %s", finding.found, finding.why)
