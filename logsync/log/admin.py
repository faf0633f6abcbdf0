"""Questions to the cluster: an AdminClient whose answers are bounded in time, and errors in logsync's own words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from importlib.metadata import version
from typing import Any, Literal, NoReturn, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    libversion,
)
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from logsync.core.position import LogIdentity
from logsync.errors import ConfigError, LogError, LogUnavailable
from logsync.log.config import LastError, admin_config, build
from logsync.log.facts import TopicFacts
from logsync.settings import Settings

_SETTINGS = (
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "min.insync.replicas",
    "message.timestamp.type",
    "unclean.leader.election.enable",
)
_FIRST_TRY = 0.5
"""Seconds that a question may take before it is asked again; doubled each time."""
_PAUSE = 0.1
"""Seconds between an answer without content and the next question."""
_under_way: list[tuple[AdminClient, list[Future[Any]]]] = []
"""Clients with questions under way. The client is freed when nothing refers to it, by whichever thread notices; if that
is its own, in the middle of an answer, librdkafka ends the process. So this list refers to it until all is answered."""
_under_way_lock = threading.Lock()
A = TypeVar("A")


class _Exists(LogError):
    """The topic to create is there already."""


class Missing(ConfigError):
    """There is no topic of this name."""


class Kafka:
    """Questions to the cluster. Every method answers within ``timeout`` seconds.

    Committed offsets are not among them: an AdminClient that is told NOT_COORDINATOR on that question crashes
    the process (librdkafka#5040, seen here with a fresh group); ask them of a Consumer.

    They raise LogUnavailable when Kafka does not answer, and ConfigError for what a person has to change.
    """

    def __init__(self, settings: Settings, *, timeout: float = 10.0) -> None:
        self._servers = settings.kafka
        self.timeout = timeout
        self._last = LastError()
        self._met: ClusterMetadata  # as it was just before the last question
        self._admin = build(AdminClient, {**admin_config(settings), "error_cb": self._last})  # type: ignore[arg-type]

    def identify(self, topic: str) -> LogIdentity:
        return self._identity(topic, self._description(topic))

    def writable(self, topic: str) -> LogIdentity:
        """As ``identify``. Raises ConfigError, too, if the broker says that this user may not write there.

        Asked before the first append: a producer without the right is not told the topic, and then ends for good.
        """
        description = self._description(topic)
        may = description.authorized_operations
        if may and AclOperation.WRITE not in may:
            self._fail(topic, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "Write")
        return self._identity(topic, description)

    def brokers(self) -> int:
        return self._until_answered("", lambda _limit: len(self._met.brokers), first=_FIRST_TRY)

    def create(self, topic: str, partitions: int, replication: int, config: Mapping[str, str]) -> bool:
        """Create the topic. False: there is one of this name already."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=dict(config))
        try:
            self._last.error = None
            question = lambda **limits: self._admin.create_topics([new], **limits)[topic]  # noqa: E731
            self._wait(topic, self._ask(topic, question, self.timeout), self.timeout, "Create")
        except _Exists:
            return False
        return True

    def describe(self, topic: str) -> TopicFacts:
        description = self._description(topic)
        identity = self._identity(topic, description)
        resource = ConfigResource(ResourceType.TOPIC, topic)
        settings = self._answer(
            topic, lambda **limits: self._admin.describe_configs([resource], **limits)[resource], "DescribeConfigs"
        )
        found = {name: str(entry.value) for name, entry in settings.items() if name in _SETTINGS}
        low, high = self.offsets(topic, identity.partitions, "first"), self.offsets(topic, identity.partitions, "end")
        return TopicFacts(
            identity,
            min(len(partition.replicas) for partition in description.partitions),
            min(len(partition.isr) for partition in description.partitions),
            int(found["min.insync.replicas"]),
            found["cleanup.policy"],
            int(found["retention.ms"]),
            int(found["retention.bytes"]),
            found["message.timestamp.type"],
            {partition: (low[partition], high[partition]) for partition in low},
            found["unclean.leader.election.enable"] == "true",
            len(self._met.brokers),
        )

    def offsets(self, topic: str, partitions: int, which: Literal["first", "end"]) -> dict[int, int]:
        """The first offset, or the end, of every partition. The end counts uncommitted records too."""
        spec = OffsetSpec.earliest() if which == "first" else OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, partition): spec for partition in range(partitions)}
        uncommitted = IsolationLevel.READ_UNCOMMITTED

        def ask(limit: float) -> dict[int, int]:
            futures = self._ask(
                topic, lambda **limits: self._admin.list_offsets(asked, isolation_level=uncommitted, **limits), limit
            )
            found = {at.partition: self._wait(topic, future, limit).offset for at, future in futures.items()}
            if any(offset < 0 for offset in found.values()):
                self._fail(topic, None)  # seen: a broker that did not answer in time is an offset of -1001, no error
            return found

        return self._until_answered(topic, ask, first=self.timeout)

    def _description(self, topic: str) -> TopicDescription:
        names = TopicCollection([topic])
        found: TopicDescription = self._answer(
            topic,
            lambda **limits: self._admin.describe_topics(names, include_authorized_operations=True, **limits)[topic],
        )
        return found

    def _identity(self, topic: str, described: TopicDescription) -> LogIdentity:
        return LogIdentity(str(self._met.cluster_id), topic, str(described.topic_id), len(described.partitions))

    def _answer(self, topic: str, question: Callable[..., Future[Any]], right: str = "Describe") -> Any:
        """The answer to one question.

        The client sends these questions to the broker that its metadata call the controller: with KRaft any broker
        that lived when they were read. If that one has died, the client tries it alone, in a loop without a pause,
        as long as the question stands (seen: three brokers, one killed, and no answer for as long as it was dead).
        So the question is short at first, and newer metadata are fetched before it is put again.
        """
        return self._until_answered(
            topic, lambda limit: self._wait(topic, self._ask(topic, question, limit), limit, right), first=_FIRST_TRY
        )

    def _meet(self, topic: str, limit: float) -> None:
        """Ask for the cluster by plain metadata, and go no further if it does not answer, or has no broker.

        A broker that stood still comes back fenced: for a moment it knows of no broker, and answers what has waited in
        its connection. librdkafka ends the whole process when such an answer meets DescribeTopics or DescribeCluster
        (seen: the assertion ``rko_result``, 2.16); plain metadata it takes without harm. So no such question may wait
        at a broker that stands still. What remains is a question that is under way at the moment when the broker stops.
        """
        try:
            self._met = self._admin.list_topics(topic or None, limit)
        except KafkaException as error:
            self._fail(topic, error.args[0])
        if not self._met.brokers:
            self._fail(topic, None)

    def _until_answered(self, topic: str, ask: Callable[[float], A], *, first: float) -> A:
        """Ask until there is an answer, within ``timeout``; only what changes nothing, for it may be asked twice.

        ``ask`` gets the seconds that it may take, at first ``first``. A broker may also answer at once that it cannot
        tell just now: after a pause, the client's leader epoch can be newer than the broker's.
        """
        if not self._last.certificate:  # an error that repeats is told only once: it is true until there is an answer
            self._last.error = None
        deadline, patience = time.monotonic() + self.timeout, first
        while True:
            try:
                self._meet(topic, max(0.01, min(_FIRST_TRY, deadline - time.monotonic())))
                answer = ask(max(0.01, min(patience, deadline - time.monotonic())))
                self._last.error = None
                return answer
            except LogUnavailable:
                if time.monotonic() + _PAUSE >= deadline:
                    raise
            time.sleep(_PAUSE)
            patience *= 2

    def _ask(self, topic: str, question: Callable[..., Any], timeout: float) -> Any:
        try:
            answers = question(request_timeout=timeout)
        except KafkaException as error:
            self._fail(topic, error.args[0])
        _keep(self._admin, list(answers.values()) if isinstance(answers, dict) else [answers])
        return answers

    def _wait(self, topic: str, answer: Future[Any], timeout: float, right: str = "Describe") -> Any:
        deadline = time.monotonic() + timeout + 1  # the client's own timeout comes first, and says more
        try:
            while True:
                try:
                    return answer.result(0.1)
                except FutureTimeout:
                    # Serve error_cb: it knows why nothing comes, and a wrong password need not be waited for.
                    self._admin.poll(0)
                    if self._last.authentication or time.monotonic() > deadline:
                        self._fail(topic, None)
        except KafkaException as error:
            self._fail(topic, error.args[0], right)

    def _fail(self, topic: str, error: KafkaError | None, right: str = "Describe") -> NoReturn:
        self._admin.poll(0)  # serves error_cb
        raise failure(topic, error, self._last, self._servers, right) from None


def client_versions() -> str:
    """The versions of the Kafka client, for people who report what they saw."""
    return f"confluent-kafka {version('confluent-kafka')}, librdkafka {libversion()[0]}"


def _keep(client: AdminClient, answers: list[Future[Any]]) -> None:
    """Keep the client until these answers are there. Let go, on this thread, of clients that have all of theirs."""
    with _under_way_lock:
        waiting = [entry for entry in _under_way if not all(answer.done() for answer in entry[1])]
        answered, _under_way[:] = _under_way[:], [*waiting, (client, answers)]
    del answered  # outside the lock: the last reference to a client ends it, which takes a moment


def failure(
    topic: str, error: KafkaError | None, last: LastError, servers: str, right: str = "Describe", group: str = ""
) -> LogError | ConfigError:
    """The error of logsync that this one is. ``error`` None: no answer in time. ``right``: as of ``denied``."""
    code = None if error is None else error.code()
    if error is not None and (refused := denied(error, topic, servers, right, group)):
        return refused
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return Missing(
            f"topic {topic} does not exist on {servers}",
            fix=f"`logsync topic create {topic}` makes it, or LOGSYNC_KAFKA names the wrong servers",
        )
    if code in _FORBIDDEN or last.authentication:
        why = str(last.error.str() if last.authentication and last.error else error and error.str())
        return ConfigError(
            f"Kafka on {servers} denies access to {topic or 'the cluster'}: {why}",
            fix="correct the credentials in LOGSYNC_KAFKA_OPTIONS, or the rights that they have: docs/permissions.md",
        )
    if last.certificate and last.error and code in _NO_ANSWER:
        return ConfigError(
            f"the certificate of Kafka on {servers} does not verify: {last.error.str()}",
            fix="renew the brokers' certificate if it has expired, or correct ssl.ca.location in LOGSYNC_KAFKA_OPTIONS",
        )
    if code == KafkaError.TOPIC_ALREADY_EXISTS:
        return _Exists(f"topic {topic} exists on {servers}")
    if code in _BAD_REQUEST and error is not None:
        return ConfigError(f"Kafka on {servers} refused to create {topic}: {error.str()}")
    reason = "no answer in time" if error is None else error.str()
    return LogUnavailable(
        f"Kafka on {servers} does not answer{f' about {topic}' if topic else ''}: {reason}{last}",
        fix="check the brokers, LOGSYNC_KAFKA and security.protocol in LOGSYNC_KAFKA_OPTIONS",
    )


def denied(error: KafkaError, topic: str, servers: str, right: str, group: str = "") -> ConfigError | None:
    """The error that names the missing right; None if ``error`` is about something else.

    ``right``: the operation, as ``kafka-acls`` spells it, that the broker was asked for.
    """
    on = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED: f"topic {topic}",
        KafkaError.GROUP_AUTHORIZATION_FAILED: f"group {group}",
    }.get(error.code())
    if on is None:
        return None
    return ConfigError(
        f"Kafka on {servers} denies the right {right} on {on}",
        fix=f"`kafka-acls --bootstrap-server {servers} --add --allow-principal User:... --operation {right} --{on}`; "
        "docs/permissions.md lists all rights that each role needs",
    )


_FORBIDDEN = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
}
_NO_ANSWER = {None, KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
_BAD_REQUEST = {
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_EXCEPTION,
}
