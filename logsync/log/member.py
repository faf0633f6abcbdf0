"""One member of a consumer group: with an instance id where that helps, and how it leaves.

``instance.py`` says where the id comes from. What it changes (KIP-345, and seen with librdkafka 2.16 and Kafka 4.1):

- Whoever joins with the id of a member takes its place: at once, with its partitions, and without a rebalance.
- librdkafka sends no LeaveGroup when a static member closes. One that is started again within ``session.timeout.ms``
  finds its partitions as it left them, and none of the others' moves: a rolling restart. One that does not come back is
  waited for, like a worker that was killed.
- A static member that unsubscribes first does leave. That is what ``Membership.LEAVE`` does.
- If two living members have one id, the broker fences the one that joined first: its commits are refused with
  FENCED_INSTANCE_ID, and its next heartbeat ends its client by a fatal error. That client reads nothing any more, and
  is replaced by one without an id, which joins as another member. The process takes no id again: two that came back
  with theirs would fence each other without end.

A run that ends by itself (``--until-end``) has no successor, and leaves. ``parked retry`` is a guest in its group
and takes no id: the number is a worker's. Any other worker does what LOGSYNC_MEMBERSHIP says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError

from logsync.log import closing
from logsync.log.config import build, consumer_config
from logsync.log.instance import Instance, take
from logsync.settings import Settings

log = logging.getLogger("logsync.log")
FENCED = frozenset({KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID})
"""The client says that another member has its instance id. It is of no use any more."""
PASSING = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._NO_OFFSET,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._WAIT_COORD,
        KafkaError._DESTROY,
    }
)
"""Ordinary for a commit during a rebalance: the store's position is what counts, and the commit is made again."""
_LEAVING = 5.0
"""Seconds in which a member that is to leave may begin to: the rest of ``closing.CLOSE`` is for the answer."""
_CONTAINER = ("/.dockerenv", "/run/.containerenv")


class Membership(Enum):
    """What a worker is to its group, and what becomes of its place when it ends in order."""

    STAY = "stay"
    """An instance id. Its partitions wait for its successor, for ``session.timeout.ms`` at most."""
    LEAVE = "leave"
    """An instance id, for a crash. An orderly end hands the partitions on at once."""
    DYNAMIC = "dynamic"
    """No instance id."""


def membership(settings: Settings) -> Membership:
    """What LOGSYNC_MEMBERSHIP means here.

    ``auto``: in a container a worker that is stopped seldom comes back to the same folder for its lock (a new
    container has a new one), so its partitions would wait for nobody; elsewhere a stop is mostly a restart.
    """
    if settings.membership != "auto":
        return Membership(settings.membership)
    told = {"KUBERNETES_SERVICE_HOST", "container"} & os.environ.keys()  # the second by systemd-nspawn and podman
    contained = told or any(Path(mark).exists() for mark in _CONTAINER)
    return Membership.LEAVE if contained else Membership.STAY


class Member:
    """The client of one member of ``group``. All methods are called on the worker's thread."""

    def __init__(self, settings: Settings, topic: str, group: str, membership: Membership) -> None:
        self._settings, self._topic, self._group, self._membership = settings, topic, group, membership
        self._instance: Instance | None = None
        self._static = membership is not Membership.DYNAMIC

    def join(self, *, on_commit: Callable[..., None], **callbacks: Callable[..., None]) -> Consumer:
        """A client that is on its way into the group. Raises ConfigError."""
        if self._static and self._instance is None:
            self._instance = take(self._group, self._settings.kafka, self._topic)
        instance = self._instance.id if self._static and self._instance else None
        config = consumer_config(self._settings, self._group, instance)
        try:
            consumer = build(lambda given: Consumer({**given, "on_commit": on_commit}), config)
        except BaseException:
            self._give_back()
            raise
        consumer.subscribe([self._topic], **callbacks)
        if instance is not None:
            log.info("instance id", extra={"group": self._group, "id": instance})
        return consumer

    def fenced(self, consumer: Consumer) -> None:
        """The client is of no use any more; close it. The next ``join`` makes one without an instance id.

        The lock stays: another worker that found its number free would only be the next one to be fenced.
        """
        if self._static and self._instance is not None:
            log.warning(
                "another living member has this worker's instance id, and took its place: going on without one. "
                "Nothing is lost; after a crash the group waits session.timeout.ms for this worker. Machines that were "
                "copied while they ran share their ids: boot one of them again, or set LOGSYNC_MEMBERSHIP=dynamic",
                extra={"group": self._group, "id": self._instance.id},
            )
        else:
            log.warning("the Kafka client ended with a fatal error: joining anew", extra={"group": self._group})
        self._static = False
        closing.close(consumer)

    def close(self, consumer: Consumer, *others: closing.Closable) -> None:
        """Close the client within the bound of ``closing``, as the membership says, and then give the id back.

        In this order, and by the thread that closes: while a client lives, nobody else may be this member. If it does
        not close in time, the lock goes with the process.
        """
        leaves = self._static and self._membership is Membership.LEAVE
        lock = [self._instance] if self._instance is not None else []
        self._instance = None
        closing.close(_Leaving(consumer) if leaves else consumer, *lock, *others)

    def _give_back(self) -> None:
        if self._instance is not None:
            self._instance.close()
            self._instance = None


class _Leaving:
    """Closes a static member that is to leave its group."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer: Any = consumer

    def close(self) -> None:
        try:
            self._consumer.unsubscribe()
            deadline = time.monotonic() + _LEAVING
            # The client forgets its member id when it sends LeaveGroup; its close then waits for the answer. Polls
            # serve the callback that gives the partitions back, which comes first.
            while self._consumer.memberid() and time.monotonic() < deadline:
                self._consumer.poll(0.02)
        finally:
            self._consumer.close()
