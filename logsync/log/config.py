"""Every librdkafka setting that carries a guarantee, with its reason, and the keys that users may not set.

librdkafka's own defaults are unsafe for this purpose (it skips history silently, and its producer may double).
Everything that is not ruled here may be set through ``LOGSYNC_KAFKA_OPTIONS``: TLS, SASL, OAuth, buffers.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from logsync.core.secrets import Secrets, hide
from logsync.errors import ConfigError
from logsync.settings import Settings

log = logging.getLogger("logsync.kafka")

Value = str | int | float | bool
Config = dict[str, Value | logging.Logger | Callable[[KafkaError], None]]
C = TypeVar("C")

REFUSED: dict[str, str] = {
    "bootstrap.servers": "LOGSYNC_KAFKA says where Kafka is",
    "metadata.broker.list": "LOGSYNC_KAFKA says where Kafka is",
    # Appending
    "enable.idempotence": "without it a retried batch stands twice or out of order in the log",
    "acks": "an append is acknowledged only when all in-sync replicas have it",
    "request.required.acks": "an append is acknowledged only when all in-sync replicas have it",
    "retries": "the idempotent producer decides about repeating; LOGSYNC_APPEND_TIMEOUT bounds it",
    "message.send.max.retries": "the idempotent producer decides about repeating; LOGSYNC_APPEND_TIMEOUT bounds it",
    "delivery.timeout.ms": "LOGSYNC_APPEND_TIMEOUT says how long an append may take",
    "message.timeout.ms": "LOGSYNC_APPEND_TIMEOUT says how long an append may take",
    "enable.gapless.guarantee": "an append that timed out would then end the producer for all others",
    "transactional.id": "two writers with one id fence each other; a single append is atomic without it",
    "partitioner": "a key must stay in its partition, for every writer in every language",
    "queuing.strategy": "appends of one partition keep their order",
    "delivery.report.only.error": "an append returns on the delivery report of its success",
    "allow.auto.create.topics": "a topic made by accident has the broker's retention, and its events expire",
    # Reading
    "group.id": "the group is logsync.<environment>.<sink>; LOGSYNC_ENVIRONMENT sets its middle",
    "group.instance.id": "each worker takes one of its own (LOGSYNC_MEMBERSHIP); all workers share these settings, "
    "and two members with one instance id evict each other",
    "group.protocol": "logsync hands out partitions itself after asking the store, which needs the classic protocol",
    "group.remote.assignor": "it belongs to the other group protocol",
    "partition.assignment.strategy": "all workers of a sink must agree on it, or none can join",
    "enable.auto.commit": "an offset is committed only after the store holds the result",
    "auto.commit.enable": "an offset is committed only after the store holds the result",
    "auto.commit.interval.ms": "offsets are committed after each plan, never by a timer",
    "enable.auto.offset.store": "an offset is committed only after the store holds the result",
    "auto.offset.reset": "a position outside the log must be an error; any reset skips or repeats history silently",
    "isolation.level": "events of an aborted transaction never happened",
    "enable.partition.eof": "it tells where the log ends behind transaction markers",
    "check.crcs": "a record that was damaged on the way must not be applied",
    "offset.store.method": "committed offsets stand in Kafka, where the group and lag tools look for them",
    "offset.store.path": "committed offsets stand in Kafka, where the group and lag tools look for them",
    "offset.store.sync.interval.ms": "committed offsets stand in Kafka, where the group and lag tools look for them",
    # Either
    "api.version.request": "in an older protocol there are no headers and no transactions to tell apart",
    "api.version.fallback.ms": "in an older protocol there are no headers and no transactions to tell apart",
    "broker.version.fallback": "in an older protocol there are no headers and no transactions to tell apart",
    "default.topic.config": "it is an older spelling; every key of a topic may stand beside the others",
    "enabled_events": "delivery reports would go where nobody reads them, and no append would return",
    "error_cb": "logsync takes the client's errors",
    "internal.termination.signal": "signals of the process belong to the worker",
    "log.queue": "the client's log lines go to the logger logsync.kafka",
    "logger": "the client's log lines go to the logger logsync.kafka",
    "test.mock.num.brokers": "it replaces Kafka by a simulation that forgets everything",
    "test.mock.broker.rtt": "it replaces Kafka by a simulation that forgets everything",
    "ut_handle_ProduceResponse": "it is for the client's own tests",
}
"""Keys that would break the promise, each with the reason that its refusal gives."""

_SCOPE = "topic."
"""librdkafka takes every key with this before it, too."""
_ALIASES = {
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "compression.codec": "compression.type",
    "topic.compression.codec": "compression.type",
    "topic.compression.type": "compression.type",
}
"""Other names of keys that logsync sets below."""
_SENT_BY_DEFAULT, _SENT_AT_MOST = 1_000_000, 1_000_000_000  # message.max.bytes, as librdkafka has it
_RECEIVED_BY_DEFAULT = 32 * 1024 * 1024
"""receive.message.max.bytes: how large one batch may be when it is decompressed (in zstd; the client does not bound the
other codecs). One that is larger halts a worker by name: a few kilobytes in the log may be gigabytes in memory. # L6"""
_AROUND = 1024 * 1024  # bytes: headers of a record, of its batch and of the answer it comes in

_CLIENT: dict[str, Value] = {
    "reconnect.backoff.max.ms": 1_000,  # how late a client may notice that Kafka is back; the default is 10 s
    "socket.keepalive.enable": True,  # else the first append after a quiet night finds a connection cut by a firewall
    "allow.auto.create.topics": False,
}

_ADMIN: dict[str, Value] = {
    # A question that waits for a broker which has died connects to it in a loop without a pause (a whole core, seen)
    # and starves the client's other threads, unless connections are kept up without being asked for.
    "enable.sparse.connections": False,
}

_PRODUCER: dict[str, Value] = {
    "enable.idempotence": True,  # no double and no reordering by the client's own repeats
    "acks": "all",  # acknowledged = on all in-sync replicas
    "compression.type": "lz4",  # a smaller log; its cost is lost in the noise beside that of encoding
}

_CONSUMER: dict[str, Value] = {
    "enable.auto.commit": False,  # I1: commit only after the store holds the result
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # outside the log = PositionGap, never a silent jump; the default skips history
    "isolation.level": "read_committed",  # L4
    "enable.partition.eof": True,  # L4: the end's offset tells the position behind markers
    "check.crcs": True,
    "partition.assignment.strategy": "cooperative-sticky",  # a rebalance stops only what moves
    # Prefetch. When the queue is full librdkafka waits this long before it fetches again; with the default second
    # reading was five to seven times slower. The bounds keep a worker's memory flat however far it is behind, also
    # with many partitions: larger ones read no faster than any store applies, and cost up to 130 MB more.
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 8_192,
    "max.partition.fetch.bytes": 128 * 1024,  # a larger record comes all the same, alone
    "fetch.max.bytes": 2 * 1024 * 1024,
    # How long the partitions of a worker that was killed stay without one. A worker that is only slow is evicted
    # sooner, too; that costs a rebalance and nothing else, because the store fences it.
    "session.timeout.ms": 10_000,
}


def admin_config(settings: Settings) -> Config:
    """Settings of a client that asks about the cluster. Raises ConfigError for a refused key."""
    return _config(settings, _CLIENT, _ADMIN)


def producer_config(settings: Settings) -> Config:
    """Settings of a producer. Raises ConfigError for a refused key."""
    timeout = max(1, round(settings.append_timeout * 1000))
    return _config(settings, _CLIENT, _PRODUCER, {"message.timeout.ms": timeout})


def consumer_config(settings: Settings, group_id: str, instance_id: str | None = None) -> Config:
    """Settings of a member of ``group_id``; with an ``instance_id``, a static one. Raises ConfigError for a refused
    key."""
    named: dict[str, Value] = {} if instance_id is None else {"group.instance.id": instance_id}
    config = _fitting(_config(settings, _CLIENT, _CONSUMER, {"group.id": group_id, **named}))
    interval = (_number(config.get("max.poll.interval.ms", 300_000)) or math.inf) / 1000
    if interval < 2 * settings.store_timeout:
        # A worker inside a store call cannot poll: the group would take its partitions away, again and again.
        raise ConfigError(
            f"max.poll.interval.ms is {interval:g} s, expected at least twice LOGSYNC_STORE_TIMEOUT "
            f"({settings.store_timeout:g} s)",
            fix="raise max.poll.interval.ms in LOGSYNC_KAFKA_OPTIONS, or lower LOGSYNC_STORE_TIMEOUT",
        )
    return config


def _fitting(config: Config) -> Config:
    """What a consumer makes of the bound on what a producer may send: one variable holds the options of both.

    librdkafka refuses a consumer that fetches less at a time than ``message.max.bytes``. That is no bound of logsync's:
    brokers hand out a larger record alone. What a consumer must be able to receive is such a record.
    """
    largest, received = _number(config.get("message.max.bytes")), _RECEIVED_BY_DEFAULT
    if largest is not None and _SENT_BY_DEFAULT < largest <= _SENT_AT_MOST:
        del config["message.max.bytes"]
        received = max(received, largest + _AROUND)
    config.setdefault("receive.message.max.bytes", received)
    return config


def _number(value: object) -> int | None:
    """The value as a number; None for what librdkafka will refuse."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def build(client: Callable[[Config], C], config: Config) -> C:
    """Make a client. Raises ConfigError for a key or value that librdkafka does not take; never shows a value."""
    try:
        return client(config)
    except (KafkaException, ValueError, TypeError) as error:
        reason = str(error.args[0].str() if error.args and isinstance(error.args[0], KafkaError) else error)
        values = Secrets()  # librdkafka repeats what it did not understand: it may be a password in the wrong place
        values.keep(value for name, value in config.items() if name not in _PUBLIC and isinstance(value, str))
        raise ConfigError(
            f"the Kafka client refused its settings: {values.hide(reason)}", fix="correct LOGSYNC_KAFKA_OPTIONS"
        ) from None


def _config(settings: Settings, *ruled: dict[str, Value]) -> Config:
    config: Config = {}
    for part in ruled:
        config.update(part)
    for name, secret in settings.kafka_options.items():
        reason = REFUSED.get(name.removeprefix(_SCOPE)) or REFUSED.get(name)
        if reason is not None:
            raise ConfigError(
                f"LOGSYNC_KAFKA_OPTIONS may not set {name}: {reason}", fix=f"take {name} out of LOGSYNC_KAFKA_OPTIONS"
            )
        config.pop(_ALIASES.get(name, name), None)  # else the client takes whichever of the two comes last
        config[name] = secret.get_secret_value()
    config["bootstrap.servers"] = settings.kafka
    config["client.id"] = config.get("client.id", "logsync")
    config["logger"] = log
    config["error_cb"] = report
    return config


_PUBLIC = (
    _CLIENT.keys()
    | _ADMIN.keys()
    | _PRODUCER.keys()
    | _CONSUMER.keys()
    | {"bootstrap.servers", "group.id", "group.instance.id", "client.id"}
)


def report(error: KafkaError) -> None:
    """librdkafka's errors that belong to no call. It goes on by itself, and its log lines say most of them too."""
    log.debug("kafka client: %s", error.str())


class LastError:
    """An ``error_cb`` that remembers: a call that timed out can then say what the client was struggling with."""

    def __init__(self) -> None:
        self.error: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        # "All brokers are down" always follows the error that says why.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self.error is None:
            self.error = error
        report(error)

    @property
    def authentication(self) -> bool:
        return self.error is not None and self.error.code() == KafkaError._AUTHENTICATION

    @property
    def certificate(self) -> bool:
        """A broker's certificate does not verify: expired, or of an authority that is not trusted here."""
        return self.error is not None and "certificate verify failed" in self.error.str()

    def __str__(self) -> str:
        return "" if self.error is None else f" (the client's last error: {_CHANGING.sub('', self.error.str())})"


_CHANGING = re.compile(r" ?\(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)|\d+(?= requests?)")
"""What of a line differs from one to the next."""
_PASSING = frozenset({"FAIL", "ERROR", "REQTMOUT", "GETPID"})
"""librdkafka's names for troubles of a connection."""


class _Calm(logging.Filter):
    """Keeps librdkafka's log lines readable: no remark that a consumer takes no producer setting (one list of
    options serves all clients) or that a fresh broker is asked again, no names of threads, and one line in 30 s for a
    trouble that repeats with every attempt to connect. What it tries again by itself is a warning and no error."""

    _REMARK = re.compile(
        r"CONFWARN.*is a (consumer|producer) property and will be ignored|GETPID.*Coordinator load in progress"
    )
    _LINE = re.compile(r"(?P<what>[A-Z]+) \[[^\]]*\] \[thrd:[^\]]*\]: (?P<text>.*)", re.DOTALL)
    _EVERY = 30.0  # seconds

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = hide(record.getMessage())
        record.msg, record.args = text, ()  # also for a program that writes its log lines by itself
        if self._REMARK.search(text):
            return False
        same = _CHANGING.sub("", text)
        if line := self._LINE.fullmatch(same):
            same = line["text"]
            passing = line["what"] in _PASSING
            record.msg, record.args = "Kafka: %s%s", (same, "; the client tries again by itself" if passing else "")
            if passing:
                record.levelno, record.levelname = logging.WARNING, "WARNING"
        if record.created - self._told.get(same, float("-inf")) < self._EVERY:
            return False
        if len(self._told) > 100:
            self._told.clear()
        self._told[same] = record.created
        return True


log.addFilter(_Calm())
log.addHandler(logging.NullHandler())  # without logging set up, what matters is raised; a script's output stays its own
