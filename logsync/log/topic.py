"""Topics that are logs: made so that they keep everything, described, and told apart."""

from __future__ import annotations

import time
from dataclasses import dataclass

from logsync.core.position import LogIdentity
from logsync.errors import LogUnavailable
from logsync.log.admin import Kafka, Missing
from logsync.log.facts import FOREVER, TopicFacts
from logsync.settings import Settings


@dataclass(frozen=True)
class Created:
    """What ``create_topic`` did. ``differences``: how a topic that was there before differs from what was asked."""

    created: bool
    facts: TopicFacts
    differences: list[str]


def identify(settings: Settings, topic: str) -> LogIdentity:
    """Which log this name stands for now. Raises ConfigError (no such topic), LogUnavailable."""
    return Kafka(settings).identify(topic)


def describe(settings: Settings, topic: str) -> TopicFacts:
    """What the topic is. Raises ConfigError (no such topic), LogUnavailable."""
    return Kafka(settings).describe(topic)


def create_topic(settings: Settings, topic: str, *, partitions: int = 1, replication: int | None = None) -> Created:
    """Create a topic that keeps everything, or describe how the one that is there differs from that.

    ``replication`` defaults to 3, or to the number of brokers if they are fewer. An append is acknowledged by
    two replicas when there are three, so that one broker may be lost at any time.
    Raises ConfigError (what Kafka does not accept), LogUnavailable.
    """
    kafka = Kafka(settings)
    copies = replication or min(3, kafka.brokers())
    wanted = {
        "cleanup.policy": "delete",
        "retention.ms": str(FOREVER),
        "retention.bytes": str(FOREVER),
        "min.insync.replicas": "2" if copies >= 3 else "1",
    }
    created = kafka.create(topic, partitions, copies, wanted)
    facts = _described_soon(kafka, topic) if created else kafka.describe(topic)
    found = {
        "partitions": (partitions, facts.identity.partitions),
        "replication": (copies, facts.replication),
        "cleanup.policy": (wanted["cleanup.policy"], facts.cleanup_policy),
        "retention.ms": (FOREVER, facts.retention_ms),
        "retention.bytes": (FOREVER, facts.retention_bytes),
        "min.insync.replicas": (int(wanted["min.insync.replicas"]), facts.min_insync_replicas),
    }
    differences = [f"{name} is {is_}, expected {want}" for name, (want, is_) in found.items() if is_ != want]
    return Created(created, facts, differences)


def _described_soon(kafka: Kafka, topic: str, *, tries: int = 50) -> TopicFacts:
    """A created topic is known to the controller first, and to the broker that is asked a moment later."""
    for _ in range(tries):
        try:
            return kafka.describe(topic)
        except (Missing, LogUnavailable):
            time.sleep(0.1)
    return kafka.describe(topic)
