"""One record on its way to the log: the client that sends it, what became of it, and how it may be sent again.

How a retry cannot double an event (A1). A first attempt timed out, so it may be in the log, may never be, or may
still be on its way. The retry is the same id and bytes, sent *by the same client to the same partition*, with the
partition's end as it was known before the first attempt. A consumer that meets it looks for the id between that
end and the retry itself, and skips the retry if the original is there. What is left is a late original that
lands *behind* its retry, where nobody looks. Kafka's idempotence rules that out: every record of one client has
a number in a sequence per partition. Within one producer epoch librdkafka never gives a number away twice and
the broker takes numbers only in order, so the retry, whose number is higher, stands behind the original or is
refused. When a record times out, librdkafka waits for what is in flight and then bumps its epoch locally, under
the same producer id (rd_kafka_idemp_drain_epoch_bump); the first record of the new epoch makes the partition's
leader refuse whatever arrives late from the old one. Another client has another producer id and fences nothing.
That is why ``retry`` belongs to this client, and refuses when the client is closed or the process has forked.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, murmur2
from confluent_kafka import Producer as KafkaProducer

from logsync.core.codec import LOOK_BACK, REACH, Encoded
from logsync.core.log import Log
from logsync.core.receipt import Receipt
from logsync.errors import AppendOutcomeUnknown, AppendRejected, ConfigError, LogsyncError, LogUnavailable
from logsync.log.admin import Kafka
from logsync.log.config import LastError, build, producer_config
from logsync.log.ends import Known, watch
from logsync.log.reports import TICK, Reports
from logsync.settings import Settings

UNFIT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
    }
)
"""The record itself is refused, and will be again."""
# With these, what the topic or the cluster refuses. Everything else, a timeout above all, may
# have left it in the log: the client does not tell whether it was sent (A2). A right that is taken away while an
# append is being repeated after a lost connection would be misjudged here; that is one append in that moment.
_NOT_IN_THE_LOG = UNFIT | frozenset(
    {
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)


_told = logging.getLogger("logsync.log")
_FRESH = 1.0  # seconds for which what was just read of the ends will do for retries


class Pending:
    """One record handed to a client. Called by librdkafka with its delivery report, on the polling thread."""

    __slots__ = (
        "arrived", "done", "encoded", "error", "event_id", "index",
        "offset", "partition", "repeat", "reported", "since", "type",
    )  # fmt: skip

    def __init__(
        self,
        event_id: str,
        encoded: Encoded,
        partition: int,
        since: int,
        done: Callable[[Pending], None] | None = None,
        index: int = 0,
        *,
        repeat: bool = False,
        type: str = "",
    ) -> None:
        self.event_id = event_id
        self.type = type
        """The name of the event's type, for its receipt."""
        self.encoded = encoded
        self.partition = partition
        self.since = since
        """The partition's end as known before the first attempt: no attempt stands below it. # A1"""
        self.done = done
        """Told when the report is there. Must not raise and not block."""
        self.arrived = threading.Lock()
        self.arrived.acquire()
        self.index = index
        self.repeat = repeat
        self.reported = False
        self.error: KafkaError | None = None
        self.offset = -1

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self.error = error
        if error is None:
            self.offset = message.offset() or 0
        self.reported = True
        self.arrived.release()
        if self.done is not None:
            self.done(self)


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's own rule for keys (murmur2): events of one key share a partition, whoever writes them."""
    return 0 if partitions == 1 else murmur2(key, partitions)


class AppendClient:
    """One idempotent producer on one topic. Made by ``open``; safe for threads."""

    def __init__(
        self,
        log: Log,
        settings: Settings,
        kafka: KafkaProducer,
        last: LastError,
        known: Known,
        *,
        polls: bool,
        asking: Kafka | None = None,
    ) -> None:
        """``asking``: a connection of its own, over which the ends are read again and again."""
        self.kafka = kafka
        self._known, self.ends = known, known.ends
        self.usable = True
        self._log = log
        self._topic = log.topic
        self._servers = settings.kafka
        self._timeout = settings.append_timeout
        self._last = last
        self._stop = threading.Event()
        self._asking, self._asked_at = asking, float("-inf")
        # The threads hold no reference to self, so a client that nobody uses any more can go, and they with it.
        self.reports = Reports(kafka, last)
        self._thread = self._start(self.reports.serve) if polls else None
        self._watching = self._start(watch, asking, log.topic, known) if asking is not None else None
        self._gone = weakref.finalize(self, self._stop.set)
        self._gone.atexit = False
        _ALIVE.add(self)

    def _start(self, work: Callable[..., None], *given: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=(*given, self._stop), name=f"logsync-{self._topic}", daemon=True)
        thread.start()
        return thread

    @classmethod
    def open(cls, log: Log, settings: Settings, timeout: float, *, linger: int, polls: bool = True) -> AppendClient:
        """Connect and learn the partitions and their ends, within ``timeout`` seconds.

        ``linger``: milliseconds that a batch waits for more, unless the user's options say another number.
        ``polls``: a thread of its own takes the delivery reports that nobody waits for. Otherwise only the caller does.
        Raises AppendRejected: without partitions nothing has been handed to Kafka.
        """
        try:
            deadline = time.monotonic() + timeout
            asking = Kafka(settings, timeout=timeout)
            identity = asking.writable(log.topic)
            asking.timeout = max(0.01, deadline - time.monotonic())
            ends = asking.offsets(log.topic, identity.partitions, "end")
            last = LastError()
            kafka = build(KafkaProducer, {"linger.ms": linger, **producer_config(settings), "error_cb": last})
            kafka.list_topics(log.topic, max(0.01, deadline - time.monotonic()))
        except (ConfigError, LogUnavailable) as error:
            raise AppendRejected(f"nothing was sent: {error.message}", fix=error.fix) from error
        except KafkaException as error:
            raise AppendRejected(f"nothing was sent: {error.args[0].str()}", fix="check the brokers") from error
        asking.timeout = settings.append_timeout
        known = Known(identity.topic_id, [ends[number] for number in range(identity.partitions)])
        return cls(log, settings, kafka, last, known, polls=polls, asking=asking)

    def partition(self, key: bytes) -> int:
        """Asked before the client is: a retry must go where its first attempt went."""
        return partition_of(key, len(self.ends))

    def send(self, pending: Pending) -> None:
        """Hand the record over. Returns at once. Raises AppendRejected if it was not taken."""
        self.produce(pending.encoded, pending.partition, pending)

    def produce(self, encoded: Encoded, partition: int, report: Callable[[KafkaError | None, Message], None]) -> None:
        """``send`` for a caller that keeps no Pending. ``report`` gets the delivery report, on the polling thread."""
        if not self.usable:
            raise AppendRejected(f"{self._topic}: the producer is closed", fix="append before closing it")
        try:
            self.kafka.produce(
                self._topic,
                encoded.value,
                encoded.key,
                partition,
                on_delivery=report,
                headers=encoded.headers,  # type: ignore[arg-type]  # its list is invariant
            )
        except BufferError:
            raise AppendRejected(
                f"{self._topic}: too many appends are waiting for Kafka",
                fix="try again later; raise queue.buffering.max.messages if this is an ordinary load",
            ) from None
        except KafkaException as error:
            self._retire(error.args[0])
            raise AppendRejected(f"{self._topic}: {error.args[0].str()}", fix=_fix(error.args[0], "")) from None

    def receipt(self, pending: Pending) -> Receipt:
        """The proof that it is in the log. Raises what is known otherwise."""
        if not pending.reported:
            raise self.unknown(pending, "Kafka did not acknowledge it in time")
        if pending.error is None:
            self.arrived(pending)
            place = self._topic, pending.partition, pending.offset, self._known.topic_id
            return Receipt(pending.event_id, *place, pending.type, pending.since if pending.repeat else None)
        self._retire(pending.error)
        reason = pending.error.str()
        if pending.error.code() in _NOT_IN_THE_LOG and not pending.repeat:
            raise AppendRejected(
                f"{self._topic}: Kafka refused the event: {reason}", fix=_fix(pending.error, self._topic)
            )
        raise self.unknown(pending, reason)

    def reached(self, partition: int, offset: int) -> None:
        """A record stands there: what is sent from now on stands behind it."""
        # Threads may race here, and the lower end may win: it is a lower bound all the same.
        if offset >= self.ends[partition]:
            self.ends[partition] = offset + 1

    def arrived(self, pending: Pending) -> None:
        """This record is in the log. A retry that was on its way for too long may count twice: that is told. # A1"""
        self.reached(pending.partition, pending.offset)
        if pending.repeat and pending.offset - pending.since > LOOK_BACK:
            _told.error(
                "event %s was sent again and stands at partition %s, offset %s. Its first attempt may stand more than "
                "%s offsets before that, where no consumer looks: then both are applied. See `logsync show %s`",
                pending.event_id, pending.partition, pending.offset, f"{LOOK_BACK:,}", pending.event_id,
            )  # fmt: skip

    def unknown(self, pending: Pending, reason: str) -> AppendOutcomeUnknown:
        return AppendOutcomeUnknown(
            f"{self._topic}: event {pending.event_id} may be in the log: {reason}{self._last}",
            event_id=pending.event_id,
            retry=partial(self._retry, pending),
        )

    def _retry(self, pending: Pending, timeout: float | None = None) -> Receipt:
        """Called through AppendOutcomeUnknown.retry, on any thread."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        if not self.reports.wait(pending, deadline):
            raise self.unknown(pending, "it is still on its way")
        if pending.error is None:
            return self.receipt(pending)  # the first attempt was only late
        again = self.again(pending)
        try:
            self.send(again)
        except AppendRejected as error:
            raise self.unknown(pending, error.message) from error  # the first attempt may stand
        self.reports.wait(again, deadline)
        return self.receipt(again)

    def again(self, pending: Pending, done: Callable[[Pending], None] | None = None) -> Pending:
        """The next attempt of this record, ready to send. Raises AppendOutcomeUnknown if nobody may make one. # A1"""
        if not self.usable:
            raise self.unknown(
                pending,
                f"no other producer may send it again, and its own is gone; see `logsync show {pending.event_id}`",
            )
        self._refresh(pending)
        grown = self.ends[pending.partition] - pending.since
        if grown > REACH:
            raise self.unknown(
                pending,
                f"{grown:,} offsets were appended to its partition since, and consumers look back for a bounded number "
                f"of them only; see `logsync show {pending.event_id}`, and append it anew if it is not there",
            )
        encoded = pending.encoded
        if not pending.repeat:
            encoded = self._log.codec.retry(encoded, pending.since)
        # A retry of a retry keeps the first bound.
        place = pending.partition, pending.since
        return Pending(pending.event_id, encoded, *place, done, pending.index, repeat=True, type=pending.type)

    def _refresh(self, pending: Pending) -> None:
        """Learn the ends as they are now: others may have appended much while this client did not reach Kafka."""
        if self._asking is None or time.monotonic() - self._asked_at < _FRESH:
            return
        try:
            self.ends[:] = self._asking.offsets(self._topic, len(self.ends), "end").values()
        except LogsyncError as error:
            raise self.unknown(pending, f"how far the log has grown cannot be told: {error.message}") from error
        self._asked_at = time.monotonic()

    def _retire(self, error: KafkaError) -> None:
        """A fatal error ends a client for good; the next append opens another."""
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.usable = False

    def close(self, timeout: float) -> None:
        """Send what is under way, give the rest up as unknown, and let go. Bounded by ``timeout`` and a little."""
        if self._stop.is_set():
            return
        self._stop.set()
        self.usable = False
        if self._flush(timeout) > 0:
            self.kafka.purge()
            self._flush(1.0)
        for thread in (self._thread, self._watching):
            if thread is not None and thread is not threading.current_thread():
                thread.join(10 * TICK)

    def _flush(self, timeout: float) -> int:
        """What is still under way after ``timeout`` seconds at the latest."""
        try:
            return self.kafka.flush(timeout)
        except KafkaException as error:  # a fatal error, raised by every poll; what it ended has reports of its own
            self._last(error.args[0])
            return len(self.kafka)

    def after_fork(self) -> None:
        """In a child process librdkafka's threads do not exist, and its sockets are the parent's.

        Using the handle would hang. Freeing it waits for threads that are not there (glibc tolerates that, other C
        libraries do not) and sends a goodbye on the parent's TLS connections. So it is never freed, on purpose.
        """
        self._gone.detach()
        self._stop = threading.Event()  # a thread of the parent may have held the lock of the old one
        self._stop.set()
        self.usable = False
        for handle in (self.kafka, self._asking):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


def _fix(error: KafkaError, topic: str) -> str:
    """``topic``: the brokers of this topic refused it, and not already the client."""
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        if not topic:
            return (
                'make the event smaller, or set "message.max.bytes" in LOGSYNC_KAFKA_OPTIONS, for this writer and the '
                "workers; then the topic's max.message.bytes must allow it, too"
            )
        return (
            "make the event smaller, or raise max.message.bytes of the topic: `kafka-configs.sh --alter --topic "
            f"{topic} --add-config max.message.bytes=N` with the brokers' address"
        )
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return "give this user the right Write on the topic: docs/permissions.md"
    return ""


_ALIVE: weakref.WeakSet[AppendClient] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_ALIVE):
        client.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
