"""What keeps a topic from being a log, or makes it a frail one. The rules alone; topic.py asks the cluster. # L5"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logsync.core.finding import Finding, Severity

if TYPE_CHECKING:
    from logsync.log.topic import TopicFacts

FOREVER = -1


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
    rules = (  # if this is so: how bad it is, its name, what the topic has, why that matters, what mends it
        ("compact" in facts.cleanup_policy, Severity.ERROR, "cleanup_policy",
         f"cleanup.policy={facts.cleanup_policy}, expected delete",
         "compaction removes events, and a store that is rebuilt from what is left is another store",
         f"{alter('cleanup.policy=delete')}, or use another topic"),
        (finite and accepted, Severity.WARNING, "retention", f"{finite} (accepted by name)",
         "a rebuild can only begin where the log begins", keep),
        (finite and not accepted, Severity.ERROR, "retention", f"{finite}, expected -1",
         "old events vanish, and a store cannot be rebuilt without them",
         f"{keep}, or accept it by name: LOGSYNC_ACCEPT_FINITE_RETENTION='[\"{topic}\"]'"),
        (facts.replication < 3, Severity.WARNING, "replication", f"replication {facts.replication}, expected 3",
         "losing brokers loses events", "`kafka-reassign-partitions` adds replicas, on a cluster of three brokers"),
        (facts.min_insync_replicas < 2, Severity.WARNING, "min_insync_replicas",
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
